import dataclasses
import json

import pytest

from seedsweep.cli.console import prompt_cell
from seedsweep.cli.doctor import print_diagnosis
from seedsweep.cli.results import print_found
from seedsweep.cli.status_table import Overview, print_workers
from seedsweep.cli.tables import print_checkup, print_results
from seedsweep.cli.verification_table import print_verification
from seedsweep.scheduler.campaign.decisions import WrongDecision
from seedsweep.scheduler.campaign.integrity import Checkup, Fault
from seedsweep.scheduler.campaign.progress import Progress, Services
from seedsweep.scheduler.doctor.diagnosis import Diagnosis
from seedsweep.storage.life_signs import Sign
from seedsweep.storage.prompt_results import Clique, Match, Part
from seedsweep.storage.records import Worker
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import (
    Coverage,
    PartMatch,
    VerificationResult,
    VerifiedClique,
)
from tests.support.results import make_flagged, make_found, make_result

MARKUP = "[red]:cat:[/red]"

CAMPAIGN = Progress(
    id="small-0123456789ab",
    name="small",
    state="running",
    submitted_at="2026",
    units=60,
    units_done=31,
    units_parked=2,
    units_dropped=0,
    images=600,
    images_full=600,
    images_done=310,
    prompts=30,
    prompts_analysed=13,
    flagged=4,
)
RESULT = make_flagged(prompt=MARKUP)


def sign(name="w", seconds_ago=1.0, **changes):
    said = {"host": "gpu1", "device": "cuda:0", "model": "m", "images": 7}
    worker = Worker(name=name, images_per_second=1.25, **said | changes)
    return Sign(worker, "model-id", seconds_ago)


@pytest.fixture
def printed(capsys):
    """What something prints, by line."""

    def printed(show, *arguments):
        capsys.readouterr()
        show(*arguments)
        return capsys.readouterr().out.splitlines()

    return printed


def line_of(lines, word):
    """The only line that holds a word, without the table's frame."""
    (line,) = [line for line in lines if word in line]
    return line.replace("│", " ").split()


class TestOverview:
    def test_a_campaign_is_one_line_of_figures(self, printed):
        lines = printed(Overview([CAMPAIGN], None).print)
        found = line_of(lines, CAMPAIGN.id)
        assert found == [CAMPAIGN.id, "running", "31/60", "2", "310/600", "13/30", "4"]

    def test_what_stages_drop_is_no_unit_to_be_made(self, printed):
        staged = dataclasses.replace(CAMPAIGN, units_dropped=20)
        lines = printed(Overview([staged], None).print)
        found = line_of(lines, staged.id)
        assert found == [staged.id, "running", "31/40", "2", "20", "310/600", "13/30", "4"]

    def test_what_is_shared_stands_beside_the_images(self, printed):
        shared = dataclasses.replace(CAMPAIGN, images_shared=40)
        found = line_of(printed(Overview([shared], None).print), shared.id)
        assert found == [shared.id, "running", "31/60", "2", "310/600", "40", "13/30", "4"]

    def test_campaigns_keep_their_order(self, printed):
        ids = ["b-1", "c-2", "a-3"]
        campaigns = [dataclasses.replace(CAMPAIGN, id=name) for name in ids]
        lines = "\n".join(printed(Overview(campaigns, None).print))
        assert sorted(ids, key=lines.index) == ids

    def test_where_no_broker_answers_that_is_said(self, printed):
        assert "No service was asked" in "".join(printed(Overview([CAMPAIGN], None).print))
        troubled = " ".join(printed(Overview([CAMPAIGN], None, "It [refuses] us.").print))
        assert "This is what the store knows. It [refuses] us." in troubled
        known = Services(led=True, signs=(), analysts=1)
        assert "what the store knows" not in "".join(printed(Overview([CAMPAIGN], known).print))

    def test_what_is_stuck_stands_below_with_its_campaign(self, printed):
        campaign = dataclasses.replace(CAMPAIGN, stuck=("It is stuck.", f"It broke at {MARKUP}."))
        lines = printed(Overview([campaign], Services(True, (), 1)).print)
        said = ("It is stuck.", f"It broke at {MARKUP}.")
        assert lines[-2:] == [f"{CAMPAIGN.id}: {sentence}" for sentence in said]

    def test_workers_are_shown_and_a_lost_one_is_marked(self, printed):
        services = Services(True, (sign("alive", 1.0), sign("vanished", 1520.0)), 1)
        lines = printed(Overview([CAMPAIGN], services).print)
        figures = ["gpu1", "cuda:0", "m", "7", "1.25"]
        assert line_of(lines, "alive") == ["alive", *figures, "1", "s", "ago"]
        assert line_of(lines, "vanished") == [
            *("vanished", *figures[:-1], "-", "25.3", "min", "ago,", "lost")
        ]

    @pytest.mark.parametrize("field", ["name", "host", "device", "model"])
    def test_what_a_worker_says_of_itself_is_no_markup(self, printed, field):
        services = Services(True, (sign(**{field: MARKUP}),), 1)
        assert MARKUP in line_of(printed(Overview([], services).print), "1.25")


