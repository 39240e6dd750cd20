"""One-file HTML pages in the style of the report: drawn from records, all text escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from storage.errors import ConfigError


def draw_page(template: str, page: object) -> str:
    """Draw a template of this folder; it knows the record as `page`, and needs no other file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template(template).render(page=page)


def write_page(html: str, folder: Path) -> Path:
    """Write `folder`/index.html, whole or not at all, and return its path.

    Raises `ConfigError` where the folder cannot be written.
    """
    target = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / ".index.html.writing"
        unfinished.write_text(html, encoding="utf-8")
        unfinished.replace(target)
    except OSError as error:
        raise ConfigError(
            f"The page {target} cannot be written ({error.strerror or error}); "
            "name a folder that can be."
        ) from error
    return target
