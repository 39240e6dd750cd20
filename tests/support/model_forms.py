"""The tiny model in the forms in which people hold models: other files, the same weights."""

import json
import re

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj")


def open_pipeline(folder, **options):
    return StableDiffusionPipeline.from_pretrained(folder, **options)


def save_lora(pipeline, file, *, text=False, kohya=False, alpha=None, seed=1, **changes):
    """Save a LoRA of rank 2 on the pipeline's queries, as diffusers or kohya's trainer names it.

    `changes` are tensors of other names, or of these names instead.
    """
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    parts = {"unet": ("unet", ("to_q",))}
    if text:
        parts["te"] = ("text_encoder", TEXT_LAYERS)
    for short, (part, ends) in parts.items():
        for name, layer in getattr(pipeline, part).named_modules():
            if not name.endswith(ends):
                continue
            if part == "text_encoder" and not name.startswith("text_model."):
                name = f"text_model.{name}"
            key = f"lora_{short}_{name.replace('.', '_')}" if kohya else f"{part}.{name}"
            down, up = ("lora_down", "lora_up") if kohya else ("lora_A", "lora_B")
            tensors[f"{key}.{down}.weight"] = torch.randn(2, layer.in_features, generator=draw)
            tensors[f"{key}.{up}.weight"] = torch.randn(layer.out_features, 2, generator=draw)
            if kohya:
                tensors[f"{key}.alpha"] = torch.tensor(float(alpha or 2))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({**tensors, **changes}, file)
    return file


def save_checkpoint(pipeline, file, *, leave_out=(), dtype=torch.float32, **changes):
    """Save the pipeline as one file, as Stable Diffusion's own code names its weights."""
    tensors = {
        **{f"model.diffusion_model.{k}": v for k, v in _unet(pipeline.unet).items()},
        **{f"first_stage_model.{k}": v for k, v in _vae(pipeline.vae).items()},
        **{
            f"cond_stage_model.transformer.text_model.{k.removeprefix('text_model.')}": v
            for k, v in pipeline.text_encoder.state_dict().items()
        },
    }
    kept = {
        name: values.to(dtype).contiguous()
        for name, values in tensors.items()
        if not name.startswith(tuple(leave_out))
    }
    save_file({**kept, **changes}, file)
    return file


def save_config(folder, target, **scheduler):
    """Save what describes a pipeline, without its weights; the sampler may be set otherwise."""
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            copy = target / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    config = target / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **scheduler}))
    return target


def _unet(unet):
    layers = unet.config.layers_per_block + 1
    has_attention = [any("attentions" in k for k in b.state_dict()) for b in unet.up_blocks]
    renamed = {}
    for name, values in unet.state_dict().items():
        for ours, theirs in ENDS.items():
            if name.startswith(f"{ours}."):
                name = name.replace(ours, theirs, 1)
        if found := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", name):
            place = int(found[1]) * layers + int(found[3]) + 1
            name = _layer(name, found, f"input_blocks.{place}.{int(found[2] == 'attentions')}.")
        elif found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.", name):
            name = f"input_blocks.{(int(found[1]) + 1) * layers}.0.op.{name[found.end() :]}"
        elif found := re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", name):
            place = int(found[1]) * layers + int(found[3])
            name = _layer(name, found, f"output_blocks.{place}.{int(found[2] == 'attentions')}.")
        elif found := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.", name):
            place = (int(found[1]) + 1) * layers - 1
            second = 1 + has_attention[int(found[1])]
            name = f"output_blocks.{place}.{second}.{name[found.end() :]}"
        elif found := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.", name):
            place = 1 if found[1] == "attentions" else 2 * int(found[2])
            name = _layer(name, found, f"middle_block.{place}.")
        renamed[name] = values
    return renamed


def _layer(name, found, place):
    rest = name[found.end() :]
    if "resnets" in found[0]:
        for ours, theirs in RESNET.items():
            rest = re.sub(rf"^{ours}\.", f"{theirs}.", rest)
    return place + rest


def _vae(vae):
    blocks = len(vae.config.block_out_channels)
    renamed = {}
    for name, values in vae.state_dict().items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
        name = re.sub(r"up_blocks\.(\d+)\.", lambda m: f"up.{blocks - 1 - int(m[1])}.", name)
        name = name.replace(".resnets.", ".block.") if ".up." in name else name
        name = name.replace("upsamplers.0.", "upsample.").replace("conv_norm_out", "norm_out")
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("conv_shortcut", "nin_shortcut")
        if "mid_block.attentions.0." in name:
            name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
            for ours, theirs in (("group_norm", "norm"), ("to_out.0", "proj_out")):
                name = name.replace(ours, theirs)
            name = re.sub(r"to_([qkv])\.", r"\1.", name)
            if values.dim() == 2:
                values = values[:, :, None, None]
        renamed[name] = values
    return renamed
