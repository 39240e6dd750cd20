import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from seedsweep import __version__
from seedsweep.cli import main as command_line
from tests.support.terminal import lines_printed

COMMANDS = [
    command.name or command.callback.__name__ for command in command_line.app.registered_commands
]
HEAVY = ["torch", "diffusers", "transformers", "ray", "celery", "cv2", "pyarrow", "pandas", "scipy"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_words_of_code(command):
    shown = CliRunner().invoke(command_line.app, [command, "--help"]).output
    assert not re.findall(r"<[a-z]|x>=|<=x|x<=|[{}]|default: \(|\[\[", shown)


def test_help_says_ranges_and_defaults_in_words():
    shown = " ".join(CliRunner().invoke(command_line.app, ["plan", "--help"]).output.split())
    assert shown.startswith("Usage: seedsweep plan [OPTIONS] FILE.toml ")
    assert "--images-per-second X One device's rate" in shown
    assert "[default: as many as `run` would start here; 1 with" in shown
    assert "at least 1]" in shown
    listed = " ".join(CliRunner().invoke(command_line.app, ["status", "--help"]).output.split())
    assert "Usage: seedsweep status [OPTIONS] [ID] " in listed
    assert "all campaigns of the store" in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(command):
    shown = CliRunner().invoke(command_line.app, [command, "--help"]).output
    assert f"Example: seedsweep {command}" in shown


def test_help_lists_every_command_once_in_its_group_with_all_it_says_first(seedsweep):
    shown = seedsweep("--help").stdout
    groups = [line[:-1] for line in shown.splitlines() if re.fullmatch("[A-Z].*:", line)]
    assert groups == ["Options", *command_line.GROUPS]
    listed = re.findall(r"^  ([a-z]+) ", shown.partition("Run and submit:")[2], re.MULTILINE)
    assert (sorted(listed), len(listed)) == (sorted(COMMANDS), len(COMMANDS))
    assert "..." not in shown.partition("Options:")[2]
    assert "before and after deduplication, say." in " ".join(shown.split())


@pytest.mark.parametrize("columns", [8, 30, 40, 80, 200])
def test_help_fits_the_terminal(monkeypatch, columns):
    def ask():
        with pytest.raises(SystemExit):
            command_line.main()

    monkeypatch.delenv("COLUMNS", raising=False)
    for arguments in (["--help"], ["label", "--help"]):
        monkeypatch.setattr(sys, "argv", ["seedsweep", *arguments])
        lines = lines_printed(columns, ask)
        assert max(map(len, lines)) <= max(columns, 36)
        words = [word for line in lines for word in line.split()]
        assert not {"Exampl", "campaig", "pictur"} & set(words)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from seedsweep.cli.main import app; from typer.testing import CliRunner; "
        "CliRunner().invoke(app, ['--help']); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert set(HEAVY).isdisjoint(loaded)


def test_the_version_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedsweep", "--version"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"seedsweep {__version__}\n")


def test_a_shell_is_told_how_commands_go_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seedsweep"])
    for name, value in [
        ("_SEEDSWEEP_COMPLETE", "complete_bash"),
        ("COMP_WORDS", "seedsweep re"),
        ("COMP_CWORD", "1"),
    ]:
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        command_line.main()
    assert set(capsys.readouterr().out.split()) == {"replay", "report", "results", "resume"}
