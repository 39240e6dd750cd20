"""A terminal of any width, on which this process prints."""

import contextlib
import fcntl
import os
import struct
import termios
import threading


@contextlib.contextmanager
def terminal(columns):
    """Have stdout and stderr be a terminal of so many columns; yields what was printed, bit by bit,
    all of it once the block is left."""
    printed = []
    with (
        _stream(columns, printed) as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        yield printed


@contextlib.contextmanager
def _stream(columns, printed):
    other, here = os.openpty()
    fcntl.ioctl(here, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read():
        # A terminal whose last user has gone fails to be read.
        with contextlib.suppress(OSError):
            while data := os.read(other, 65536):
                printed.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(here, "w", encoding="utf-8") as stream:
            yield stream
    finally:
        reader.join()
        os.close(other)


def lines_printed(columns, show, *arguments):
    """What something prints on such a terminal, by line."""
    with terminal(columns) as printed:
        show(*arguments)
    return b"".join(printed).decode().splitlines()
