"""Executes `analysis/exploration.ipynb` on a workspace and writes it with its outputs.

make documents ARGS="--only notebook"
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pipeline.commands.explore import newest_artifacts
from pipeline.runner.workspace import Workspace
from scripts.documents.values import metrics_digest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "analysis" / "exploration.ipynb"
METADATA = "fashion"
"""The key of our facts in the notebook's metadata."""


def main() -> None:
    """Executes the notebook."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(os.environ.get("FASHION_WORKSPACE", "workspace")))
    options = parser.parse_args()
    execute_notebook(Workspace(options.workspace.resolve()))


def execute_notebook(workspace: Workspace, target: Path = NOTEBOOK) -> None:
    """Executes the notebook from top to bottom on a workspace, and writes it with its outputs.

    Its metadata hold the digest of the `metrics.json` of the evaluation that it shows.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
        UserError: The workspace lacks an exploration or an evaluation.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=os.environ | {"FASHION_WORKSPACE": str(workspace.root)})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Libraries print warnings while they are imported, and Pillow adds a JPEG to every PNG.
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            for output in cell["outputs"]:
                output.get("data", {}).pop("image/jpeg", None)
    notebook.metadata[METADATA] = {
        "metrics_digest": metrics_digest(newest_artifacts(workspace).evaluation.metrics_file)
    }
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main()
