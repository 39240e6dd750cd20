"""The replay of stages on a campaign whose pictures are all there."""

import numpy as np

from benchmarks.funnel import Replayed, images_until, main
from seedsweep.storage.folder_store import FolderStore
from tests.support.campaigns import campaign_file, make_images, submit_file

SEEDS = 32


def test_a_stored_campaign_is_replayed(tmp_path, capsys):
    store = FolderStore(tmp_path / "store")
    file = campaign_file(
        tmp_path / "campaign.toml",
        [f"prompt {number}" for number in range(24)],
        sampling={"seeds": SEEDS, "width": 8, "height": 8, "images_per_unit": SEEDS},
        analysis={"tiles": 2, "min_clique_size": 4},
    )
    plan = submit_file(store, file)
    make_images(store, plan)
    main([plan.campaign.campaign_id, "--store", store.url, "--attack", "100"])
    printed = capsys.readouterr().out
    assert "| full attack |" in printed
    assert "| oracle order | all | 1 | 0 | 0 | 0.010 |" in printed
    assert "nan" not in printed


def test_empty_places_of_batches_count():
    edges = np.zeros((32, 32), dtype=np.bool_)
    edges[20, 25] = edges[25, 20] = True
    prompt, order = Replayed("0" * 16, edges, is_find=False, share=0.0), np.arange(32)
    assert images_until(prompt, ((4, 2),), 500, order) == (16, False)
    assert images_until(prompt, ((4, 2), (30, 2)), 500, order) == (16, False)
    assert images_until(prompt, ((30, 2),), 500, order) == (32 + 480, True)
    assert images_until(prompt, (), 500, order) == (512, True)
