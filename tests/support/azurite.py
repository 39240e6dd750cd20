"""Azurite, a real server that speaks Azure's blob protocol; npm has it (`npm install azurite`)."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import shutil
import socket
import subprocess
from email.utils import formatdate

from tests.support.servers import TETHER, free_ports, wait_until

ACCOUNT = "devstoreaccount1"
# Everybody's: it is in Azurite's documentation, and what clients use with their emulator.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def azurite(folder):
    """A server in this folder: its URL, or None where Azurite is not installed."""
    program = shutil.which("azurite-blob")
    if program is None:
        yield None
        return
    (port,) = free_ports(1)
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    options += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen([*TETHER, program, *options], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(process, port), timeout=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(timeout=60)


def _answers(process, port):
    assert process.poll() is None
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def create_container(server, name):
    """Create a container, which the client of our stores cannot."""
    date, version = formatdate(usegmt=True), "2021-08-06"
    headers = f"x-ms-date:{date}\nx-ms-version:{version}\n"
    signed = f"PUT{12 * chr(10)}{headers}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    key = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    login = f"SharedKey {ACCOUNT}:{base64.b64encode(key).decode()}"
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        connection.request(
            "PUT",
            f"/{ACCOUNT}/{name}?restype=container",
            headers={
                "x-ms-date": date,
                "x-ms-version": version,
                "Authorization": login,
                "Content-Length": "0",
            },
        )
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
