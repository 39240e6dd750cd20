from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.workers.pipelines.noise import noise_share
from tests.support.checkout import ROOT


def test_the_campaign_to_try_a_deployment_with_has_prompts_to_flag_and_others():
    campaign, prompts, _ = read_campaign(ROOT / "examples" / "noise" / "campaign.toml")
    seeds = len(campaign.seeds)
    flagged = [p for p in prompts if noise_share(p) * seeds > campaign.analysis.min_clique_size]
    assert (len(flagged), len(prompts), seeds * len(prompts)) == (6, 8, 320)
