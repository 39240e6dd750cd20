"""One-file HTML pages: drawn from records, all text escaped, and written whole."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from seedsweep.audit.findings.rate_words import examined_words, side_words
from seedsweep.audit.findings.second_model import second_model_words
from seedsweep.scheduler.printable import shown_lines
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.whole_file import write_whole

HEAD_BYTES = 4096
_OURS = re.compile(rb"<title>[^<]*: seedsweep [a-z ]+</title>")
"""The title of every page, also those of earlier versions."""

_CODE = re.compile("`([^`]+)`")

_NOTHING: Mapping[str, str] = {}


class _Compiled(BytecodeCache):
    """Templates as code: a process that draws many pages compiles each template once."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self._code.get(bucket.key):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def templates(package: str = "seedsweep.audit.report") -> Environment:
    """The package's templates; all that they show has to be there, is escaped and not obeyed."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_COMPILED,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["count_words"] = count_words
    environment.filters["examined_words"] = examined_words
    environment.filters.update(distance=_distance, percent=_percent, moment=_moment)
    environment.filters["side_words"] = side_words
    environment.filters["second_model_words"] = second_model_words
    environment.filters["with_code"] = _with_code
    return environment


def _finalize(value: object) -> object:
    """What a template shows of a value; what it drew itself stays as it is."""
    return value if hasattr(value, "__html__") else shown_lines(str(value))


def _with_code(text: str) -> Markup:
    """The text, escaped and not obeyed, with what stands between backticks as code."""
    escaped = str(escape(shown_lines(text)))
    return Markup(_CODE.sub(r"<code>\1</code>", escaped))  # noqa: S704


def render_template(template: str, page: object) -> str:
    """Render a template, which knows the record as `page`; the page needs no other file."""
    return templates().get_template(template).render(page=page)


def write_page(html: str, folder: Path, beside: Mapping[str, str] = _NOTHING) -> Path:
    """Write `folder`/index.html, after the files `beside` it, each whole or not at all.

    Returns the page's path. A page of ours is overwritten. Raises `ConfigError` if somebody else's
    is there, or the folder cannot be written.
    """
    target = folder / "index.html"
    try:
        if target.exists() and not _OURS.search(target.read_bytes()[:HEAD_BYTES]):
            raise ConfigError(f"{target} is no page of seedsweep; name another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (*beside.items(), (target.name, html)):
            write_whole(folder / name, text)
    except OSError as error:
        raise ConfigError(
            f"The page {target} cannot be written ({error.strerror or error}); "
            "name a folder that can be."
        ) from error
    return target


def _distance(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "0 %"


def _moment(text: str) -> str:
    """An ISO 8601 moment for people, or the text itself if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".rstrip()
