"""What a bundle's findings are, for its recipient: each clique beside what it matches, and each
training picture beside the best generation of it."""

from dataclasses import dataclass
from html import escape

from seedsweep.audit.findings.match_words import agreement_words, score_words
from seedsweep.scheduler.printable import shown
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.prompt_results import Match

PAGE = "index.html"
LISTED = 100
"""README.txt has so many findings, and the page all."""

_NONE = "Nothing is flagged: no clique is large enough."

_EXTRACTION_HEAD = (
    "<tr><th>Extracted training picture</th><th class=n>Copies in the set</th>"
    "<th class=n>Generations that extract it</th><th>The best one</th><th class=n>l2</th>"
    "<th class=n>Adaptive</th></tr>"
)

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; \
style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 24px auto; max-width: 1100px; padding: 0 16px }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #ccc; padding: 8px; text-align: left; vertical-align: top }}
td {{ overflow-wrap: anywhere }}
.n {{ text-align: right }}
td.n {{ overflow-wrap: normal; white-space: nowrap }}
img {{ width: 128px; image-rendering: pixelated; display: block }}
small {{ color: #555 }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


@dataclass(frozen=True, slots=True)
class BundleFinding:
    """A clique that a bundle holds, best first: `size` of `seeds` pictures are the same one. `made`
    is the file of its representative, `trained` that of its match; None if it is not there."""

    prompt_id: str
    prompt: str
    size: int
    seeds: int
    representative_seed: int
    match: Match | None
    made: str | None
    trained: str | None


@dataclass(frozen=True, slots=True)
class BundleExtraction:
    """A distinct training picture that generations of a campaign without prompts extract: how many
    do, and its copies in the set. `made` is the file of the best one, `trained` its own; None if it
    is not there."""

    training_id: str
    generations: int
    copies: int
    best_seed: int
    l2: float
    adaptive: float | None
    made: str | None
    trained: str | None


def findings_page(
    title: str,
    findings: tuple[BundleFinding, ...],
    also: tuple[str, ...] = (),
    extracted: tuple[BundleExtraction, ...] = (),
) -> bytes:
    """The page with all findings and their pictures, what was found `also`, in sentences, and what
    is `extracted`; every text in it is escaped."""
    head = (
        "<tr><th>Prompt</th><th class=n>Same pictures</th><th>Generated</th><th>Training picture"
        "</th><th class=n>l2</th><th class=n>Adaptive</th><th>Agreement</th><th>Extracted</th></tr>"
    )
    rows = "\n".join(map(_row, findings))
    note = (
        "Each row is a picture that the model repeats for a prompt: how many of the prompt's "
        "pictures are this one, one of them, and the training picture nearest to it. README.txt "
        "says how to check this bundle, what was counted, what people said of it, and what it "
        "cannot say."
    )
    table = f"<table>\n{head}\n{rows}\n</table>" if findings else f"<p>{_NONE}</p>"
    told = "".join(f"<p>{escape(shown(sentence))}</p>\n" for sentence in also)
    if extracted:
        lines = "\n".join(map(_extraction_row, extracted))
        told += f"<table>\n{_EXTRACTION_HEAD}\n{lines}\n</table>\n<h2>Pictures that repeat</h2>\n"
    begun = _HEAD.format(title=escape(title))
    return f"{begun}<p>{note}</p>\n{told}{table}\n</body>\n</html>\n".encode()


def findings_words(
    findings: tuple[BundleFinding, ...],
    also: tuple[str, ...] = (),
    extracted: tuple[BundleExtraction, ...] = (),
) -> str:
    """The findings in lines, by the prompt's id, after what was found `also`, and what is
    `extracted`: it names no prompt."""
    lines = [*also, *_extraction_lines(extracted)]
    if not findings:
        return "\n".join([*lines, _NONE])
    named = ", and names the prompts" if any(each.prompt for each in findings) else ""
    lines.append(f"{PAGE} shows the same with the pictures{named}.")
    for number, each in enumerate(findings[:LISTED], 1):
        whose = f"prompt {each.prompt_id}: " if each.prompt else ""
        lines.append(f"{number:>4}. {whose}{each.size} of {each.seeds} the same")
        lines.append(f"      generated  {each.made or 'not in the bundle'}")
        if each.match:
            lines.append(f"      training   {each.trained or 'not in the bundle'}")
            lines.append(f"                 {shown(each.match.training_id)}")
            lines.append(f"      {_judged(each.match)}")
    if len(findings) > LISTED:
        lines.append(f"      and {len(findings) - LISTED:,} more, on the page")
    return "\n".join(lines)


def _extraction_lines(extracted: tuple[BundleExtraction, ...]) -> list[str]:
    lines = []
    for number, each in enumerate(extracted[:LISTED], 1):
        made = count_words(each.generations, "generation")
        lines.append(f"{number:>4}. extracted by {made}; copies in the set: {each.copies:,}")
        lines.append(f"      training   {each.trained or 'not in the bundle'}")
        lines.append(f"                 {shown(each.training_id)}")
        lines.append(f"      best       {each.made or 'not in the bundle'}")
        lines.append(f"      l2 {each.l2:.3f}, adaptive {score_words(each.adaptive)}")
    if len(extracted) > LISTED:
        lines.append(f"      and {len(extracted) - LISTED:,} more, on the page")
    return [*lines, "", "Pictures that repeat among the generations:"] if extracted else []


def _judged(match: Match) -> str:
    return (
        f"l2 {match.l2:.3f}, adaptive {score_words(match.adaptive)}, agreement "
        f"{agreement_words(match)}: {_verdict(match)}"
    )


def _verdict(match: Match) -> str:
    return "extracted" if match.extracted else "not extracted"


def _row(each: BundleFinding) -> str:
    match = each.match
    seed = f"seed {each.representative_seed}"
    trained = shown(match.training_id) if match else "not examined"
    cells = [
        f'<span dir="auto">{escape(shown(each.prompt))}</span><br>'
        f"<small>{escape(each.prompt_id)}</small>",
        f"{each.size} of {each.seeds}",
        _picture(each.made, seed),
        _picture(each.trained, trained) if match else escape(trained),
        f"{match.l2:.3f}" if match else "",
        score_words(match.adaptive) if match else "",
        agreement_words(match) if match else "",
        ("yes" if match.extracted else "no") if match else "not examined",
    ]
    numeric = {1, 4, 5}
    return "".join(
        f"<td{' class=n' if place in numeric else ''}>{cell}</td>"
        for place, cell in enumerate(cells)
    ).join(("<tr>", "</tr>"))


def _extraction_row(each: BundleExtraction) -> str:
    cells = [
        (_picture(each.trained, shown(each.training_id)), False),
        (f"{each.copies:,}", True),
        (f"{each.generations:,}", True),
        (_picture(each.made, f"seed {each.best_seed}"), False),
        (f"{each.l2:.3f}", True),
        (score_words(each.adaptive), True),
    ]
    row = "".join(f"<td{' class=n' if numeric else ''}>{cell}</td>" for cell, numeric in cells)
    return f"<tr>{row}</tr>"


def _picture(file: str | None, caption: str) -> str:
    if file is None:
        return f"not in the bundle<br><small>{escape(caption)}</small>"
    name = escape(file)
    return (
        f'<a href="{name}"><img src="{name}" alt=""></a><small>{escape(caption)}<br>{name}</small>'
    )
