"""The command line in this process: what it prints and says, and its exit code."""

import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

import pytest

from seedsweep.cli.main import main


def seedsweep_here(*arguments, folder, environment):
    """Run a command in the folder, with these variables of the environment and no others; modules
    are found in PYTHONPATH too."""
    printed, said = io.StringIO(), io.StringIO()
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, dict(environment), clear=True),
        mock.patch.object(sys, "argv", ["seedsweep", *arguments]),
        mock.patch.object(sys, "path", [*filter(None, folders), *sys.path]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    code = ended.value.code or 0
    return subprocess.CompletedProcess(arguments, code, printed.getvalue(), said.getvalue())
