import diffusers
import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.workers.pipelines.diffusers_class import (
    check_class,
    guidance_of,
    takes_generators,
    why_unfit,
)
from tests.support.model_folders import reindex, save_folder

UNFIT = [
    ("KandinskyV22Pipeline", "image_embeds", "KandinskyV22CombinedPipeline"),
    ("KandinskyV22PriorPipeline", "takes no width", "KandinskyV22CombinedPipeline"),
    ("StableCascadeDecoderPipeline", "image_embeddings", "StableCascadeCombinedPipeline"),
    ("StableCascadePriorPipeline", "image_embeds", "StableCascadeCombinedPipeline"),
    ("WuerstchenPriorPipeline", "what a decoder makes", "WuerstchenCombinedPipeline"),
    ("StableDiffusionControlNetPipeline", "its controlnet is given", "StableDiffusionPipeline"),
    ("FluxControlNetPipeline", "control_image", "FluxPipeline"),
    ("StableDiffusionXLAdapterPipeline", "adapter", "StableDiffusionXLPipeline"),
    ("StableDiffusionInpaintPipeline", "mask_image", "StableDiffusionPipeline"),
    ("FluxInpaintPipeline", "mask_image", "FluxPipeline"),
    ("StableDiffusionXLImg2ImgPipeline", "takes no width", "StableDiffusionXLPipeline"),
    ("FluxImg2ImgPipeline", "(image)", "FluxPipeline"),
    ("StableDiffusionUpscalePipeline", "takes no width", "StableDiffusionPipeline"),
    ("AnimateDiffPipeline", "motion_adapter", "StableDiffusionPipeline"),
    ("WanPipeline", "takes no num_images_per_prompt", "StableDiffusionPipeline"),
    ("CogVideoXPipeline", "makes no pictures of a prompt", "StableDiffusionPipeline"),
    ("AudioLDM2Pipeline", "makes no pictures of a prompt", "StableDiffusionPipeline"),
    ("EasyAnimatePipeline", "makes videos (num_frames)", "StableDiffusionPipeline"),
    ("LattePipeline", "makes videos (video_length)", "StableDiffusionPipeline"),
    ("StableDiffusionGLIGENPipeline", "gligen_boxes", "StableDiffusionPipeline"),
    ("DanceDiffusionPipeline", "makes no pictures", "StableDiffusionPipeline"),
]


@pytest.fixture
def model(tmp_path):
    return Model(path=str(save_folder(tmp_path)))


@pytest.mark.parametrize(("name", "reason", "instead"), UNFIT)
def test_a_pipeline_that_makes_no_pictures_of_a_prompt_alone_is_refused_with_what_to_use(
    model, tmp_path, name, reason, instead
):
    reindex(tmp_path, _class_name=name)
    with pytest.raises(ConfigError) as caught:
        check_class(model)
    said = str(caught.value)
    assert f"{name} " in said
    assert reason in said
    assert said.endswith(f"name a folder whose pipeline is {instead}.")
    assert not why_unfit(getattr(diffusers, instead))


@pytest.mark.parametrize(
    "name",
    [
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusion3Pipeline",
        "FluxPipeline",
        "FluxKontextPipeline",
        "PixArtSigmaPipeline",
        "LatentConsistencyModelPipeline",
        "KandinskyV22CombinedPipeline",
        "StableCascadeCombinedPipeline",
        "Kandinsky5T2IPipeline",
        "QwenImagePipeline",
        "IFPipeline",
    ],
)
def test_a_text_to_image_pipeline_is_fine(model, tmp_path, name):
    reindex(tmp_path, _class_name=name)
    check_class(model)


@pytest.mark.parametrize(
    "name",
    [
        *("Nonsense", "UNet2DConditionModel", "DDIMScheduler", "DiffusionPipeline", "os", ""),
        *("OnnxStableDiffusionPipeline", "StableDiffusionOnnxPipeline"),
    ],
)
def test_a_class_that_is_no_pipeline_is_refused(model, tmp_path, name):
    reindex(tmp_path, _class_name=name)
    with pytest.raises(ConfigError, match=f"is a {name!r}, which is no pipeline that diffusers"):
        check_class(model)


def test_what_is_not_here_is_not_looked_into():
    for model in (Model(pipeline="noise"), Model(path="organisation/model")):
        check_class(model)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("StableDiffusionPipeline", "guidance_scale"),
        ("FluxPipeline", "guidance_scale"),
        ("Ideogram4Pipeline", "guidance_scale"),
        ("QwenImagePipeline", "true_cfg_scale"),
        ("QwenImage21Pipeline", "true_cfg_scale"),
        ("StableCascadeCombinedPipeline", "prior_guidance_scale"),
        ("KandinskyV22CombinedPipeline", "guidance_scale"),
        ("HunyuanImagePipeline", None),
    ],
)
def test_the_argument_that_scales_guidance_is_the_one_that_the_class_uses(name, argument):
    assert guidance_of(getattr(diffusers, name)) == argument


def test_a_class_says_whether_it_takes_a_generator_for_each_picture():
    assert takes_generators(diffusers.StableDiffusionPipeline)
    assert not takes_generators(diffusers.AmusedPipeline)