def test_workers_are_counted_in_words_above_their_table(printed):
    services = Services(False, (sign("alive"), sign("vanished", 61.0)), 2)
    first, *table = printed(print_workers, services)
    assert first == "no scheduler leads; 2 analysts and 1 worker live."
    assert line_of(table, "vanished")[-1] == "lost"
    out = sign("broken", 1.0, why_out=f"It failed with {MARKUP}.")
    *table, last = printed(print_workers, Services(True, (sign("alive"), out), 1))
    assert line_of(table, "broken")[-1] == "out"
    assert "1 worker live" in table[0]
    assert last == f"It failed with {MARKUP}."
    (only,) = printed(print_workers, Services(True, (), 0))
    assert only == "a scheduler leads; 0 analysts and 0 workers live."


def test_a_checkup_names_each_corrupt_shard_and_each_hole_and_counts_the_rest(printed):
    fault = Fault(3, "shards/x/1-2.parquet", f"It is cut short {MARKUP}.")
    checkup = Checkup(
        units=13,
        stored=5,
        receipted=4,
        images=8,
        corrupt=(fault,),
        holes=(6, 7),
        missing=1,
        parked=2,
    )
    corrupt, *holes, summary = printed(print_checkup, checkup)
    assert corrupt == f"Unit 3: {fault.key} is corrupt: {fault.reason}"
    assert [line.split(":")[0] for line in holes] == ["Unit 6", "Unit 7"]
    for figure in ("5 of 13 units", "8 images", "units with a receipt alone: 4"):
        assert figure in summary
    for figure in ("corrupt: 1", "lost: 2", "not made yet: 1", "parked: 2"):
        assert figure in summary


def test_a_checkup_names_what_was_wrongly_decided_with_its_prompts(printed):
    wrong = WrongDecision(1, 2, 2000, 2999, "promotions/1-2.json", f"It is lost {MARKUP}.")
    checkup = Checkup(
        units=0, stored=0, receipted=0, images=0, corrupt=(), holes=(), missing=0, parked=0,
        decisions=(wrong,),
    )  # fmt: skip
    decision, _ = printed(print_checkup, checkup)
    assert decision == f"Stage 1, prompts 2,001 to 3,000: {wrong.reason}"


@pytest.mark.parametrize(
    ("verdict", "mark"), [("fine", "ok"), ("warning", "warning"), ("failure", "FAILURE")]
)
def test_a_finding_is_marked_and_its_remedy_stands_below(printed, verdict, mark):
    (only,) = printed(print_diagnosis, Diagnosis("disk", verdict, f"It is {MARKUP}."))
    assert only.split(maxsplit=1) == [mark, f"disk: It is {MARKUP}."]
    first, second = printed(
        print_diagnosis, Diagnosis("disk", verdict, "It is full.", "Free some.")
    )
    assert first.split(maxsplit=1) == [mark, "disk: It is full."]
    assert second.strip() == "→ Free some."


