import json
import subprocess
import sys

CODE = """
import logging, sys
from seedsweep.scheduler.services.log_format import log_to_stderr
from seedsweep.workers.monitoring.log_context import about_campaign

log_to_stderr(sys.argv[1], "worker", "gpu-1", "cuda:0 7")
log_to_stderr("text", "scheduler")
log = logging.getLogger("seedsweep.workers.generation.renderer")
log.debug("not shown")
logging.getLogger("urllib3.connectionpool").warning("not shown: each try of a store that is away")
with about_campaign("small-1"):
    log.info("%d images", 3)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("It broke.")
log.info("The prompt %s", sys.argv[2])
"""


PROMPT = "a\nERROR forged\x1b[2J\u202e"


def logged(form):
    """The lines that a process writes to stderr in this format."""
    command = [sys.executable, "-c", CODE, form, PROMPT]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return finished.stderr.splitlines()


def test_lines_for_people_say_who_speaks():
    first, *_ = logged("text")
    assert first.endswith(" [cuda:0 7] INFO 3 images")


def test_a_prompt_neither_ends_a_line_nor_is_obeyed_and_in_json_it_is_exact():
    assert logged("text")[-1].endswith(r"INFO The prompt a\nERROR forged\x1b[2J\u202e")
    last = logged("json")[-1]
    assert json.loads(last)["message"] == f"The prompt {PROMPT}"
    assert last.isprintable()


def test_as_json_each_line_is_one_object_with_what_it_is_about():
    first, second, _ = map(json.loads, logged("json"))
    time = first.pop("time")
    assert "T" in time
    assert time.endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "seedsweep.workers.generation.renderer",
        "message": "3 images",
        "service": "worker",
        "worker": "gpu-1",
        "campaign": "small-1",
    }
    assert second["message"] == "It broke."
    assert "ZeroDivisionError" in second["exc_info"]
    assert "campaign" not in second
