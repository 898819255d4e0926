"""Tests of pipeline.commands.options: the conversion of options without pydantic, and renamed options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest
import typer
import typer.core
from typer.testing import CliRunner

from pipeline.commands.options import (
    RENAMED_OPTIONS,
    convert_without_pydantic,
    newest_version,
    renamed_option,
    resume_command,
)
from pipeline.contract.errors import UserError
from pipeline.contract.files import write_text
from pipeline.runner.fingerprint import ROOT
from pipeline.runner.workspace import Workspace
from tests.conftest import Fashion

received: dict[str, Any] = {}
app = typer.Typer()


@app.command()
def command(
    name: str,
    directory: Annotated[Path, typer.Option(envvar="TEST_DIRECTORY")] = Path("here"),
    several: Annotated[Optional[list[str]], typer.Option()] = None,
    flag: Annotated[bool, typer.Option("--flag", envvar="TEST_FLAG")] = False,
    port: Annotated[int, typer.Option(min=1)] = 80,
) -> None:
    """Records what it receives."""
    received.update(name=name, directory=directory, several=several, flag=flag, port=port)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["x"], {}),
        (["x", "--directory", "a/b", "--several", "1", "--several", "2", "--flag", "--port", "3"], {}),
        (["x"], {"TEST_DIRECTORY": "c", "TEST_FLAG": "0"}),
        (["x"], {"TEST_FLAG": "yes"}),
    ],
)
def test_options_have_the_values_that_typer_gives_them(
    words: list[str], environment: dict[str, str], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pydantic the values and their types are the same."""
    monkeypatch.setattr(typer.core, "build_runtime_param", typer.core.build_runtime_param)
    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if plain:
        convert_without_pydantic()
    assert CliRunner().invoke(app, words, env=environment).exit_code == 0
    explicit = "--flag" in words
    assert received == {
        "name": "x",
        "directory": Path(environment.get("TEST_DIRECTORY", "a/b" if explicit else "here")),
        "several": ["1", "2"] if explicit else None,
        "flag": explicit or environment.get("TEST_FLAG") == "yes",
        "port": 3 if explicit else 80,
    }


def test_status_and_help_do_not_import_pydantic(tmp_path: Path) -> None:
    """The commands without a configuration start in the time of `fashion --help`."""
    code = (
        "import sys; from pipeline.commands.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'pydantic' not in sys.modules\n"
    )
    for words in (["--help"], ["status", "--workspace", str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "Assertion" not in done.stderr and (done.stdout or "Nothing has run" in done.stderr)


@pytest.mark.parametrize(
    ("command", "former", "present"),
    [(command, *pair) for command, names in RENAMED_OPTIONS.items() for pair in names.items()],
)
def test_former_option_gives_the_present_one(command: str, former: str, present: str) -> None:
    """The error for a former option, with or without "=", names the present one; the present one is no error."""
    for words in ([former, "1"], [f"{former}=1"]):
        error = renamed_option([*command.split(), *words])
        assert error is not None
        assert (error.expected, error.received) == (present, former)
    assert renamed_option([*command.split(), present, "1"]) is None
    assert renamed_option(["fashion", "run", former, "1"]) is None


def test_command_line_names_the_present_option(fashion: Fashion) -> None:
    """A former option ends a command with one paragraph; --debug before it changes nothing but the stack trace."""
    done = fashion("catalogue", "classify", "--trusted-days", "3")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "",
        "The option --trusted-days has a new name.",
        "Expected: --max-age-days",
        "Received: --trusted-days",
        "Next: write --max-age-days; fashion catalogue classify --help describes it",
    ]
    assert "--max-age-days" in fashion("--debug", "catalogue", "classify", "--trusted-days=3").stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "fashion run"),
        (["run", "--fresh", "-w", "my work"], "fashion run -w 'my work'"),
        (["explore", "--set", "a=[1, 2]"], "fashion explore --set 'a=[1, 2]'"),
    ],
)
def test_the_resuming_command_does_not_start_afresh(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has all arguments but --fresh, which would run the finished stages again."""
    monkeypatch.setattr(sys, "argv", ["fashion", *arguments])
    assert resume_command() == expected


def test_the_newest_version_is_the_highest_number(tmp_path: Path) -> None:
    """Version 10 is newer than version 9; without a version the error names the command that makes one."""
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match="There is no pushed model") as refused:
        newest_version(workspace)
    assert refused.value.next_step == "fashion run"
    for number in (9, 10, 2):
        write_text(workspace.serving / str(number) / "saved_model.pb", "")
    assert newest_version(workspace).number == 10