def test_flagged_prompts_are_a_table_in_which_nothing_is_markup(printed):
    name = f"{MARKUP}.png"
    match = Match(training_id=name, l2=0.05, tiled_l2=0.06, adaptive=None, extracted=True)
    flagged = RESULT.model_copy(update={"match": match})
    plain = RESULT.model_copy(update={"flagged": False, "prompt": "an owl"})
    lines = printed(print_results, make_found([flagged, plain], captions={name: f"of {MARKUP}"}))
    found = line_of(lines, "0.012")
    caption, score = ["of", MARKUP], ["not", "scored"]
    judged = ["yes", "0.050", *score, f"{MARKUP}.png", "not", "known"]
    assert found == [MARKUP, "2", *judged, *caption, "0.060", "0.012", "4"]
    assert "┃ k " not in lines[2]  # nobody searched for near-copies
    assert "1 of 2 prompts flagged" in lines[0]
    assert not [line for line in lines if "an owl" in line]


def test_a_search_shows_the_caption_of_each_picture_that_was_matched(printed):
    match = Match(training_id="7.png", l2=0.05, tiled_l2=0.06, adaptive=None, extracted=True)
    about = {"prompt_id": RESULT.prompt_id, "prompt": "a fox", "seed": 1, "match": match}
    cliques = (VerifiedClique(**about, copies=1, caption=f"{MARKUP} in the snow"),)
    search = VerificationResult(
        campaign_id="c",
        analysis_id="a",
        settings=Verification(training_set="/t"),
        verified_at="2026",
        versions="v",
        coverage=Coverage(path="/t", listing="1", pictures=1, unreadable=0),
        cliques=cliques,
        not_verified=(),
        groups=(("7.png",),),
    )
    lines = printed(print_verification, search)
    assert f"{MARKUP} in the snow" in "\n".join(lines)
    row = [*("yes", "0.050", "not", "scored", "7.png", "not", "known", "1", MARKUP)]
    row += ["in", "the", "snow", "0.060"]
    assert line_of(lines, "a fox") == ["a", "fox", *row]
    # The same columns as of `results`, as far as something is known.
    known = make_found([RESULT.model_copy(update={"match": match})], copies={"7.png": 1})
    listed, searched = columns_of(printed(print_results, known)), columns_of(lines)
    assert set(listed) - set(searched) == {"clique", "mean distance", "seeds"}
    assert [name for name in listed if name in searched] == [
        name for name in searched if name != "its caption"
    ]


def columns_of(lines):
    (line,) = [line for line in lines if line.startswith("┃")]
    return [name.strip() for name in line.strip("┃").split("┃")]


def test_a_prompt_that_repeats_several_pictures_has_a_line_for_each(printed):
    match = Match(training_id="b.png", l2=0.07, tiled_l2=0.08, adaptive=0.5, extracted=True)
    further = Clique(clique_seeds=(0, 2), mean_distance=0.034, representative_seed=0, match=match)
    repeats = RESULT.model_copy(update={"further_cliques": (further,)})
    lines = printed(print_results, make_found([repeats]))
    assert line_of(lines, "another") == [
        *("another", "picture", "2", "yes", "0.070", "0.50", "b.png", "not", "known"),
        *("0.080", "0.034"),
    ]


def test_a_clique_that_may_be_larger_says_how_large(printed):
    unproven = RESULT.model_copy(update={"clique_proven": False, "clique_upper_bound": 9})
    assert "2 (≤ 9)" in "\n".join(printed(print_results, make_found([unproven])))


def test_where_no_prompt_is_flagged_there_is_no_table(printed):
    plain = RESULT.model_copy(update={"flagged": False})
    found = make_found([plain, plain], notes=("That is all.",))
    assert printed(print_results, found) == ["0 of 2 prompts flagged.", "That is all."]


PART = Part(seeds=(0, 1, 3), whole_seeds=(0, 3), tiles=(1, 2), share=0.257, representative_seed=0)


def test_parts_have_a_table_of_their_own_the_largest_first(printed):
    small = PART.model_copy(update={"share": 0.1})
    owl = make_result(prompt="an owl", parts=(small,), parts_proven=False)
    bee = make_result(prompt="a bee", parts=(PART,))
    plain = make_result(prompt="a wall", excluded=3)
    lines = printed(print_results, make_found([owl, RESULT, bee, plain]))
    assert any("2 of 3 prompts: a part of the picture repeats" in line for line in lines)
    words = ["an", "owl", "10", "%", "or", "more", "3", "4", "not", "examined"]
    assert line_of(lines, "an owl") == words
    assert line_of(lines, "a bee") == ["a", "bee", "26", "%", "3", "4", "not", "examined"]
    order = [word for line in lines for word in ("a bee", "an owl") if word in line]
    assert order == ["a bee", "an owl"]


