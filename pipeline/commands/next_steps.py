"""The line `Next:` of an error: a command that can be typed as it is, and never the one that has just failed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.contract.errors import same_command

DEBUG: Final = "the same command with --debug"
ALTERNATIVE: Final = ", or "


def next_step_after(arguments: Sequence[str], suggested: str, takes_workspace: Callable[[str], bool]) -> str:
    """Returns what to do next after a command has failed.

    Alternatives that repeat the command are left out, and the others get its workspace.

    Args:
        arguments: Those of the command that has failed, without its name.
        suggested: What the error suggests; several alternatives have ", or " between them.
        takes_workspace: Whether the command of this name has the option `--workspace`.
    """
    failed, workspace = shlex.join(["fashion", *arguments]), _workspace(arguments)
    alternatives = [a for a in suggested.split(ALTERNATIVE) if a and not same_command(a, failed)]
    if not alternatives:
        return DEBUG
    return ALTERNATIVE.join(_in_workspace(a, workspace, takes_workspace) for a in alternatives)


def _workspace(arguments: Sequence[str]) -> str:
    """Returns the workspace that a command names; empty where it takes the default."""
    for word, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in ("-w", "--workspace"):
            return value
        if word.startswith("--workspace="):
            return word.partition("=")[2]
    return ""


def _in_workspace(step: str, workspace: str, takes_workspace: Callable[[str], bool]) -> str:
    """Returns a command with the workspace; a step that is not a whole command, or names one, is unchanged."""
    try:
        words = shlex.split(step)
    except ValueError:
        return step
    plain = len(words) > 1 and words[0] == "fashion" and not any(word.endswith((";", ",", ":")) for word in words)
    if not workspace or not plain or _workspace(words) or not takes_workspace(words[1]):
        return step
    return f"{step} --workspace {shlex.quote(workspace)}"
