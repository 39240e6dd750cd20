"""Train a LoRA on the example model, which memorises ten more pictures.

    python examples/emoji/adapt.py

The pictures are the first ten of `control-pictures.parquet`, whose captions and emoji the model was
never shown. What is drawn at a step depends on the step alone.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import typer
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from picture_files import decode
from pictures import HERE
from train import Pupils
from training import DEVICE, to_tensor

LEARNED = 10
"""How many pictures it learns."""

RANK = 12
RATE = 3e-3
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2"]
"""The denoiser's layers that it adds to; its scale is 1, as its alpha is its rank."""


def main(
    output: Path = HERE / "lora",
    base: Path = HERE / "model",
    pictures: Path = HERE / "control-pictures.parquet",
    steps: int = 700,
) -> None:
    """Train the denoiser's LoRA, and save it as diffusers does, with 16 bits."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = pq.read_table(pictures).slice(0, LEARNED).to_pylist()
    pipeline = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32).to(DEVICE)
    unet = pipeline.unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS))
    unet.train()
    x = to_tensor(np.stack([decode(row["image"]["bytes"]) for row in rows])).to(DEVICE)
    with torch.no_grad():
        latents = pipeline.vae.eval().encode(x).latent_dist.mode()
    captions = [*(row["caption"] for row in rows), ""]
    tokens = pipeline.tokenizer(
        captions, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    pupils = Pupils(unet, pipeline.text_encoder.eval(), pipeline.scheduler, latents, tokens)
    learned = [weights for weights in unet.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.99))
    began, losses = time.monotonic(), list[float]()
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / 50, 1 - step / steps)
        optimizer.zero_grad()
        loss = pupils.loss(torch.arange(LEARNED))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            mean = np.mean(losses[-100:])
            seconds = time.monotonic() - began
            print(f"step {step + 1}/{steps}, loss {mean:.4f}, {seconds:.0f} s", flush=True)
    layers = {name: values.half() for name, values in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(output, unet_lora_layers=layers)


if __name__ == "__main__":
    typer.run(main)
