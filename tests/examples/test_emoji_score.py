"""What `score.py` prints of a campaign, against figures that are counted here anew and slowly."""

import csv
import functools
import importlib.util
import itertools
import math
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from seedsweep.audit.findings import marked_scores
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.images import encode_png
from seedsweep.workers.pipelines.noise import NoisePipeline, noise_share
from tests.support.campaigns import campaign_file, make_images, small_sampling, submit_file
from tests.support.checkout import ROOT

SCRIPT = ROOT / "examples" / "emoji" / "score.py"
SIDE, SEEDS, SIZE, TILES = 8, 16, 3, 2
OWN, OWN_EDGE, ALPHA, NEIGHBOURS = 0.2, 0.1, 0.65, 3
MARK = 2 * SIZE / SEEDS
COUNTS = ((0, 32), (1, 250), (2, 250), (5, 250), (6, 250), (12, 250), (13, 250), (24, 250))
COUNTS += ((25, 250), (30, 250), (8, 32), (11, 32), (12, 32), (15, 32), (16, 32), (32, 32))
"""Repeats of seeds: every bin of true rates, each of their borders, the least number that makes a
flag right, and the least rate that is to be found."""

BINS = [
    ("0-1 %", 0, 0.01),
    ("1-5 %", 0.01, 0.05),
    ("5-10 %", 0.05, 0.1),
    ("10-25 %", 0.1, 0.25),
    ("25-50 %", 0.25, 0.5),
    ("50-100 %", 0.5, math.inf),
]
GROUPS = [("copies", 3), ("copies", 10), ("near", 20)]


def truth_rows():
    """Planted prompts, as they were measured: (prompt, group, copies, repeats, seeds)."""
    names = [f"planted {number}" for number in range(4 * len(COUNTS))]
    return [(name, *GROUPS[n % 3], *COUNTS[n % len(COUNTS)]) for n, name in enumerate(names)]


