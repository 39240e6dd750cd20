"""Write the files that are made from code: dashboards, and the pages of docs/ that list things.

    python -m deploy.generate [--check]

With --check nothing is written: it names the files that differ, and ends with 1 if any does.
"""

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.campaign_page import campaign_page
from deploy.commands_page import commands_page
from deploy.grafana.analysis import analysis
from deploy.grafana.campaign import campaign
from deploy.grafana.services import services
from deploy.grafana.workers import workers
from deploy.metrics_page import metrics_page

REPOSITORY = Path(__file__).parents[1]
DASHBOARDS = Path("deploy/grafana/dashboards")
PAGES = {
    Path("docs/campaign-file.md"): campaign_page,
    Path("docs/commands.md"): commands_page,
    Path("docs/metrics.md"): metrics_page,
}
MADE_BY = {"campaign": campaign, "workers": workers, "analysis": analysis, "services": services}


def generated() -> dict[Path, str]:
    """Every generated file, relative to the repository, and what it is to hold."""
    files = {DASHBOARDS / f"{name}.json": _as_json(make()) for name, make in MADE_BY.items()}
    return {**files, **{path: make() for path, make in PAGES.items()}}


def differing(root: Path) -> list[Path]:
    """The generated files below `root` that are missing or hold something else."""
    return [path for path, text in generated().items() if _text(root / path) != text]


def main(arguments: list[str]) -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
    if parser.parse_args(arguments).check:
        stale = differing(REPOSITORY)
        for path in stale:
            print(f"{path} differs; write it with: python -m deploy.generate", file=sys.stderr)
        return 1 if stale else 0
    for path, text in generated().items():
        (REPOSITORY / path).parent.mkdir(parents=True, exist_ok=True)
        (REPOSITORY / path).write_text(text)
    return 0


def _as_json(dashboard: Dashboard) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
