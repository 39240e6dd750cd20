"""What `score.py` prints of a campaign, against figures that are counted here anew and slowly."""

import csv
import functools
import importlib.util
import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Sampling
from seedsweep.workers.images import encode_png
from seedsweep.workers.pipelines.noise import NoisePipeline, noise_share
from tests.support.campaigns import campaign_file, make_images, small_sampling, submit_file
from tests.support.checkout import ROOT

SCRIPT = ROOT / "examples" / "emoji" / "score.py"
SIDE, SEEDS, SIZE, TILES = 8, 16, 3, 2
OWN, ALPHA, NEIGHBOURS = 0.2, 0.65, 3
MARK = SIZE / SEEDS
RATES = (0, 0.3, 0.005, 0.01, 0.016, 0.02, 0.048, 0.05, 0.07, 0.1, 0.12, MARK, 0.2, 0.22, 1)
"""Every bin of true rates, each of their borders, and the least rate that counts as repeating."""

BINS = [
    ("0-1 %", 0, 0.01),
    ("1-2 %", 0.01, 0.02),
    ("2-5 %", 0.02, 0.05),
    ("5-10 %", 0.05, 0.1),
    ("10-20 %", 0.1, 0.2),
    ("> 20 %", 0.2, math.inf),
]


def truth_rows():
    """Measured prompts: (prompt, rate, half), each rate four times, and two never trained on."""
    names = [f"measured {number}" for number in range(4 * len(RATES))]
    rows = [
        (name, RATES[n % len(RATES)], ("choose", "report")[n // len(RATES) % 2])
        for n, name in enumerate(names)
    ]
    return [*rows, ("untrained 0", 0, "choose"), ("untrained 1", 0, "report")]


def control_rows():
    """Controls: (prompt, half); a few of them have repeats all the same."""
    names = [f"control {number}" for number in range(200)]
    quiet = [name for name in names if noise_share(name) <= 0.05][:62]
    loud = [name for name in names if noise_share(name) == 0.25][:2]
    return [(name, ("choose", "report")[n % 2]) for n, name in enumerate([*quiet, *loud])]


OF_NOISE = ((8,), (51,), (53,), (22,), ())
OF_REPEATS = ((8,), (22,), (49,), (53,), (25,) * 4, ())
"""How many of 255 levels off the training pictures of a prompt are: within 51 an l2 is within the
campaign's threshold, and four pictures are too near to each other for the adaptive score."""


def planted():
    """Training pictures: near what prompts of the half `report` repeat, near three prompts of the
    other half that never repeat, and strangers."""
    report = [row[0] for row in [*truth_rows(), *control_rows()] if row[-1] == "report"]
    noise = [p for p in report if len(representatives(p)) == 1]
    repeats = [p for p in report if noise_share(p) >= 0.25 and len(representatives(p)) > 1]
    quiet = [p for p, half in control_rows() if half == "choose" and len(representatives(p)) == 1]
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
    columns = ["prompt", "copies", "group", "repeat_rate", "repeats", "seeds", "half"]
    groups = {True: "untrained", False: "copies"}
    return write_csv(
        path,
        columns,
        [(p, 1, groups[p.startswith("untrained")], rate, 0, 64, half) for p, rate, half in rows],
    )


class Made:
    """A campaign with all its images but one prompt's, its truth and its controls."""

    def __init__(self, folder):
        self.folder = folder
        self.absent, self.imageless = "measured of another campaign", "measured without images"
        extra = [(self.absent, 1, "report"), (self.imageless, 1, "report")]
        self.measured, self.controls = truth_rows(), control_rows()
        self.truth = write_truth(folder / "truth.csv", [*self.measured, *extra])
        self.unseen = write_csv(folder / "controls.csv", ["prompt", "half"], self.controls)
        prompts = [row[0] for row in [*self.measured, *self.controls]]
        unknown = ["nothing is known of this prompt", self.imageless]
        self.training = planted()
        (folder / "training").mkdir()
        for n, picture in enumerate(self.training):
            file = folder / "training" / f"{n}.png"
            file.write_bytes(encode_png(picture.astype(np.uint8)))
        self.store = FolderStore(folder / "seedsweep-data")
        tables = {
            "sampling": small_sampling(SEEDS, SIDE, images_per_unit=SEEDS),
            "analysis": {"tiles": TILES, "min_clique_size": SIZE},
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
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def printed(made, score, capsys):
    """Score the made-up campaign in this process; returns the lines on stdout."""

    def run(truth=made.truth, controls=made.unseen, campaign_id=made.id, **options):
        capsys.readouterr()
        score.main(campaign_id, made.store.url, truth, controls, processes=1, **options)
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
        for row in [*made.measured, *made.controls]
    }


@pytest.fixture(scope="module")
def criticals(made):
    return {row[0]: critical(row[0]) for row in [*made.measured, *made.controls]}


def tail(count, n, share):
    """The chance of `count` or more of n."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))


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


def expected(made, criticals, matches, wanted, precision_mark=None, recall_mark=None):
    """Every figure, in the order of the lines."""
    known = {p: (rate, half) for p, rate, half in made.measured}
    known |= {p: (0, half) for p, half in made.controls}
    choose = [p for p, (_, half) in known.items() if half == "choose"]
    report = [p for p, (_, half) in known.items() if half == "report"]
    never = [p for p in choose if known[p][0] == 0]
    threshold, is_shown = threshold_by_hand([criticals[p] for p in never], wanted)
    flagged = {p for p in report if criticals[p] <= threshold}
    summary = "shown" if is_shown else f"not shown (n = {len(never)})"
    verification, why = verification_by_hand([matches[p] for p in never], wanted, summary)
    extracted = {p for p in flagged if is_within(matches[p], verification)}

    def block(found):
        return expected_block(found, known, report, wanted, precision_mark, recall_mark)

    return {
        "threshold": threshold,
        "never": len(never),
        "known": sum(known[p][0] >= MARK for p in choose),
        "shown": summary,
        "report": (len(report), sum(known[p][0] >= MARK for p in report)),
        **block(flagged),
        "extracted": {"threshold": verification, "why": why, **block(extracted)},
    }


def verification_by_hand(controls, wanted, summary):
    """That which these controls bound, else the campaign's own, and what is said of it."""
    found = [min(far) for far in controls]
    assert found == [max(far) for far in controls], "depends on which clique is found"
    threshold, _ = threshold_by_hand(found, wanted)
    if 0 < threshold < 1:
        return threshold, f"calibrated likewise; the rate of {wanted:g}: {summary}"
    why = "none" if threshold else "already the smallest one"
    return OWN, f"the campaign's own: of those that never repeat, {why} extracts too many"


def is_within(far, threshold):
    (verdict,) = {each <= threshold for each in far}
    return verdict


def expected_block(found, known, report, wanted, precision_mark, recall_mark):
    repeating = {p for p in report if known[p][0] >= MARK}
    quiet = {p for p in report if known[p][0] == 0}
    untrained = {p for p in report if p.startswith(("control", "untrained"))}

    def verdict(is_met, n):
        return "met" if is_met else f"not shown (n = {n})"

    def marked(right, among, mark):
        words = share(len(right), len(among), "lower")
        if mark is None:
            return words
        return words, verdict(bounds(len(right), len(among), 0.05)[0] >= mark, len(among))

    kept = bounds(len(found & quiet), len(quiet), 0.05)[1] <= wanted
    bins = {"never trained on": untrained}
    for name, low, high in BINS:
        bins[name] = {p for p in report if low <= known[p][0] < high} - untrained
    return {
        "never repeat": (
            share(len(found & quiet), len(quiet), "upper"),
            verdict(kept, len(quiet)),
        ),
        "precision": marked(found & repeating, found, precision_mark),
        "recall": marked(found & repeating, repeating, recall_mark),
        "bins": {name: share(len(found & inside), len(inside)) for name, inside in bins.items()},
    }


EXTRACTED = "Extracted, of those flagged, at a verification threshold of "


def read(lines):
    """The same figures from what was printed."""
    start = next((n for n, line in enumerate(lines) if line.startswith(EXTRACTED)), len(lines))
    text = "\n".join(lines[:start])
    threshold, never, known, shown = re.search(
        r"Edge threshold (\S+), from (\d+) prompts that never repeat and (\d+) that do; "
        r"the rate of \S+: (.+)\.$",
        text,
        re.MULTILINE,
    ).groups()
    report = re.search(r"On the other half, (\d+) prompts, (\d+) repeating:", text).groups()
    return {
        "threshold": float(threshold),
        "never": int(never),
        "known": int(known),
        "shown": shown,
        "report": tuple(map(int, report)),
        **read_block("flagged", lines[:start]),
        "extracted": read_extracted(lines[start:]) if lines[start:] else None,
    }


def read_extracted(lines):
    threshold, why = re.fullmatch(rf"{EXTRACTED}(\S+), (.+)\.", lines[0]).groups()
    return {"threshold": float(threshold), "why": why, **read_block("extracted", lines)}


def read_block(name, lines):
    def figure(name):
        (line,) = [line for line in lines if line.startswith(f"{name}: ")]
        words, _, mark = line.removeprefix(f"{name}: ").partition("; ")
        words = words.partition(", 95 %")[0]
        return (words, mark.split(": ")[1]) if mark else words

    rows = [row for line in lines if (row := re.fullmatch(r"\| (.+) \| (.+) \|", line))]
    assert rows[0].groups() == ("true repeat rate", f"{name}, 95 % exact")
    return {
        "never repeat": figure("never repeat"),
        "precision": figure("precision"),
        "recall": figure("recall"),
        "bins": dict(row.groups() for row in rows[1:]),
    }


@pytest.mark.parametrize("wanted", [0.05, 0.1, 0.2, 0.4])
def test_each_figure_is_that_of_the_slow_count(made, criticals, matches, printed, wanted):
    assert read(printed(false_positive_rate=wanted)) == expected(made, criticals, matches, wanted)


def test_both_kinds_of_verdict_occur_above(made, criticals, matches):
    """Otherwise the figures above would be held against one branch alone."""
    found = [expected(made, criticals, matches, wanted) for wanted in (0.05, 0.1, 0.2, 0.4)]
    assert {f["shown"] == "shown" for f in found} == {True, False}
    assert {f["never repeat"][1] == "met" for f in found} == {True, False}
    assert len({f["threshold"] for f in found}) > 2


def test_each_kind_of_verification_threshold_occurs_above_and_decides(made, criticals, matches):
    found = {wanted: expected(made, criticals, matches, wanted) for wanted in (0.1, 0.2, 0.4)}
    smallest, bounded, unbounded = (found[wanted]["extracted"] for wanted in (0.1, 0.2, 0.4))
    assert "already the smallest" in smallest["why"]
    assert bounded["threshold"] < OWN == smallest["threshold"] == unbounded["threshold"]
    assert "none extracts" in unbounded["why"]
    for each in (found[0.2], found[0.4]):
        assert len({str(each[name]) for name in ("precision", "recall")}) == 2
        assert each["recall"] != each["extracted"]["recall"] != f"0/{each['report'][1]}"
    near = [far for prompt in matches if criticals[prompt] <= 0.4 for far in matches[prompt]]
    assert any(bounded["threshold"] < far < OWN for far in near)
    assert any(OWN < far < math.inf for far in near)


def test_a_match_exactly_at_the_threshold_occurs_above(made, criticals, matches):
    edge = expected(made, criticals, matches, 0.4)["threshold"]
    report = [row[0] for row in [*made.measured, *made.controls] if row[-1] == "report"]
    assert any(matches[p] == [OWN] and criticals[p] <= edge for p in report)


def test_without_a_training_set_nothing_is_said_of_extractions(made, printed):
    lines = printed(false_positive_rate=0.2)
    alone = printed(false_positive_rate=0.2, campaign_id=made.unverified)
    assert read(alone)["extracted"] is None
    assert alone == lines[: len(alone)]
    assert lines[len(alone)].startswith(EXTRACTED)


def test_a_mark_is_met_by_the_lower_bound_and_not_by_the_share(made, criticals, matches, printed):
    figures = expected(made, criticals, matches, 0.2)
    count, n = map(int, re.match(r"(\d+)/(\d+)", figures["recall"]).groups())
    low = bounds(count, n, 0.05)[0]
    assert low + 0.01 < count / n
    for mark, verdict in ((low - 0.001, "met"), (low + 0.001, f"not shown (n = {n})")):
        marks = {"precision_mark": mark, "recall_mark": mark}
        found = read(printed(false_positive_rate=0.2, **marks))
        assert found == expected(made, criticals, matches, 0.2, **marks)
        assert found["recall"][1] == verdict


def test_the_threshold_is_that_of_the_half_choose_alone(
    made, criticals, matches, printed, tmp_path
):
    """Whatever is true of the other half, the threshold stays; what is found there does not."""
    swapped = [(p, 1 - r if half == "report" else r, half) for p, r, half in made.measured]
    truth = write_truth(tmp_path / "truth.csv", swapped)
    before = read(printed(false_positive_rate=0.2))
    after = read(printed(false_positive_rate=0.2, truth=truth))
    assert before["threshold"] == after["threshold"]
    assert before["recall"] != after["recall"]
    other = [(p, half) for p, half in made.controls if half == "choose"][8:]
    fewer = write_csv(tmp_path / "controls.csv", ["prompt", "half"], other)
    assert read(printed(false_positive_rate=0.2, controls=fewer))["never"] == before["never"] - 8


def test_of_a_rate_that_no_prompt_has_nothing_is_shown(made, printed, tmp_path):
    few = [row for row in made.measured if row[2] == "choose" or row[1] == 0]
    truth = write_truth(tmp_path / "truth.csv", few)
    found = read(printed(truth=truth, recall_mark=0.1, false_positive_rate=0.1))
    assert found["recall"] == ("not shown (n = 0)", "not shown (n = 0)")
    assert found["bins"]["5-10 %"] == "not shown (n = 0)"


def test_prompts_of_unknown_truth_are_not_scored_and_missing_images_are_said(made, printed):
    lines = printed()
    rows = [*made.measured, *made.controls]
    halves = [row[-1] for row in rows]
    assert read(lines)["report"][0] == halves.count("report")
    assert any("lack images" in line for line in lines)
    assert all(line.strip() for line in lines)


def test_without_a_prompt_that_never_repeats_no_threshold_is_made_up(made, score, tmp_path):
    truth = write_truth(tmp_path / "truth.csv", [r for r in made.measured if r[1] > 0])
    controls = write_csv(tmp_path / "controls.csv", ["prompt", "half"], [])
    with pytest.raises(SystemExit, match="half `choose`"):
        score.main(made.id, made.store.url, truth, controls, processes=1)


def test_it_runs_as_the_readme_says_and_writes_the_page_of_the_half_choose(
    made, criticals, matches, tmp_path
):
    words = [made.id, "--store", made.store.url, "--false-positive-rate", "0.1"]
    files = ["--truth", made.truth, "--controls", made.unseen, "--output", tmp_path / "page"]
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
    marked = f"{figures['never']} controls, {figures['known']} known positives"
    assert marked in " ".join(fragment.replace("#", "").split())
    assert (tmp_path / "page" / "index.html").is_file()


def test_bounds_by_halving_are_those_of_tables():
    """Rule of three, and 1 of 10 as Clopper and Pearson have it: the oracle is right itself."""
    assert bounds(0, 29, 0.05)[1] == pytest.approx(1 - 0.05 ** (1 / 29))
    assert bounds(1, 10, 0.025) == pytest.approx((0.00252858, 0.44501612), abs=1e-7)
    assert np.isclose(bounds(10, 10, 0.05)[0], 0.05 ** (1 / 10))
