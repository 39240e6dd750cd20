"""The page that says what every key of a campaign file means, made from the records."""

from collections.abc import Iterator

from seedsweep.scheduler.campaign.reference import Key, Table, tables

HEAD = """\
# The campaign file

Made from `storage/settings` by `python -m deploy.generate`; do not edit it.

`seedsweep init` writes a campaign file for your model, and checks it:

```sh
seedsweep init examples/emoji/model --prompts examples/emoji/prompts.csv -o my-campaign.toml
```

```text
Prompts: 64 from …/examples/emoji/prompts.csv, column prompt. Pictures: 64 \u00d7 64 pixels.
Look at it, then: seedsweep plan my-campaign.toml
my-campaign.toml
```

A campaign file says what to compute. Environment variables say where things are, and flags how to
run now. A key that is not listed here is refused. Paths are relative to the file.

```toml
name = "my-model"

[model]
path = "path/to/model"
dtype = "float16"

[prompts]
file = "prompts.csv"
column = "caption"

[sampling]
seeds = 500
steps = 50
guidance_scale = 7.5
width = 512
height = 512
batch_size = 16
images_per_unit = 48

[analysis]
edge_threshold = 0.1
min_clique_size = 10

[verification]
training_set = "train.parquet"
```

Pages of their own say more of [models](models.md), [prompts](prompts.md),
[training sets](training-sets.md) and [thresholds](calibrate.md).
"""


def campaign_page() -> str:
    """docs/campaign-file.md, in Markdown."""
    return "\n".join([HEAD, *(line for table in tables() for line in _section(table))])


def _section(table: Table) -> Iterator[str]:
    name = f"[{table.name}]" if table.is_repeated else table.name
    yield f"## `[{name}]`" if table.name else "## Above the tables"
    yield ""
    if table.name:
        must = "Required. " if table.is_required else ""
        yield from (f"{must}{table.meaning}", "")
    yield "| key | takes | default | meaning |"
    yield "|---|---|---|---|"
    yield from (
        f"| `{key.name}` | {_takes(key)} | {_default(key)} | {key.meaning} |" for key in table.keys
    )
    yield ""


def _takes(key: Key) -> str:
    is_choice = key.takes.startswith('"') or key.takes[0].isdigit()
    return " or ".join(f"`{one}`" for one in key.takes.split(" or ")) if is_choice else key.takes


def _default(key: Key) -> str:
    if key.default is None:
        return "required"
    return f"`{key.default}`" if key.default else "not set"
