"""What a prompt's score says of its match, as the campaign's `[verification]` has it."""

import numpy as np
import pytest

from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.workers.analysts.prompt_score import Scoring
from seedsweep.workers.images import encode_png

SIDE = 16


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def l2_of(tmp_path, store_prompt):
    """Store four generations of a picture and score them: the l2 of their match, or None."""

    def score(picture, training, **options):
        folder = tmp_path / "training"
        folder.mkdir(exist_ok=True)
        for place, each in enumerate(training):
            (folder / f"{place:03}.png").write_bytes(encode_png(each))
        stored = store_prompt(np.stack([picture] * 4))
        settings = AnalysisSettings(
            analysis=Analysis(min_clique_size=4),
            verification=Verification(training_set=str(folder), **options),
        )
        scoring = Scoring(stored.store.url, stored.submission, settings, (4,))
        (l2,) = scoring(stored.text).l2
        return l2

    return score


def test_a_picture_that_is_near_only_mirrored_matches_with_flip_alone(l2_of):
    picture, *strangers = noise(9, seed=0)
    training = [*strangers, picture[:, ::-1]]
    assert l2_of(picture, training, neighbours=8) is None
    assert l2_of(picture, training, neighbours=8, flip=True) == 0


def test_whose_neighbours_the_match_is_compared_with_decides(l2_of):
    """Of 255 levels the nearest is 40 off; three others are 16 from that one in the mean, and the
    generation's own three nearest are 48 from it."""
    picture = np.full((SIDE, SIDE, 3), 100, dtype=np.uint8)
    crowd = [picture + levels for levels in (40, 48, 56, 64)]
    options = {"alpha": 1.0, "neighbours": 3}
    assert l2_of(picture, crowd, **options) is None
    own = l2_of(picture, crowd, neighbours_of="generation", **options)
    assert own == pytest.approx(40 / 255)
