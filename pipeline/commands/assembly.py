"""From what a command was told to a pipeline that can run: the profile, the parameters set, the definition."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.runner.configuration import Configuration
    from pipeline.runner.graph import Pipeline


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
    from models.taxonomy import TaxonomyError
    from pipeline import definition
    from pipeline.runner.configuration import load_configuration

    configuration = load_configuration(definition.COMPONENTS, profile, overrides or [])
    define = {"fashion": definition.fashion, "exploration": definition.exploration}[name]
    try:
        return define(configuration, workspace), configuration
    except TaxonomyError as error:
        raise UserError(str(error), next_step="correct the file, or leave --set taxonomy out") from None


def resume_command() -> str:
    """Returns what was typed, to be typed again: it goes on where it was."""
    arguments = [a for a in sys.argv[1:] if a != "--fresh"]
    return shlex.join(["fashion", *(arguments or ["run"])])
