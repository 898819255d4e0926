"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

DEFAULT_WORKSPACE = Path("workspace")
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="FASHION_WORKSPACE", help="Where everything is written.")
]
ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="default, quick, full, or the path of a TOML file.")
]
SetOption = Annotated[
    Optional[list[str]], typer.Option("--set", help="Sets one parameter, such as trainer.epochs=3; may be repeated.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Runs even where nothing has changed.")]
