"""Whether a server on 127.0.0.1 answers."""

import http.client
import socket
from collections.abc import Sequence

from deploy.local.ports import HOST

_SECONDS = 10.0
"""A busy machine makes a server slow, not dead; one that is gone refuses at once."""


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    try:
        socket.create_connection((HOST, port), timeout=_SECONDS).close()
        return True
    except OSError:
        return False


def get(port: int, path: str) -> tuple[int, str]:
    """The status and the text of a page; status 0, and why, where nothing answers.

    Asked directly, whatever proxy the environment names.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"port {port} does not answer ({error})"
    finally:
        connection.close()


def waits_for(ports: Sequence[int]) -> str:
    """What the services on these ports, all of which answer, say at /readyz that they wait for.

    Empty where one does not answer, or where all are ready.
    """
    pages = [get(port, "/readyz") for port in ports]
    if any(not status for status, _ in pages):
        return ""
    said = [" ".join(text.split()) for status, text in pages if status != http.client.OK]
    return " ".join(dict.fromkeys(said))


def is_fine(port: int, path: str) -> bool:
    """Whether the page is there, with status 200."""
    return get(port, path)[0] == http.client.OK