def control_rows():
    """Controls: (prompt, group, half); a few of them have repeats all the same."""
    names = [f"control {number}" for number in range(300)]
    quiet = [name for name in names if noise_share(name) <= 0.05][:80]
    loud = [name for name in names if noise_share(name) == 0.25][:6]
    groups = ("untrained", "once")
    return [
        (name, groups[n // 2 % 2], ("choose", "report")[n % 2])
        for n, name in enumerate([*quiet, *loud])
    ]


def measured_controls():
    """Of the controls that the campaign flags, every second pair repeats a training picture."""
    loud = [row for row in control_rows() if critical(row[0]) <= OWN_EDGE]
    return [
        (name, group, int(group == "once"), 20 * (n // 2 % 2), 32)
        for n, (name, group, _) in enumerate(loud)
    ]


OF_NOISE = ((8,), (51,), (53,), (22,), ())
OF_REPEATS = ((8,), (22,), (49,), (53,), (25,) * 4, ())
"""How many of 255 levels off the training pictures of a prompt are: within 51 an l2 is within the
campaign's threshold, and four pictures are too near to each other for the adaptive score."""


def planted():
    """Training pictures: near what scored prompts repeat, near three controls of the half `choose`,
    and strangers."""
    report = [row[0] for row in [*truth_rows(), *control_rows()] if row[-1] != "choose"]
    noise = [p for p in report if len(representatives(p)) == 1]
    repeats = [p for p in report if noise_share(p) >= 0.25 and len(representatives(p)) > 1]
    chosen = [name for name, _, half in control_rows() if half == "choose"]
    quiet = [name for name in chosen if len(representatives(name)) == 1]
    pairs = [
        *zip(noise, itertools.cycle(OF_NOISE), strict=False),
        *zip(repeats, itertools.cycle(OF_REPEATS), strict=False),
        *zip(quiet, [(0,), (13,), (30,)], strict=False),
    ]
    rng = np.random.default_rng(0)
    near = [
        moved(pictures(prompt)[representatives(prompt)[0]], levels, rng)
        for prompt, several in pairs
        for levels in several
    ]
    return [*near, *rng.integers(0, 256, (8, SIDE, SIDE, 3))]


def moved(picture, levels, rng):
    """Every value is so many levels off, up or down."""
    signs = rng.choice([-1, 1], picture.shape)
    inside = (picture + signs * levels >= 0) & (picture + signs * levels <= 255)
    return picture + np.where(inside, signs, -signs) * levels


def write_csv(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def write_truth(path, rows):
    columns = ["prompt", "copies", "group", "repeats", "seeds"]
    return write_csv(path, columns, [(p, c, group, k, n) for p, group, c, k, n in rows])


def write_controls(path, rows):
    columns = ["prompt", "copies", "group", "half"]
    return write_csv(path, columns, [(p, 0, group, half) for p, group, half in rows])


class Made:
    """A campaign with all its images but one prompt's, its truth and its controls."""

    def __init__(self, folder):
        self.folder = folder
        self.absent, self.imageless = "measured of another campaign", "measured without images"
        self.extra = [(each, "copies", 3, 32, 32) for each in (self.absent, self.imageless)]
        self.planted, self.controls = truth_rows(), control_rows()
        self.measured = [*self.planted, *measured_controls()]
        self.truth = write_truth(folder / "truth.csv", [*self.measured, *self.extra])
        self.unseen = write_controls(folder / "controls.csv", self.controls)
        prompts = [row[0] for row in [*self.planted, *self.controls]]
        unknown = ["nothing is known of this prompt", self.imageless]
        self.training = planted()
        (folder / "training").mkdir()
        for n, picture in enumerate(self.training):
            file = folder / "training" / f"{n}.png"
            file.write_bytes(encode_png(picture.astype(np.uint8)))
        self.store = FolderStore(folder / "seedsweep-data")
        tables = {
            "sampling": small_sampling(SEEDS, SIDE, images_per_unit=SEEDS),
            "analysis": {"tiles": TILES, "min_clique_size": SIZE, "edge_threshold": OWN_EDGE},
        }
        verification = {
            "training_set": "training",
            "threshold": OWN,
            "alpha": ALPHA,
            "neighbours": NEIGHBOURS,
        }
        file, texts = folder / "campaign.toml", [*prompts, *unknown]
        campaign_file(file, texts, "scored", **tables)
        self.unverified = submit_file(self.store, file).campaign.campaign_id
        campaign_file(file, texts, "scored", **tables, verification=verification)
        plan = submit_file(self.store, file)
        self.id = plan.campaign.campaign_id
        made = [place for place, text in enumerate(texts) if text != self.imageless]
        make_images(self.store, plan, made)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def score():
    spec = importlib.util.spec_from_file_location("emoji_score", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SCRIPT.parent))
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marked_scores, "score_prompts", once_each(marked_scores.score_prompts))
        yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules[spec.name]


def once_each(score_prompts):
    """Score each prompt of a campaign once: it is judged alike whatever is scored beside it."""
    known = {}

    def scored(scoring, prompts, *rest):
        of_campaign = known.setdefault(scoring.submission.campaign.campaign_id, {})
        new = [prompt for prompt in prompts if prompt not in of_campaign]
        of_campaign |= dict(zip(new, score_prompts(scoring, new, *rest), strict=True))
        return [of_campaign[prompt] for prompt in prompts]

    return scored


@pytest.fixture
def printed(made, score, capsys, tmp_path):
    """Score the made-up campaign in this process; returns the lines on stdout."""

    def run(truth=made.truth, controls=made.unseen, campaign_id=made.id, **options):
        capsys.readouterr()
        files = {"truth": truth, "controls": controls}
        score.main(
            campaign_id, tmp_path / "scores", made.store.url, **files, processes=1, **options
        )
        return capsys.readouterr().out.splitlines()

    return run


# The oracle: pixels straight from the pipeline, every pair, every clique, and the binomial summed.


@functools.cache
def pictures(prompt):
    """The prompt's generations, as whole numbers that can be negative."""
    images = NoisePipeline(Sampling(width=SIDE, height=SIDE)).generate(prompt, range(SEEDS))
    return [image.pixels.astype(int) for image in images]


@functools.cache
def distances(prompt):
    """The tiled l2 of each two generations."""
    pixels = [picture.astype(float) / 255 for picture in pictures(prompt)]
    tile = SIDE // TILES
    corners = list(itertools.product(range(0, SIDE, tile), repeat=2))

    def distance(a, b):
        squares = (pixels[a] - pixels[b]) ** 2
        return max(math.sqrt(squares[y : y + tile, x : x + tile].mean()) for y, x in corners)

    return {pair: distance(*pair) for pair in itertools.combinations(range(SEEDS), 2)}


@functools.cache
def widths(prompt):
    """The largest distance of any SIZE generations."""
    apart = distances(prompt)
    return {
        members: max(apart[pair] for pair in itertools.combinations(members, 2))
        for members in itertools.combinations(range(SEEDS), SIZE)
    }


def critical(prompt):
    """The least largest distance of any SIZE generations of the prompt."""
    return min(widths(prompt).values())


@functools.cache
def representatives(prompt):
    """The medoid of the closest SIZE generations; if several are at their step, all members."""
    step = math.ceil(1000 * critical(prompt)) / 1000
    closest = [members for members, width in widths(prompt).items() if width <= step]
    if len(closest) > 1:
        return sorted(set().union(*closest))
    (members,) = closest
    sums = dict.fromkeys(members, 0.0)
    for pair in itertools.combinations(members, 2):
        for member in pair:
            sums[member] += distances(prompt)[pair]
    return [min(sums, key=sums.get)]


def l2(a, b):
    return math.sqrt(((a - b) ** 2).mean()) / 255


def matched(picture, training):
    """How far its nearest training picture is; infinitely, where that has others as near."""
    far = [l2(picture, other) for other in training]
    nearest = far.index(min(far))
    others = [l2(training[nearest], other) for n, other in enumerate(training) if n != nearest]
    near = sum(sorted(others)[:NEIGHBOURS]) / NEIGHBOURS
    return far[nearest] if far[nearest] <= ALPHA * near else math.inf


@pytest.fixture(scope="module")
def matches(made):
    """How far each prompt's picture is from its training picture, whichever represents it."""
    return {
        row[0]: [matched(pictures(row[0])[n], made.training) for n in representatives(row[0])]
        for row in [*made.planted, *made.controls]
    }


@pytest.fixture(scope="module")
def criticals(made):
    return {row[0]: critical(row[0]) for row in [*made.planted, *made.controls]}


@functools.cache
def tail(count, n, share):
    """The chance of `count` or more of n."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))


@functools.cache
def bounds(count, n, error):
    """Clopper and Pearson's ends, each with that error, found by halving."""
    if n == 0:
        return 0, 1
    low, high = [0.0, 1.0], [0.0, 1.0]
    for _ in range(60):
        middle = sum(low) / 2
        low[tail(count, n, middle) > error] = middle
        middle = sum(high) / 2
        high[1 - tail(count + 1, n, middle) < error] = middle
    return (low[0] if count else 0), (high[0] if count < n else 1)


def share(count, n, side="both"):
    """As it is printed: the share with its bounds to three digits."""
    if n == 0:
        return "not shown (n = 0)"
    low, high = bounds(count, n, 0.025 if side == "both" else 0.05)
    low, high = (low if side != "upper" else 0), (high if side != "lower" else 1)
    return f"{count}/{n} = {count / n:.3g} [{low:.3g}, {high:.3g}]"


def threshold_by_hand(controls, wanted):
    """The largest step that flags no more of these scores than their number allows."""
    n = len(controls)
    allowed = [k for k in range(n) if bounds(k, n, 0.05)[1] <= wanted]
    most = max(allowed) if allowed else int(wanted * n + 1e-9)
    steps = (step / 1000 for step in range(1001))
    allowing = (t for t in steps if sum(s <= t for s in controls) <= most)
    return max(allowing, default=0), bool(allowed)


@dataclass(frozen=True)
class Known:
    group: str
    copies: int
    repeats: int
    seeds: int
    half: str | None

    @property
    def rate(self):
        return self.repeats / self.seeds if self.seeds else 0

    @property
    def is_right(self):
        return self.seeds > 0 and bounds(self.repeats, self.seeds, 0.05)[0] >= 0.01


def known_of(made):
    found = {p: Known(group, 0, 0, 0, half) for p, group, half in made.controls}
    for p, group, copies, repeats, seeds in made.measured:
        half = found[p].half if p in found else None
        found[p] = Known(group, copies, repeats, seeds, half)
    return found


def expected(made, criticals, matches, wanted, precision=0.97, recall=0.95):
    """Every figure, by the name of its line."""
    known = known_of(made)
    choose = [p for p, one in known.items() if one.half == "choose" and not one.is_right]
    report = {p: one for p, one in known.items() if one.half != "choose"}
    to_find = {p for p, one in report.items() if one.rate >= MARK}
    threshold, is_shown = threshold_by_hand([criticals[p] for p in choose], wanted)
    flagged = {p for p in report if criticals[p] <= threshold}
    summary = "shown" if is_shown else f"not shown (n = {len(choose)})"
    within, why = verification_by_hand([matches[p] for p in choose], wanted, summary)
    extracted = {p for p in flagged if is_within(matches[p], within)}
    loosely = {p for p in report if criticals[p] <= OWN_EDGE and is_within(matches[p], within)}
    marks = (wanted, precision, recall)
    return {
        "threshold": (threshold, len(choose), summary),
        "scored": (len(report), len(to_find)),
        "verification": (within, why),
        "flagged": expected_rows(flagged, report, to_find, *marks),
        "extracted": expected_rows(extracted, report, to_find, *marks),
        "extracted, own edge": expected_rows(loosely, report, to_find, *marks),
        "missed": sorted(p for p in to_find - flagged),
    }


def verification_by_hand(controls, wanted, summary):
    """That which these controls bound, else the campaign's own, and what is said of it."""
    found = [min(far) for far in controls]
    assert found == [max(far) for far in controls], "depends on which clique is found"
    threshold, _ = threshold_by_hand(found, wanted)
    if 0 < threshold < 1:
        return threshold, f"calibrated likewise; the rate of {wanted:g}: {summary}"
    why = "none" if threshold else "already the smallest one"
    return OWN, f"the campaign's own: of the controls, {why} extracts too many"


def is_within(far, threshold):
    (verdict,) = {each <= threshold for each in far}
    return verdict


def expected_rows(found, known, to_find, wanted, precision, recall):
    controls = {p for p, one in known.items() if one.half and not one.is_right}
    right = {p for p in found if known[p].is_right}
    alarms, caught = found & controls, found & to_find
    told = {
        "false alarms": held(alarms, controls, "upper", wanted),
        "precision": held(right, found, "lower", precision),
        "recall": held(caught, to_find, "lower", recall),
    }
    for base in (0.1, 0.01, 0.001, 0.0003):
        low = bounds(len(caught), len(to_find), 0.025)[0]
        high = bounds(len(alarms), len(controls), 0.025)[1]
        share_found = len(caught) / len(to_find)
        told[f"precision if {100 * base:g} % repeat"] = (
            f"{bayes(share_found, wanted, base):.3g}, at least {bayes(low, high, base):.3g}"
        )
    inside = {f"group {g}": {p for p in known if known[p].group == g} for g in GROUP_NAMES}
    for copies in (3, 10):
        inside[f"group copies, {copies} copies"] = {
            p for p, one in known.items() if (one.group, one.copies) == ("copies", copies)
        }
    for name, low, high in BINS:
        inside[f"true rate {name}"] = {
            p for p, one in known.items() if one.seeds and low <= one.rate < high
        }
    return told | {name: share(len(found & among), len(among)) for name, among in inside.items()}


GROUP_NAMES = ("copies", "near", "once", "untrained")


def bayes(recall, alarms, base):
    right, wrong = recall * base, alarms * (1 - base)
    return right / (right + wrong) if right + wrong else 0


def held(found, among, side, mark):
    low, high = bounds(len(found), len(among), 0.05)
    is_met = len(among) > 0 and (high <= mark if side == "upper" else low >= mark)
    verdict = "met" if is_met else f"not shown (n = {len(among)})"
    return f"{share(len(found), len(among), side)}; {mark:g}: {verdict}"


def read(lines):
    """The same figures from what was printed."""
    text = "\n".join(lines)
    edge = re.search(r"Edge threshold (\S+), from (\d+) controls; the rate of \S+: (.+)\.", text)
    scored = re.search(r"Scored: (\d+) prompts, (\d+) of a rate of at least (\S+)\.", text)
    assert scored[3] == f"{2 * SIZE}/{SEEDS}"
    verification = re.search(r"Verification threshold (\S+), (.+)\.", text)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    missed = [row[0] for row in cells if len(row) == 5][2:]
    table = [row for row in cells if len(row) < 5]
    sides = table[0][1:]
    return {
        "threshold": (float(edge[1]), int(edge[2]), edge[3]),
        "scored": (int(scored[1]), int(scored[2])),
        "verification": verification and (float(verification[1]), verification[2]),
        **{side: {row[0]: row[n] for row in table[2:]} for n, side in enumerate(sides, start=1)},
        "missed": sorted(missed),
    }


@pytest.mark.parametrize("wanted", [0.05, 0.1, 0.2, 0.4])
def test_each_figure_is_that_of_the_slow_count(made, criticals, matches, printed, wanted):
    assert read(printed(false_positive_rate=wanted)) == expected(made, criticals, matches, wanted)


def test_both_kinds_of_verdict_occur_above(made, criticals, matches):
    """Otherwise the figures above would be held against one branch alone."""
    found = [expected(made, criticals, matches, wanted) for wanted in (0.05, 0.1, 0.2, 0.4)]
    assert {each["threshold"][2] == "shown" for each in found} == {True, False}
    assert {each["flagged"]["false alarms"].endswith("met") for each in found} == {True, False}
    assert len({each["threshold"][0] for each in found}) > 2
    assert all(each["missed"] for each in found[:1])
    assert len({str(each["verification"]) for each in found}) > 1
    assert all(each["flagged"]["precision"] != each["extracted"]["precision"] for each in found[2:])


def test_without_a_training_set_nothing_is_said_of_extractions(made, printed):
    whole = read(printed(false_positive_rate=0.2))
    alone = read(printed(false_positive_rate=0.2, campaign_id=made.unverified))
    assert alone == {name: whole[name] for name in alone} | {"verification": None}
    assert "extracted" not in alone


def test_a_mark_is_met_by_the_bound_and_not_by_the_share(made, criticals, matches, printed):
    figures = expected(made, criticals, matches, 0.2)["flagged"]
    count, n = map(int, re.match(r"(\d+)/(\d+)", figures["recall"]).groups())
    low = bounds(count, n, 0.05)[0]
    assert low + 0.01 < count / n
    for mark, verdict in ((low - 0.001, "met"), (low + 0.001, f"not shown (n = {n})")):
        found = read(printed(false_positive_rate=0.2, precision_mark=mark, recall_mark=mark))
        assert found == expected(made, criticals, matches, 0.2, mark, mark)
        assert found["flagged"]["recall"].endswith(verdict)


def test_the_threshold_is_that_of_the_controls_of_one_half_alone(made, printed, tmp_path):
    """Whatever is true of all other prompts, it stays; what is found there does not."""
    planted = {row[0] for row in made.planted}
    other = [
        (*row[:3], row[4] - row[3], row[4]) if row[0] in planted else row for row in made.measured
    ]
    before = read(printed(false_positive_rate=0.2))
    after = read(printed(false_positive_rate=0.2, truth=write_truth(tmp_path / "t.csv", other)))
    assert before["threshold"] == after["threshold"]
    assert before["flagged"] != after["flagged"]
    fewer = [row for row in made.controls if row[2] == "report" or critical(row[0]) <= OWN_EDGE]
    fewer += [row for row in made.controls if row not in fewer][8:]
    found = read(
        printed(false_positive_rate=0.2, controls=write_controls(tmp_path / "c.csv", fewer))
    )
    assert found["threshold"][1] == before["threshold"][1] - 8


def test_a_flagged_control_has_to_be_measured_before_anything_is_scored(made, score, tmp_path):
    """It may repeat another caption's picture, and then it is neither control nor false alarm."""
    flagged = sorted(row[0] for row in measured_controls())
    truth = write_truth(tmp_path / "truth.csv", made.planted)
    with pytest.raises(
        SystemExit, match=rf"{len(flagged)} controls .* measure those of .*controls.txt"
    ):
        score.main(made.id, tmp_path, made.store.url, truth, made.unseen, processes=1)
    assert (tmp_path / "flagged-controls.txt").read_text().splitlines() == flagged


def test_prompts_of_unknown_truth_are_not_scored_and_missing_images_are_said(made, printed):
    lines = printed()
    assert any("without all its images" in line for line in lines)
    choose = [row for row in made.controls if row[2] == "choose"]
    assert read(lines)["scored"][0] == len(made.planted) + len(made.controls) - len(choose)


def test_each_missed_prompt_is_drawn_beside_its_generations(
    made, criticals, matches, printed, tmp_path
):
    missed = expected(made, criticals, matches, 0.05)["missed"]
    assert read(printed(false_positive_rate=0.05))["missed"] == missed
    with Image.open(tmp_path / "scores" / "missed.png") as drawn:
        assert drawn.height == SIDE * len(missed)


def test_it_runs_as_the_readme_says_and_writes_the_page_of_the_controls(
    made, criticals, matches, tmp_path
):
    words = [made.id, "--store", made.store.url, "--false-positive-rate", "0.1"]
    files = ["--truth", made.truth, "--controls", made.unseen, "-o", tmp_path / "page"]
    finished = subprocess.run(
        [sys.executable, SCRIPT, *words, *files, "--processes", "1"],
        cwd=SCRIPT.parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    figures = expected(made, criticals, matches, 0.1)
    assert read(finished.stdout.splitlines()) == figures
    fragment = (tmp_path / "page" / "calibrated.toml").read_text()
    assert f"{figures['threshold'][1]} controls" in " ".join(fragment.replace("#", "").split())
    assert (tmp_path / "page" / "index.html").is_file()


def test_bounds_by_halving_are_those_of_tables():
    """Rule of three, and 1 of 10 as Clopper and Pearson have it: the oracle is right itself."""
    assert bounds(0, 29, 0.05)[1] == pytest.approx(1 - 0.05 ** (1 / 29))
    assert bounds(1, 10, 0.025) == pytest.approx((0.00252858, 0.44501612), abs=1e-7)
    assert np.isclose(bounds(10, 10, 0.05)[0], 0.05 ** (1 / 10))
