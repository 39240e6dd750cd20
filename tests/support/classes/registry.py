"""By the name of a class, how it is made tiny."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from tests.support.classes import cascades, language, unets
from tests.support.classes import transformers_of_latents as latents
from tests.support.tiny_pipelines import kandinsky_parts


@dataclass(frozen=True)
class Tiny:
    """How a tiny pipeline is made, and the side of its pictures."""

    parts: Callable[[], Mapping[str, Any]]
    side: int = 32


TINY = {
    "AltDiffusionPipeline": Tiny(unets.alt_diffusion),
    "AmusedPipeline": Tiny(cascades.amused),
    "AuraFlowPipeline": Tiny(latents.aura_flow),
    "BriaFiboPipeline": Tiny(language.bria_fibo),
    "BriaPipeline": Tiny(latents.bria),
    "ChromaPipeline": Tiny(latents.chroma),
    "CogView3PlusPipeline": Tiny(latents.cogview_3),
    "CogView4Pipeline": Tiny(language.cogview_4),
    "Flux2Pipeline": Tiny(language.flux_2),
    "Flux2KleinPipeline": Tiny(language.flux_2_klein),
    "Flux2KleinKVPipeline": Tiny(language.flux_2_klein),
    "FluxKontextPipeline": Tiny(latents.flux),
    "FluxPipeline": Tiny(latents.flux),
    "HunyuanDiTPipeline": Tiny(latents.hunyuan_dit, 1024),
    "HunyuanImagePipeline": Tiny(language.hunyuan_image),
    "IFPipeline": Tiny(unets.deepfloyd),
    "Kandinsky3Pipeline": Tiny(unets.kandinsky_3, 64),
    "Kandinsky5T2IPipeline": Tiny(language.kandinsky_5, 1024),
    "KandinskyCombinedPipeline": Tiny(unets.kandinsky, 64),
    "KandinskyV22CombinedPipeline": Tiny(kandinsky_parts, 64),
    "LatentConsistencyModelPipeline": Tiny(unets.latent_consistency),
    "Lumina2Pipeline": Tiny(latents.lumina_2),
    "LuminaPipeline": Tiny(latents.lumina),
    "OvisImagePipeline": Tiny(language.ovis_image),
    "PixArtAlphaPipeline": Tiny(latents.pixart_alpha, 256),
    "PixArtSigmaPAGPipeline": Tiny(latents.pixart, 256),
    "PixArtSigmaPipeline": Tiny(latents.pixart, 256),
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
    "StableDiffusionSAGPipeline": Tiny(unets.stable_diffusion),
    "StableDiffusionXLPAGPipeline": Tiny(unets.xl),
    "StableDiffusionXLPipeline": Tiny(unets.xl),
    "StableUnCLIPPipeline": Tiny(unets.stable_unclip),
    "WuerstchenCombinedPipeline": Tiny(cascades.wuerstchen, 128),
    "ZImagePipeline": Tiny(language.z_image),
}

_SEES = "its processor needs torchvision, which is not installed"
_NOT_YET = "no tiny configuration that runs was made yet"
NOT_MADE = {
    "Cosmos2TextToImagePipeline": "it needs cosmos_guardrail, which is not installed",
    **dict.fromkeys(
        (
            "BriaFibo2Pipeline",
            "DreamLiteMobilePipeline",
            "DreamLitePipeline",
            "GlmImagePipeline",
            "JoyImageEditPipeline",
            "LongCatImagePipeline",
            "NucleusMoEImagePipeline",
            "QwenImage21Pipeline",
            "QwenImageEditPipeline",
            "QwenImageEditPlusPipeline",
        ),
        _SEES,
    ),
    **dict.fromkeys(
        (
            "BriaFiboEditPipeline",
            "ErnieImagePipeline",
            "HiDreamImagePipeline",
            "HunyuanDiTPAGPipeline",
            "Ideogram4Pipeline",
            "KolorsPAGPipeline",
            "KolorsPipeline",
            "Krea2Pipeline",
            "OmniGenPipeline",
            "PRXPipeline",
            "PRXPixelPipeline",
            "UniDiffuserPipeline",
            "VersatileDiffusionTextToImagePipeline",
            "ZImageOmniPipeline",
        ),
        _NOT_YET,
    ),
}
"""By the name of a class, why none is made."""


def save_class(name: str, folder: Path) -> None:
    """Save the tiny pipeline of a class, the same every time."""
    torch.manual_seed(0)
    kind = getattr(diffusers, name)
    kind(**TINY[name].parts()).save_pretrained(folder)
    if name == "AltDiffusionPipeline":
        _name_as_published(folder / "model_index.json")


def _name_as_published(index: Path) -> None:
    """Its text encoder's class moved within diffusers, which then saves it so that nothing loads
    it; people hold folders that name it by the family."""
    parts = json.loads(index.read_text())
    parts["text_encoder"][0] = "alt_diffusion"
    index.write_text(json.dumps(parts))
