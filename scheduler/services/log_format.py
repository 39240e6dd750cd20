"""What services write to stderr: lines for people, or JSON for those who collect logs."""

import logging
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from seedsweep.scheduler.printable import ShownFormatter
from seedsweep.workers.monitoring.log_context import Context

LogFormat = Literal["text", "json"]


def log_to_stderr(form: LogFormat, service: str, worker: str = "", prefix: str = "") -> None:
    """Log from now on, in this process, as people or programs want it; the first call counts.

    As JSON each line is an object with `time` (ISO 8601), `level`, `logger`, `message`, `service`,
    `worker` if this is one, and `campaign`, `unit`, `prompt_id` and `seeds` if the line is
    about them. As text `prefix` stands in each line: services that share one stderr are told apart.
    What others wrote is shown there and not obeyed, so that no text ends a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Context())
    handler.setFormatter(_json(service, worker) if form == "json" else _text(prefix))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # It warns of each try of a store that is away, which we say ourselves, and once.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def _text(prefix: str) -> logging.Formatter:
    who = f"[{prefix}] " if prefix else ""
    return ShownFormatter(f"%(asctime)s {who}%(levelname)s %(message)s")


def _json(service: str, worker: str) -> logging.Formatter:
    return JsonFormatter(
        ["levelname", "name", "message"],
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger"},
        static_fields={"service": service, **({"worker": worker} if worker else {})},
    )
