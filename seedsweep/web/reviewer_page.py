"""The page on which a reviewer says whether two pictures are the same: local, and nobody else's.

Served on 127.0.0.1, below a random token, so that no other page can read it or post to it. It names
neither prompts nor distances, nor which of two pictures the model made.
"""

import csv
import hmac
import io
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from seedsweep.audit.evidence.labels import labels_file
from seedsweep.audit.evidence.verify_bundle import (
    LABEL_COLUMNS,
    LABELS,
    PART_COLUMNS,
    SHOWN_COLUMNS,
    label_rows,
    other_pictures,
    read_shown,
)
from seedsweep.audit.report.html import templates
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.whole_file import write_whole
from seedsweep.web.labelled_pairs import Drawing, PairedPictures

HOST = "127.0.0.1"
FORM_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows; `place` is None once every pair is labelled, `root` begins all paths.
    `left` and `right`: so many pictures are on each side. `is_part`: it asks of a part of them.
    `is_mirrored`: one is shown mirrored, as it was compared."""

    root: str
    reviewer: str
    place: int | None
    answered: int
    pairs: int
    chosen: str
    nonce: str
    pixel_art: bool
    is_part: bool
    is_mirrored: bool
    left: int
    right: int


class Labelling:
    """A reviewer's pairs and answers; each answer is on the disk before it counts.

    `pairs` come in an order, and with sides, that follow from the reviewer's name alone. Raises
    `ConfigError` where the folder is no bundle, its pictures are not what its manifest says, it has
    no pair to look at, or the reviewer's file is not what was written here.
    """

    def __init__(self, folder: Path, reviewer: str) -> None:
        self.reviewer, self.path = reviewer, labels_file(folder, reviewer)
        self.pictures = PairedPictures(folder, reviewer)
        self.pairs = self.pictures.pairs
        if not self.pairs:
            raise ConfigError(f"The bundle {folder} has no match with both pictures to look at.")
        self._known = {pair.item: pair.digests for pair in self.pairs}
        self._rows = _read_rows(self.path, self._known)
        self._lock = threading.Lock()

    @property
    def answered(self) -> int:
        """How many pairs are labelled."""
        return len(self._rows)

    def label_of(self, place: int) -> str:
        """What was said of the pair, empty where nothing was yet."""
        row = self._rows.get(self.pairs[place].item)
        return row[0] if row else ""

    def next_place(self) -> int | None:
        """The first pair that is not labelled, None where all are."""
        return next((i for i in range(len(self.pairs)) if not self.label_of(i)), None)

    def answer(self, place: int, label: str) -> None:
        """Keep what the reviewer says of a pair, in place of an earlier answer."""
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            # Read anew: the reviewer may have a second page open.
            rows = _read_rows(self.path, self._known)
            pair = self.pairs[place]
            rows[pair.item] = (label, now, *pair.digests)
            # Bundles without parts and extractions may have a checker of before, which knows none.
            more = PART_COLUMNS if self.pictures.has_part_ids else []
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(LABEL_COLUMNS + SHOWN_COLUMNS + more)
            for item, row in rows.items():
                prompt_id, _, part_id = item.partition("/")
                writer.writerow([prompt_id, *row, *([part_id] if more else [])])
            write_whole(self.path, text.getvalue())
            self._rows = rows


class LabelServer(ThreadingHTTPServer):
    """Serves one reviewer's page; `url` is the only way to it."""

    daemon_threads = True

    def __init__(self, labelling: Labelling, port: int = 0) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"The page cannot be served on {HOST}:{port} ({error.strerror}); choose another "
                "--port."
            ) from error
        self.labelling = labelling
        self.token = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    timeout = 60

    def do_GET(self) -> None:
        path = self._path()
        labelling = self.server.labelling
        if path is None:
            self._refuse()
        elif path == "":
            self._show(labelling.next_place())
        elif (place := self._place(path.removeprefix("pair/"))) is not None:
            self._show(place)
        elif drawing := self._drawing(path):
            try:
                self._send(labelling.pictures.draw(drawing), "image/png")
            except ConfigError:
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "The bundle was changed")
        else:
            self._refuse()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self._path() != "label" or not length.isdigit() or int(length) > FORM_BYTES:
            self._refuse()
            return
        form = parse_qs(self.rfile.read(int(length)).decode(errors="replace"))
        place, label = self._place(form.get("place", [""])[0]), form.get("label", [""])[0]
        if place is None or label not in LABELS:
            self._refuse()
            return
        try:
            self.server.labelling.answer(place, label)
        except (OSError, ConfigError):
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "The answer could not be kept")
            return
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"/{self.server.token}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: lines would hold the token."""

    def _path(self) -> str | None:
        """What is asked for below the token; None for whoever does not know it.

        A name of another host that was made to lead here is refused too.
        """
        port = self.server.server_address[1]
        if self.headers.get("Host") not in {f"{HOST}:{port}", f"localhost:{port}"}:
            return None
        token, slash, rest = urlsplit(self.path).path[1:].partition("/")
        knows = hmac.compare_digest(token.encode(), self.server.token.encode())
        return rest if slash and knows else None

    def _place(self, text: str) -> int | None:
        return _number(text, len(self.server.labelling.pairs))

    def _drawing(self, path: str) -> Drawing | None:
        """What picture/PLACE/SIDE/NUMBER or picture/PLACE/mask names."""
        kind, _, rest = path.partition("/")
        where, _, rest = rest.partition("/")
        side, _, number = rest.partition("/")
        place = self._place(where)
        if kind != "picture" or place is None:
            return None
        pair = self.server.labelling.pairs[place]
        if (side, number) == ("mask", ""):
            return pair.mask
        shown = {"left": pair.left, "right": pair.right}.get(side, ())
        chosen = _number(number, len(shown))
        return None if chosen is None else shown[chosen]

    def _show(self, place: int | None) -> None:
        labelling, nonce = self.server.labelling, secrets.token_urlsafe(16)
        pair = None if place is None else labelling.pairs[place]
        page = Page(
            root=f"/{self.server.token}/",
            reviewer=labelling.reviewer,
            place=place,
            answered=labelling.answered,
            pairs=len(labelling.pairs),
            chosen="" if place is None else labelling.label_of(place),
            nonce=nonce,
            pixel_art=labelling.pictures.pixel_art,
            is_part=pair is not None and pair.mask is not None,
            is_mirrored=pair is not None and any(d.mirrored for d in (*pair.left, *pair.right)),
            left=len(pair.left) if pair else 0,
            right=len(pair.right) if pair else 0,
        )
        html = templates("seedsweep.web").get_template("reviewer_page.html").render(page=page)
        self._send(html.encode(), "text/html; charset=utf-8", nonce)

    def _send(self, body: bytes, kind: str, nonce: str = "") -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
            f"base-uri 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'",
        )
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)


def _number(text: str, below: int) -> int | None:
    known = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if known and int(text) < below else None


def _read_rows(
    path: Path, known: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str, str, str]]:
    """A reviewer's answers so far by item: label, time, and the digests of both pictures, empty in
    a file of an earlier version."""
    if not path.exists():
        return {}
    try:
        data = path.read_bytes()
        rows = label_rows(data)
        if stray := {item for item, *_ in rows} - {*known}:
            raise ValueError(f"{min(stray)} is no pair of this bundle")
        seen = read_shown(data)
        if others := other_pictures(seen, known):
            raise ValueError(f"{others[0]} has other pictures in this bundle")
    except (OSError, ValueError) as error:
        raise ConfigError(f"The labels {path} cannot be gone on with ({error}).") from error
    return {item: (label, time, *seen.get(item, ("", ""))) for item, label, time, *_ in rows}
