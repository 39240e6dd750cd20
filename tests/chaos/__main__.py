"""Rounds of chaos, as many as wanted: one line for each, and the totals.

    python -m tests.chaos [--rounds 20] [--seed N]

The rounds have the seeds N, N + 1, ...: `--rounds 1 --seed SEED` plays one again. It ends with the
first round that ends otherwise than the undisturbed run: exit code 1, as where a service ends
badly, and what the services said is kept.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.chaos.rounds import KINDS, Chaos
from tests.support.quiet import hush


def main():
    """Play the rounds, and say what came of them."""
    hush()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="seedsweep-chaos-"))
    print(f"{arguments.rounds} rounds from seed {arguments.seed} on", flush=True)
    rounds, codes, tracebacks = play(folder, arguments.rounds, arguments.seed)
    fine = sum(played.fine for played in rounds)
    events = sum(len(played.events) for played in rounds)
    print(
        f"{fine} of {arguments.rounds} rounds fine, {events} events, "
        f"{sum(played.seconds for played in rounds):.0f} s, "
        f"{sum(played.lost for played in rounds)} lost, "
        f"{sum(played.doubled for played in rounds)} doubled, "
        f"exit codes {sorted(set(codes.values()))}, tracebacks in {tracebacks or 'no log'}"
    )
    if fine < arguments.rounds or any(codes.values()) or tracebacks:
        sys.exit(f"What the services said: {folder}")
    shutil.rmtree(folder)


def play(folder, count, seed):
    """Play so many rounds: what came of them, the services' exit codes, and who was surprised.

    It ends with the first bad one, whose services are not asked to end in good order.
    """
    with Chaos(folder, seed) as chaos:
        os.environ.update(chaos.deployment.s3.environment)
        undisturbed = cache(chaos.run_undisturbed)
        rounds = []
        for number in range(seed, seed + count):
            rounds.append(chaos.play(number, undisturbed(number % KINDS)))
            print(rounds[-1], flush=True)
            if not rounds[-1].fine:
                return rounds, {}, chaos.tracebacks()
        return rounds, chaos.stop(), chaos.tracebacks()


if __name__ == "__main__":
    main()
