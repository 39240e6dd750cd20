"""Policies replayed on stored pictures: what each says of a prompt, and what it costs."""

import tomllib
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.funnel_curve import DEFAULT, EMOJI
from benchmarks.funnel_pictures import Pictures, attacked, controls, reached, write_campaigns
from benchmarks.funnel_replay import first_pair, main
from seedsweep.scheduler.campaign.file import parse_campaign
from seedsweep.storage.stores import open_store
from tests.support.campaigns import submit_file

MODEL = EMOJI / "model"


def pictures(count, alike, prompt="a prompt"):
    """So many pictures, of which these are one."""
    edges = np.zeros((count, count), bool)
    for first, second in combinations(alike, 2):
        edges[first, second] = edges[second, first] = True
    return Pictures(prompt, edges)


@pytest.mark.parametrize(
    ("count", "alike", "told"),
    [
        (16, (), [False, None]),
        (16, (3, 15), [True, None]),
        (32, (3, 9, 30), [True, True]),
        (32, (3, 9), [True, None]),
        (64, (3, 9), [True, False]),
        (64, (3, 40, 50), [False, True]),
    ],
)
def test_a_stage_is_decided_by_its_first_pictures_or_not_at_all(count, alike, told):
    made = pictures(count, alike)
    assert [made.passes(*stage) for stage in DEFAULT] == told
    for lacking in (False, True):
        passed = reached(DEFAULT, made, lacking)
        assert passed[0] == told[0]
        assert passed[1] == (told[0] and (lacking if told[1] is None else told[1]))


@given(st.integers(2, 12), st.integers(0, 999))
def test_the_first_pair_is_where_the_first_two_that_are_alike_have_both_come(count, seed):
    rng = np.random.default_rng(seed)
    edges = np.triu(rng.random((count, count)) < 0.1, 1)
    edges |= edges.T
    order = rng.permutation(count)
    slow = [n for n in range(1, count + 1) if edges[np.ix_(order[:n], order[:n])].any()] or [
        count + 1
    ]
    assert first_pair(edges, order) == slow[0]


def read(file):
    return parse_campaign(tomllib.loads(file.read_text()), file)


def test_the_campaign_files_are_what_seedsweep_reads(tmp_path):
    write_campaigns(tmp_path, {}, MODEL)
    assert sorted(path.name for path in tmp_path.glob("*.toml")) == ["first.toml", "rare.toml"]
    rare, first = (read(tmp_path / name) for name in ("rare.toml", "first.toml"))
    assert rare.sampling.seeds == 500
    (stage,) = first.stages
    assert (stage.seeds, stage.min_clique_size) == (16, 2)


@pytest.mark.parametrize(
    ("count", "alike", "is_attacked"),
    [
        (64, (3, 15, 50), True),
        (500, (3, 15, 50, *range(100, 140)), True),
        (64, (3, 15), False),
        (64, (3, 50, 60), False),
        (64, range(10), False),
        (32, (3, 15, 20), False),
    ],
)
def test_all_pictures_are_made_of_controls_that_go_on_without_a_verdict(
    tmp_path, count, alike, is_attacked
):
    prompt = controls()[0]
    known = {prompt: pictures(count, alike, prompt)}
    assert attacked(known) == [prompt] * is_attacked
    assert not attacked({"no control": pictures(count, alike, "no control")})
    if is_attacked:
        write_campaigns(tmp_path, known, MODEL)
        assert read(tmp_path / "attacked.toml").sampling.seeds == 500
        assert (tmp_path / "attacked.csv").read_text().splitlines() == ["prompt", prompt]


def test_a_folder_with_pictures_of_another_model_is_refused(tmp_path):
    store = open_store(f"file:{tmp_path / 'store'}")
    write_campaigns(tmp_path, {}, MODEL)
    submit_file(store, tmp_path / "rare.toml")
    main([str(tmp_path), "--write"])
    written = (tmp_path / "rare.toml").read_text()
    other = EMOJI / "deduplicated"
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path), "--write", "--model", str(other)])
    said = str(refused.value)
    assert said.count(". ") == 0
    for part in (store.url, str(MODEL), str(other), "--model", "another folder"):
        assert part in said
    assert (tmp_path / "rare.toml").read_text() == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--write", "--model", "none"], "none is no folder"),
        ([], "holds no pictures: make files with --write"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit):
        main([str(tmp_path), *words])
    assert said in capsys.readouterr().err
