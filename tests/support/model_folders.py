"""The folders of diffusers models as people have them, of a few bytes: no torch."""

import json
import string


def safetensors(**shapes):
    """A whole safetensors file of zeros; without any shapes, one weight."""
    described, end = {}, 0
    for name, shape in (shapes or {"weight": [1, 1, 1]}).items():
        size = 4
        for side in shape:
            size *= side
        described[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(described).encode()
    return len(header).to_bytes(8, "little") + header + bytes(end)


INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}


def save_folder(folder):
    """What save_pretrained leaves, with the smallest of files."""
    put(folder, "model_index.json", json.dumps(INDEX))
    for part in ("unet", "vae"):
        put(folder, f"{part}/config.json", "{}")
        put(folder, f"{part}/diffusion_pytorch_model.safetensors", safetensors())
    put(folder, "vae/config.json", json.dumps({"block_out_channels": [1, 2, 3, 4]}))
    put(folder, "scheduler/scheduler_config.json", "{}")
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    put(folder, "tokenizer/vocab.json", json.dumps({word: i for i, word in enumerate(words)}))
    put(folder, "tokenizer/merges.txt", "#version: 0.2\n")
    put(folder, "tokenizer/spiece.model", "pieces")
    put(folder, "tokenizer/chat_template.jinja", "{{ messages }}")
    return folder


def put(folder, name, content):
    """Write a file of text or bytes, and the folders that it lies in."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def reindex(folder, **changes):
    """Change entries of the folder's index."""
    put(folder, "model_index.json", json.dumps({**INDEX, **changes}))


def files(folder):
    """What all files below a folder hold, by their path in it."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
