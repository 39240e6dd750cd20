"""By the name of a class, how it is made tiny."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from tests.support.classes import cascades, decoders, language, seeing, unets
from tests.support.classes import transformers_of_latents as latents
from tests.support.tiny_pipelines import kandinsky_parts


@dataclass(frozen=True)
class Tiny:
    """How a tiny pipeline is made, the side of its pictures, and the package that it needs besides
    what the tests have."""

    parts: Callable[[], Mapping[str, Any]]
    side: int = 32
    needs: str = ""


TINY = {
    "AltDiffusionPipeline": Tiny(unets.alt_diffusion),
    "AmusedPipeline": Tiny(cascades.amused),
    "AuraFlowPipeline": Tiny(latents.aura_flow),
    "BriaFibo2Pipeline": Tiny(seeing.bria_fibo_2, needs="torchvision"),
    "BriaFiboEditPipeline": Tiny(language.bria_fibo),
    "BriaFiboPipeline": Tiny(language.bria_fibo),
    "BriaPipeline": Tiny(latents.bria),
    "ChromaPipeline": Tiny(latents.chroma),
    "CogView3PlusPipeline": Tiny(latents.cogview_3),
    "CogView4Pipeline": Tiny(language.cogview_4),
    "DreamLiteMobilePipeline": Tiny(seeing.dream_lite, needs="torchvision"),
    "DreamLitePipeline": Tiny(seeing.dream_lite, needs="torchvision"),
    "ErnieImagePipeline": Tiny(decoders.ernie),
    "Flux2KleinKVPipeline": Tiny(language.flux_2_klein),
    "Flux2KleinPipeline": Tiny(language.flux_2_klein),
    "Flux2Pipeline": Tiny(language.flux_2),
    "FluxKontextPipeline": Tiny(latents.flux),
    "FluxPipeline": Tiny(latents.flux),
    "HiDreamImagePipeline": Tiny(decoders.hidream, 256),
    "HunyuanDiTPipeline": Tiny(latents.hunyuan_dit, 1024),
    "HunyuanImagePipeline": Tiny(language.hunyuan_image),
    "IFPipeline": Tiny(unets.deepfloyd),
    "Ideogram4Pipeline": Tiny(decoders.ideogram_4),
    "JoyImageEditPipeline": Tiny(seeing.joy_image_edit, 1024, needs="torchvision"),
    "Kandinsky3Pipeline": Tiny(unets.kandinsky_3, 64),
    "Kandinsky5T2IPipeline": Tiny(language.kandinsky_5, 1024),
    "KandinskyCombinedPipeline": Tiny(unets.kandinsky, 64),
    "KandinskyV22CombinedPipeline": Tiny(kandinsky_parts, 64),
    "KolorsPAGPipeline": Tiny(unets.kolors),
    "KolorsPipeline": Tiny(unets.kolors),
    "Krea2Pipeline": Tiny(decoders.krea_2),
    "LatentConsistencyModelPipeline": Tiny(unets.latent_consistency),
    "LongCatImagePipeline": Tiny(seeing.long_cat, needs="torchvision"),
    "Lumina2Pipeline": Tiny(latents.lumina_2),
    "LuminaPipeline": Tiny(latents.lumina),
    "NucleusMoEImagePipeline": Tiny(seeing.nucleus_moe, needs="torchvision"),
    "OmniGenPipeline": Tiny(decoders.omnigen, needs="torchvision"),
    "OvisImagePipeline": Tiny(language.ovis_image),
    "PixArtAlphaPipeline": Tiny(latents.pixart_alpha, 256),
    "PixArtSigmaPAGPipeline": Tiny(latents.pixart, 256),
    "PixArtSigmaPipeline": Tiny(latents.pixart, 256),
    "QwenImage21Pipeline": Tiny(seeing.qwen_image_2_1, needs="torchvision"),
    "QwenImagePipeline": Tiny(language.qwen_image),
    "SanaPAGPipeline": Tiny(latents.sana),
    "SanaPipeline": Tiny(latents.sana),
    "SanaSprintPipeline": Tiny(latents.sana_sprint),
    "SemanticStableDiffusionPipeline": Tiny(unets.stable_diffusion),
    "StableCascadeCombinedPipeline": Tiny(cascades.stable_cascade, 128),
    "StableDiffusion3PAGPipeline": Tiny(latents.sd3),
    "StableDiffusion3Pipeline": Tiny(latents.sd3),
    "StableDiffusionLDM3DPipeline": Tiny(unets.ldm3d),
    "StableDiffusionModelEditingPipeline": Tiny(unets.stable_diffusion),
    "StableDiffusionPAGPipeline": Tiny(unets.stable_diffusion),
    "StableDiffusionPanoramaPipeline": Tiny(unets.stable_diffusion),
    "StableDiffusionParadigmsPipeline": Tiny(unets.paradigms),
    "StableDiffusionPipeline": Tiny(unets.stable_diffusion),
    "StableDiffusionPipelineSafe": Tiny(unets.ldm3d),
    "StableDiffusionSAGPipeline": Tiny(unets.stable_diffusion),
    "StableDiffusionXLPAGPipeline": Tiny(unets.xl),
    "StableDiffusionXLPipeline": Tiny(unets.xl),
    "StableUnCLIPPipeline": Tiny(unets.stable_unclip),
    "WuerstchenCombinedPipeline": Tiny(cascades.wuerstchen, 128),
    "ZImageOmniPipeline": Tiny(decoders.z_image_omni),
    "ZImagePipeline": Tiny(language.z_image),
}

NOT_MADE = {
    "Cosmos2TextToImagePipeline": "it needs cosmos_guardrail, which is not installed",
    "GlmImagePipeline": "a tiny one is refused in batches, and made one picture of two prompts",
    "HunyuanDiTPAGPipeline": "its tiny one of 1,024 px was not tried to the end",
    "PRXPipeline": "transformers does not load again what it saved of its text encoder",
    "PRXPixelPipeline": "no tiny configuration that runs was made yet",
    "UniDiffuserPipeline": "no tiny configuration that runs was made yet",
    "VersatileDiffusionTextToImagePipeline": "no tiny configuration that runs was made yet",
}
"""By the name of a class, why none is made."""


def save_class(name: str, folder: Path) -> None:
    """Save the tiny pipeline of a class, the same every time."""
    torch.manual_seed(0)
    save_parts(name, TINY[name].parts(), folder)
    if name == "AltDiffusionPipeline":
        _name_as_published(folder / "model_index.json")


def save_parts(name: str, parts: Mapping[str, Any], folder: Path) -> None:
    """Save a pipeline of these parts."""
    getattr(diffusers, name)(**parts).save_pretrained(folder)


def _name_as_published(index: Path) -> None:
    """Its text encoder's class moved within diffusers, which then saves it so that nothing loads
    it; people hold folders that name it by the family."""
    parts = json.loads(index.read_text())
    parts["text_encoder"][0] = "alt_diffusion"
    index.write_text(json.dumps(parts))