@pytest.mark.parametrize(
    ("changes", "kind", "extracted", "verdict"),
    [
        ({}, "partial", True, "yes"),
        ({"copies": 0}, "partial", False, "no"),
        ({"unrelated": 1}, "common", False, "common"),
        ({"elsewhere": 2}, "common", False, "common"),
        ({"controls": 0, "control_l2": 0.3}, "partial", True, "yes"),
        ({"controls": 1, "control_l2": 0.01}, "partial", False, "no"),
    ],
)
def test_a_part_is_extracted_if_training_pictures_alone_show_it(
    printed, changes, kind, extracted, verdict
):
    bee = make_result(prompt="a bee", parts=(PART,))
    usual = {"training_id": "7", "caption": "a bee!", "l2": 0.02, "correlation": 0.9, "copies": 3}
    match = PartMatch(**usual | {"unrelated": 0, "elsewhere": 0} | changes)
    found = make_found([bee], of_parts={(bee.prompt_id, PART.part_id): match})
    [told] = json.loads("\n".join(printed(print_found, found, True)))
    [memory] = told["memories"]
    assert (memory["kind"], memory["extracted"]) == (kind, extracted)
    assert memory["match"]["training_id"] == "7"
    assert told["extracted_partial"] is extracted
    copies = str(changes.get("copies", 3))
    row = ["a", "bee", "26", "%", "3", "4", "7", "a", "bee!", copies, verdict]
    assert line_of(printed(print_results, found), "a bee") == row


def test_scripts_get_the_memories_of_each_prompt_the_whole_ones_first(printed):
    match = Match(training_id="b.png", l2=0.07, tiled_l2=0.08, adaptive=0.5, extracted=True)
    further = Clique(clique_seeds=(0, 2), mean_distance=0.034, representative_seed=0, match=match)
    several = RESULT.model_copy(update={"further_cliques": (further,), "parts": (PART,)})
    first, second = json.loads(
        "\n".join(printed(print_found, make_found([several, make_result()]), True))
    )
    usual = {"match": None, "mask": None, "share": 1.0, "extracted": None}
    mask = f"results/an/a-0123456789ab/masks/{several.prompt_id}-0.png"
    assert first["flagged_partial"] is True
    assert [memory | {"match": memory["match"] and "one"} for memory in first["memories"]] == [
        usual | {"kind": "whole", "seeds": [1, 3], "representative_seed": 1},
        usual
        | {"kind": "whole", "seeds": [0, 2], "representative_seed": 0, "match": "one"}
        | {"extracted": True},
        usual
        | {"kind": "partial", "seeds": [0, 1, 3], "representative_seed": 0}
        | {"mask": mask, "share": 0.257},
    ]
    assert (second["memories"], second["flagged_partial"]) == ([], False)


def test_a_flagged_prompt_that_was_compared_with_nothing_is_not_examined(printed):
    lines = printed(print_results, make_found([RESULT]))
    assert line_of(lines, MARKUP) == [MARKUP, "2", "not", "examined", "0.012", "4"]


def test_prompts_without_evidence_are_not_counted_among_those_that_are_not_flagged(printed):
    blank = make_result(prompt="an owl", excluded=3)
    lines = printed(print_results, make_found([RESULT, blank, make_result()]))
    assert "1 of 2 prompts flagged" in lines[0]


@pytest.mark.parametrize(
    ("prompt", "cell"), [("a fox", "a fox"), ("a fox!", "a fo…"), ("a\x1bfox", r"a\x1…")]
)
def test_a_long_prompt_is_shortened_as_it_is_shown(prompt, cell):
    assert prompt_cell(prompt, 5) == cell


def test_a_worker_without_a_model_yet_is_said_to_have_none(capsys):
    about = {"host": "h", "device": "cpu", "model": "", "images": 0, "images_per_second": 0.0}
    print_workers(Services(True, (Sign(Worker(name="w", **about), "", 1),), 1))
    assert "none yet" in capsys.readouterr().out
