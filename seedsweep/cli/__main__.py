"""`seedsweep`, and `python -m seedsweep.cli`: refuses a checkout whose links were not made."""

import sys
from importlib.util import find_spec

ROOMS = ("audit", "scheduler", "workers", "storage")


def main() -> None:
    """Run the command line, if all of seedsweep is here."""
    missing = [room for room in ROOMS if find_spec(f"seedsweep.{room}") is None]
    if missing:
        print(
            f"seedsweep/{missing[0]} is no folder, since the links of this checkout were not made; "
            "clone it with git where symbolic links are allowed, or install the wheel.",
            file=sys.stderr,
        )
        sys.exit(2)
    from seedsweep.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
