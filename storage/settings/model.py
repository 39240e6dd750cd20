"""`[model]`: the model, its files and what is put on top of it."""

from typing import Annotated, Literal

from pydantic import Field

from seedsweep.storage.record import Name, Record, digest

WEIGHTS_FILE = r"^(?:(?:[^./\\\x00][^/\\\x00]*/)*[^./\\\x00][^/\\\x00]*\.safetensors)?$"


class Source(Record):
    """Files that a model is loaded from, in one place."""

    path: Annotated[str, Field(min_length=1)]
    """A folder, a `.safetensors` file or a hub id."""
    revision: Annotated[str, Field(exclude_if=lambda revision: revision == "main")] = "main"
    """Of a hub id: its branch, tag or commit. `run` and `submit` fix it to a commit."""
    fingerprint: Annotated[str, Field(exclude_if=lambda fingerprint: not fingerprint)] = ""
    """Set by submission: the hub commit, or the files' hash; of one file it is its sha256."""


class Adapter(Source):
    """`[[model.adapters]]`: a LoRA on top of the model; several are added up."""

    file: Annotated[str, Field(pattern=WEIGHTS_FILE, exclude_if=lambda file: not file)] = ""
    """Which file of the folder or hub id. Not set: its only `.safetensors` file."""
    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0
    """How strongly it acts, as in diffusers' `set_adapters`."""
    trigger: str = ""
    """Put before each prompt that does not have it, with a space between; the model sees
    that, and results name the prompt as it stands in the file."""


class Embedding(Source):
    """`[[model.embeddings]]`: a textual inversion, a word that the model learned."""

    file: Annotated[str, Field(pattern=WEIGHTS_FILE, exclude_if=lambda file: not file)] = ""
    """Which file of the folder or hub id. Not set: its only `.safetensors` file."""
    token: Annotated[str, Field(pattern=r"^\S+$")]
    """The word, which has to stand in a prompt, a trigger or the negative prompt."""


class Component(Source):
    """`[[model.components]]`: a part of the model that another one takes the place of."""

    path: Annotated[str, Field(min_length=1)]
    """The folder or hub id of the part, or of a pipeline that has it."""
    name: Name
    """What the pipeline calls the part, such as `vae`, `unet`, `transformer` or `text_encoder`."""


class Model(Record):
    """`[model]`: what makes the pictures, and how it is loaded and run."""

    pipeline: Name = "diffusers"
    """`diffusers`, `noise` (pictures of noise, for trying things out), `python` (a function, which
    `path` names as `module:function`), or the name of a plug-in."""
    path: str = ""
    """The folder that `save_pretrained` wrote, a hub id, or a single `.safetensors` checkpoint."""
    revision: str = "main"
    """Of a hub model: its branch, tag or commit. `run` and `submit` fix it to a commit."""
    variant: Annotated[str, Field(pattern=r"^\w*$", exclude_if=lambda variant: not variant)] = ""
    """Which of its weights: `fp16` for files such as `model.fp16.safetensors`. Not set: those of
    no variant, or of the only one that its folder has."""
    config: Annotated[str, Field(exclude_if=lambda config: not config)] = ""
    """Of a single checkpoint: a diffusers folder or hub id of the same kind of model. All but the
    weights is taken from it: the sizes, the sampler and what it predicts, the tokenizers."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """The numbers that the model computes with."""
    attention_slicing: bool = False
    """As in diffusers: less memory, slower."""
    vae_slicing: bool = False
    """As in diffusers: the pictures of a batch are decoded one by one."""
    vae_tiling: bool = False
    """As in diffusers: a large picture is decoded in parts."""
    channels_last: bool = False
    """As in diffusers: another order in memory, faster on some GPUs."""
    compile: bool = False
    """As in diffusers: the denoiser is compiled. The workers' hosts need a C++ compiler."""
    cpu_offload: bool = False
    """As in diffusers: the parts of the model take turns on the GPU. It needs one."""
    fuse_adapters: Annotated[bool, Field(exclude_if=lambda fuse: not fuse)] = False
    """The adapters are added to the model's weights when it is loaded: faster, other rounding."""
    adapters: Annotated[tuple[Adapter, ...], Field(exclude_if=lambda them: not them)] = ()
    embeddings: Annotated[tuple[Embedding, ...], Field(exclude_if=lambda them: not them)] = ()
    components: Annotated[tuple[Component, ...], Field(exclude_if=lambda them: not them)] = ()
    fingerprint: str = ""
    """Set by submission: the hub commit, the files' hash, or what else tells the version."""
    config_fingerprint: Annotated[str, Field(exclude_if=lambda fingerprint: not fingerprint)] = ""
    """Set by submission: the same of `config`."""

    @property
    def model_id(self) -> str:
        """Names what a worker has to load and how, whatever the recipe and wherever it lies."""
        return digest(self.identity)

    @property
    def identity(self) -> dict[str, object]:
        """What is loaded and how, with the fingerprints of all its files and not their places."""
        places, each = {"path": True, "revision": True}, {"__all__": {"path", "revision"}}
        parts = {"adapters": each, "embeddings": each, "components": each}
        return self.model_dump(exclude={**places, "config": True, **parts})

    @property
    def is_single_file(self) -> bool:
        """Whether it is a checkpoint of one file, which `config` describes."""
        return self.pipeline == "diffusers" and self.path.endswith(".safetensors")

    def given(self, prompt: str) -> str:
        """What the model is given for a prompt: the adapters' triggers that it lacks come first."""
        lacking = (one.trigger for one in self.adapters if one.trigger not in prompt)
        return " ".join([*lacking, prompt])

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that are switched on."""
        return tuple(name for name, value in self if value is True)
