"""What is found of parts that lie elsewhere in each picture, and what it costs to look anywhere.

    .venv/bin/python -m benchmarks.part_shifts [--prompts 50] [--side 64]
    .venv/bin/python -m benchmarks.part_shifts --scales 0.01 0.02 [--prompts 50] [--side 64]
    .venv/bin/python -m benchmarks.part_shifts --turns 1 2 [--prompts 50] [--side 64]
    .venv/bin/python -m benchmarks.part_shifts --campaign emoji-scored --store URL --controls FILE

Each prompt has 32 pictures of 1/f noise; 12 of them show one square of 3/5 of the side, tinted
anew, moved by up to so much of the side in both directions, scaled by up to so much either way,
turned by up to so many degrees either way, or mirrored in half of them. Found: a part with 8
pictures, all of them planted ones. `fixed` looks at fixed places, `shift` also 8 % around, `mirror`
also in the mirror, `scale` also up to 8 % larger or smaller. `nothing` has no square: all that is
found there is false. With `--scales` or `--turns` these alone are asked, and `nothing`.

With a campaign: how many of the prompts in the CSV's column `prompt` repeat a part at fixed places,
and anywhere, by the default rule. Seconds are of CPU, all pixels decoded before.
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import cpu_seconds, machine
from benchmarks.pictures import pink
from seedsweep.audit.findings.intervals import rate
from seedsweep.audit.findings.rate_words import share_words
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.scheduler.campaign.lookup import find_campaign
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.part_shifts import reduce_pictures, reduction
from seedsweep.workers.analysis.parts import find_parts, same_tiles
from seedsweep.workers.analysis.shifted_parts import ShiftedParts
from seedsweep.workers.analysts.stored_prompt import read_prompt

PICTURES, SHOWING, SIZE, STEPS = 32, 12, 8, 100_000
RULES = {
    "fixed": PartRule(),
    "shift": PartRule(shift=0.08),
    "mirror": PartRule(shift=0.08, mirror=True),
    "scale": PartRule(shift=0.08, scale=0.08),
}
SHIFTS, SCALES = (0, 0.005, 0.01, 0.02, 0.04, 0.08), (0.02, 0.04, 0.08)


def planted(seed, side, shift=0.0, scale=0.0, turn=0.0, mirror=False):
    """Pictures of which the first `SHOWING` show the square."""
    rng = np.random.default_rng(seed)
    made, [subject] = pink(PICTURES, side, seed), pink(1, side, seed + 10**6)
    size = 3 * side // 5
    for number, picture in enumerate(made[:SHOWING]):
        square = subject[:size, :size]
        if turn:
            square = turned(subject, rng.uniform(-turn, turn), size)
        scaled = round(size * rng.uniform(1 - scale, 1 + scale)) if scale else size
        if scaled != size:
            square = cv2.resize(square, (scaled, scaled), interpolation=cv2.INTER_AREA)
        if mirror and number % 2:
            square = square[:, ::-1]
        most = round(shift * side)
        top, left = (side - scaled) // 2 + rng.integers(-most, most + 1, 2)
        tint = rng.integers(-9, 10, 3)
        moved = np.clip(square.astype(int) + tint, 0, 255)
        picture[top : top + scaled, left : left + scaled] = moved
    return made


def turned(subject, degrees, size):
    """The subject's square, turned about its middle: what turns into it is the subject's, too."""
    middle = (size - 1) / 2, (size - 1) / 2
    turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    options = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT_101}
    return cv2.warpAffine(subject, turn, subject.shape[:2], **options)[:size, :size]


def parts_of(pictures, rule, size):
    """The parts as an analysis finds them."""
    same = same_tiles(pictures, rule)
    if not rule.anywhere:
        return find_parts(same, size, rule.least, STEPS).parts
    laid = LaidPictures(reduce_pictures(pictures), rule, reduction(*pictures.shape[1:3]))
    search = ShiftedParts(same, laid, lambda places: pictures[list(places)], rule)
    return search.find(size, STEPS)[0]


def timed(pictures, rule, size):
    """The parts, and the seconds of CPU that they took."""
    begun = cpu_seconds()
    parts = parts_of(pictures, rule, size)
    return parts, cpu_seconds() - begun


def is_found(parts):
    return any(part.shared[-1] < SHOWING for part in parts)


def planted_rows(prompts, side):
    cases = [(f"moved by {100 * shift:g} %", {"shift": shift}) for shift in SHIFTS]
    cases += [(f"scaled by {100 * scale:g} %", {"scale": scale}) for scale in SCALES]
    both = {"shift": 0.04, "mirror": True}
    cases += [("mirrored", {"mirror": True}), ("moved by 4 %, mirrored", both)]
    rows(prompts, side, RULES, cases)


def unmirrored_rows(prompts, side, scales, turns):
    rules = {name: rule for name, rule in RULES.items() if not rule.mirror}
    cases = [(f"scaled by {100 * scale:g} %", {"scale": scale}) for scale in scales]
    rows(prompts, side, rules, [*cases, *((f"turned by {t:g}°", {"turn": t}) for t in turns)])


def rows(prompts, side, rules, cases):
    """What is found of each case by each rule, then what is found of nothing."""
    print(
        f"| the part is, {side} px | {' | '.join(rules)} | CPU s |\n|---|{'---|' * len(rules)}---|"
    )
    for name, case in [*cases, ("nothing", None)]:
        found, seconds = dict.fromkeys(rules, 0), dict.fromkeys(rules, 0.0)
        for number in range(prompts):
            pictures = pink(PICTURES, side, number)
            if case is not None:
                pictures = planted(number, side, **case)
            for each, rule in rules.items():
                parts, spent = timed(pictures, rule, SIZE)
                found[each] += bool(parts) if case is None else is_found(parts)
                seconds[each] += spent
        shares = " | ".join(share_words(rate(count, prompts)) for count in found.values())
        spent = ", ".join(f"{each / prompts:.2f}" for each in seconds.values())
        print(f"| {name} | {shares} | {spent} |", flush=True)


def campaign_rows(url, name, path, limit):
    store = open_store(url)
    submission = load_campaign(store, find_campaign(store, name))
    analysis = settings_now(store, submission).analysis
    with path.open(newline="") as file:
        wanted = {row["prompt"] for row in csv.DictReader(file)}
    there = load_prompts(store, submission.campaign.campaign_id)
    prompts = [text for text in there if text in wanted][:limit]
    found, seconds = dict.fromkeys(RULES, 0), dict.fromkeys(RULES, 0.0)
    for text in prompts:
        stored = read_prompt(store, submission, text)
        usable = [place for place, image in enumerate(stored.images) if image.flaw is None]
        pictures = stored.pixels(usable)
        for each, rule in RULES.items():
            parts, spent = timed(pictures, rule, analysis.min_clique_size)
            found[each], seconds[each] = found[each] + bool(parts), seconds[each] + spent
    print(f"| {len(prompts)} prompts of {path.name} | {' | '.join(RULES)} |")
    print(f"|---|{'---|' * len(RULES)}")
    shares = (share_words(rate(count, len(prompts))) for count in found.values())
    print(f"| repeat a part | {' | '.join(shares)} |")
    print(f"| CPU s | {' | '.join(f'{s / len(prompts):.2f}' for s in seconds.values())} |")


def main(prompts, side, scales, turns, campaign, store, controls, limit):
    print(machine("numpy", "opencv-python-headless"), end="\n\n")
    if campaign:
        campaign_rows(store, campaign, controls, limit)
    elif scales or turns:
        unmirrored_rows(prompts, side, scales, turns)
    else:
        planted_rows(prompts, side)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--scales", type=float, nargs="+", default=[])
    parser.add_argument("--turns", type=float, nargs="+", default=[], help="In degrees.")
    parser.add_argument("--campaign")
    parser.add_argument("--store", default="file:./seedsweep-data")
    parser.add_argument("--controls", type=Path)
    parser.add_argument("--limit", type=int)
    main(**vars(parser.parse_args()))
