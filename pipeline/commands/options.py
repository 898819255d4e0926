"""The options that several commands share, and what they select: a configured pipeline, a pushed version."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional

import typer
import typer.core
from typer._coercion import RuntimeParam, TypeDescriptor, build_runtime_param

from pipeline.contract.errors import UserError, suggest
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.runner.configuration import Configuration
    from pipeline.runner.graph import Pipeline
    from serving.versions import Version

DEFAULT_WORKSPACE = Path("workspace")
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="FASHION_WORKSPACE", help="The directory that holds all output.")
]
ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="default, quick, full, or the path of a TOML file.")
]
SetOption = Annotated[
    Optional[list[str]], typer.Option("--set", help="Set one parameter, such as trainer.epochs=3; may be repeated.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Run stages even where nothing has changed.")]
AllowPrivateOption = Annotated[
    bool,
    typer.Option(
        "--allow-private",
        help="Also fetch URLs that resolve to private or loopback addresses; link-local ones stay closed.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

RENAMED_OPTIONS: Final = {
    "fashion catalogue classify": {
        "--per-host": "--max-per-host",
        "--fetch-seconds": "--attempt-seconds",
        "--trusted-days": "--max-age-days",
        "--most-failed": "--max-failed-share",
    },
    "python -m scripts.bench_training": {"--most-seconds": "--limit-seconds"},
}
"""The former options of each command, with their present names: a former one is an error that names the present one."""


def renamed_option(words: Sequence[str]) -> UserError | None:
    """Returns the error for the first former option of a command line, or None where there is none.

    Args:
        words: The command line, such as ["fashion", "catalogue", "classify", "--per-host", "4"].
    """
    for command, names in RENAMED_OPTIONS.items():
        start = command.split()
        options = [word.partition("=")[0] for word in words[len(start) :]] if list(words[: len(start)]) == start else []
        for former in filter(names.get, options):
            return UserError(
                f"The option {former} has a new name.",
                expected=names[former],
                received=former,
                next_step=f"write {names[former]}; {command} --help describes it",
            )
    return None


class _PlainParameter(RuntimeParam):
    """A parameter of type str, Path or list[str], or a flag, converted by its type alone."""

    def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:
        if self.annotation is bool:  # a flag that is not a bool yet, as from an environment variable
            return build_runtime_param(TypeDescriptor(bool, self.parameter_info, None)).coerce(value, param, ctx)
        return list(value) if self.annotation == list[str] else self.annotation(value)


def convert_without_pydantic() -> None:
    """Makes typer convert plain parameters by their types.

    Typer 0.29 builds a pydantic adapter for every parameter, and importing pydantic takes as long as all of
    `fashion --help`. Parameters with bounds, choices or checks still get an adapter.
    """

    def build(descriptor: TypeDescriptor) -> RuntimeParam:
        info = descriptor.parameter_info
        checked = info.parser or info.exists or info.writable or info.resolve_path or info.allow_dash
        if checked or descriptor.annotation not in (str, Path, bool, list[str]):
            return build_runtime_param(descriptor)
        return _PlainParameter(info, descriptor.annotation)

    typer.core.build_runtime_param = build  # type: ignore[attr-defined]
    # Looking for pydantic's plugins reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pauses the garbage collector while modules are imported: what they create stays, so it collects nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_collector_paused()
def assemble(
    name: str, workspace: Workspace, profile: str, overrides: Sequence[str] | None
) -> tuple[Pipeline, Configuration]:
    """Returns the pipeline of that name with its configuration.

    Args:
        name: A function of `pipeline/definition.py`: "fashion" or "exploration".
        workspace: Where it will run.
        profile: The profile's name or path.
        overrides: Assignments such as "trainer.epochs=3".

    Raises:
        UserError: The configuration or the taxonomy cannot be used.
    """
    from pipeline import definition
    from pipeline.runner.configuration import load_configuration

    configuration = load_configuration(definition.COMPONENTS, profile, overrides or [])
    define = {"fashion": definition.fashion, "exploration": definition.exploration}[name]
    with suggest("Correct the file, or leave --set taxonomy out."):
        return define(configuration, workspace), configuration


def resume_command() -> str:
    """Returns the command line that this process was started with, without --fresh; it continues an interrupted run."""
    arguments = [a for a in sys.argv[1:] if a != "--fresh"]
    return shlex.join(["fashion", *(arguments or ["run"])])


def newest_version(workspace: Workspace) -> Version:
    """Returns the newest pushed version of a workspace; raises UserError when there is none."""
    from serving.versions import versions

    pushed = versions(workspace.serving)
    if not pushed:
        raise UserError(
            f"There is no pushed model in {workspace.root}.",
            expected="one version",
            received="none",
            next_step="fashion run",
        )
    return pushed[-1]
