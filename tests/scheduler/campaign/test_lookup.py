import pytest

from seedsweep.scheduler.campaign.lookup import NAMED, find_campaign
from seedsweep.storage import keys
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from tests.support.hostile import HOSTILE

EMOJI, OTHER_EMOJI = "emoji-0123456789ab", "emoji-0199999999ab"
LARGE = "emoji-large-0123456789ab"
NAMED_AS_A_BEGINNING = "emoji-0123-aaaaaaaaaaaa"
NAMED_AS_AN_ID = "emoji-0123456789ab-bbbbbbbbbbbb"
DOTS = "sd1.5_a-0123456789ab"


def knowing(store, *ids):
    """The store with campaigns of these ids; none of them can be read."""
    for each in ids:
        store.create(keys.campaign(each), b"broken")
    return store


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.mark.parametrize(
    ("known", "meant", "found"),
    [
        ([EMOJI, LARGE], EMOJI, EMOJI),
        ([EMOJI, LARGE], "emoji", EMOJI),
        ([EMOJI, LARGE], "emoji-l", LARGE),
        ([EMOJI, LARGE], "emoji-0", EMOJI),
        ([EMOJI, DOTS], "e", EMOJI),
        ([EMOJI, DOTS], "sd1.5_a", DOTS),
        ([EMOJI, NAMED_AS_A_BEGINNING], "emoji-0123", NAMED_AS_A_BEGINNING),
        ([EMOJI, NAMED_AS_A_BEGINNING], "emoji-01234", EMOJI),
        ([EMOJI, NAMED_AS_AN_ID], EMOJI, EMOJI),
        ([NAMED_AS_AN_ID], EMOJI, NAMED_AS_AN_ID),
    ],
)
def test_an_id_goes_before_a_name_and_that_before_a_beginning(store, known, meant, found):
    assert find_campaign(knowing(store, *known), meant) == found


@pytest.mark.parametrize(
    ("meant", "listed"),
    [("emoji", [EMOJI, OTHER_EMOJI]), ("emoji-", [EMOJI, OTHER_EMOJI, LARGE])],
)
def test_what_may_be_several_is_refused_and_they_are_listed(store, meant, listed):
    knowing(store, EMOJI, OTHER_EMOJI, LARGE)
    with pytest.raises(ConfigError) as refused:
        find_campaign(store, meant)
    for each in listed:
        assert each in str(refused.value)
    assert f"{len(listed)} campaigns" in str(refused.value)


@pytest.mark.parametrize(
    "meant", ["", " ", "EMOJI", "../x", "/", "*", "émoji", "👩\u200d🚀", HOSTILE]
)
def test_what_is_none_is_refused(store, meant):
    with pytest.raises(ConfigError, match="knows no campaign"):
        find_campaign(knowing(store, EMOJI), meant)


def test_a_campaign_whose_submission_was_cut_short_is_none(store):
    store.create(keys.prompts(OTHER_EMOJI), b"")
    with pytest.raises(ConfigError, match="holds no campaign"):
        find_campaign(store, OTHER_EMOJI)
    assert find_campaign(knowing(store, EMOJI), "emoji") == EMOJI


def test_of_hundreds_a_refusal_names_few_those_most_like_it_first(store):
    ids = [f"sweep-{number:012x}" for number in range(300)]
    knowing(store, *ids, DOTS)
    with pytest.raises(ConfigError) as several:
        find_campaign(store, "sweep")
    assert str(several.value).count("sweep-") == NAMED
    assert "300 campaigns" in str(several.value)
    assert f" and {300 - NAMED} more" in str(several.value)
    with pytest.raises(ConfigError, match=f"it knows: {DOTS}, .* and 293 more"):
        find_campaign(store, "sd1.5-a")
