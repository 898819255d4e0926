"""Records the run that the documents describe, and draws the pictures of `docs/evaluation.md`.

    python -m scripts.documents.evaluation --workspace workspace   # after `fashion run`: records the run there
    python -m scripts.documents.evaluation                         # draws the pictures that are out of date

`docs/evaluation/metrics.json` is a copy of the Evaluator's file, byte for byte. `docs/evaluation/run.json` says how the
run was made, from the metadata store of its workspace. The templates read both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.files import write_json
from pipeline.runner.metadata_store import ExecutionRecord, MetadataStore
from pipeline.runner.plan import parameters_of
from pipeline.runner.workspace import Workspace
from scripts.documents.evaluation_figures import draw_all
from scripts.documents.pictures import Card, CardGallery, draw
from scripts.documents.values import DOCS, ROOT, metrics_digest

if TYPE_CHECKING:
    import plotly.graph_objects as go

DIRECTORY = DOCS / "evaluation"
METRICS = DIRECTORY / "metrics.json"
RUN = DIRECTORY / "run.json"
GALLERY = "errors.png"
SHOWN_ERRORS = 20


@dataclass(frozen=True)
class FinishedRun:
    """The latest results of a workspace.

    Attributes:
        executions: The execution that wrote the results of each stage, by stage.
        outputs: The directories of the artifacts, by stage and output.
        network: Figures of the trained network that the metadata store holds.
    """

    executions: Mapping[str, ExecutionRecord]
    outputs: Mapping[str, Mapping[str, Path]]
    network: Mapping[str, Any]

    @classmethod
    def read(cls, workspace: Workspace) -> FinishedRun:
        """Reads the metadata store of a workspace."""
        executions, outputs = {}, {}
        with MetadataStore(workspace.store) as store:
            latest = {execution.type: execution for execution in store.latest_executions()}
            for name in default_parameters():
                artifacts = store.events(latest[name].id, "OUTPUT")
                outputs[name] = {output: workspace.root / artifact.uri for output, artifact in artifacts.items()}
                producers = [producer for artifact in artifacts.values() if (producer := store.producer(artifact.id))]
                executions[name] = producers[0]
                if name == "trainer":
                    properties = artifacts["model"].properties
        return cls(executions, outputs, {name: properties[name] for name in ("parameters", "validation_macro_f1")})

    def describe(self) -> dict[str, Any]:
        """Returns when, where and with what the run was made, and its training: the content of `run.json`."""
        from analysis.experiments.results import processor_name
        from pipeline.contract.artifacts import Model
        from pipeline.contract.processor import has_bfloat16

        parts = {name: execution.properties["key_parts"] for name, execution in self.executions.items()}
        libraries = {library: version for part in parts.values() for library, version in part["libraries"].items()}
        training = Model(self.outputs["trainer"]["model"]).training()
        history = [{name: round(value, 5) for name, value in epoch.items()} for epoch in training["history"]]
        return {
            "profile": "default",
            "date": time.strftime("%Y-%m-%d", time.gmtime(self.executions["evaluator"].end_time)),
            "hardware": {"processor": processor_name(), "cores": os.cpu_count(), "bfloat16": has_bfloat16()},
            "python": self.executions["trainer"].properties["python"],
            "versions": dict(sorted(libraries.items())),
            "seconds": {name: round(execution.seconds, 1) for name, execution in self.executions.items()},
            "total_seconds": round(sum(execution.seconds for execution in self.executions.values()), 1),
            "parameters": {name: part["parameters"] for name, part in parts.items()},
            "model": dict(self.network) | {"recipe": training["recipe"], "history": history},
        }


def main() -> None:
    """Records a run where a workspace is named, and draws the pictures that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--note", default="", help="a sentence about the run, such as what else used the machine")
    options = parser.parse_args()
    if options.workspace is not None:
        record(Workspace(options.workspace.resolve()), options.note)
    for file in draw(pictures()):
        print(f"drew {file.relative_to(ROOT)}")


def pictures() -> dict[Path, go.Figure]:
    """Returns the figures of the page by their files."""
    metrics, run = (json.loads(file.read_text(encoding="utf-8")) for file in (METRICS, RUN))
    figures = draw_all(metrics, run["model"]["history"])
    return {DIRECTORY / f"{name}.png": figure for name, figure in figures.items()}


def record(workspace: Workspace, note: str = "", directory: Path = DIRECTORY) -> None:
    """Writes `metrics.json` and `run.json` of the latest run of the default profile in a workspace.

    Args:
        workspace: The workspace, with a finished run.
        note: A sentence about the run. Defaults to none.
        directory: Where to write. Defaults to `docs/evaluation`.
    """
    run = FinishedRun.read(workspace)
    metrics = (run.outputs["evaluator"]["evaluation"] / METRICS.name).read_bytes()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / METRICS.name).write_bytes(metrics)
    content = run.describe() | {
        "note": note,
        "metrics_digest": metrics_digest(directory / METRICS.name),
        "data": data_digests(run.outputs["example_gen"]["examples"]),
    }
    write_json(directory / RUN.name, content)
    draw({directory / GALLERY: error_gallery(json.loads(metrics), run.outputs["label_grouping"]["grouped"])})


def error_gallery(metrics: Mapping[str, Any], examples: Path) -> CardGallery:
    """Returns the errors of the highest confidence as a gallery.

    Args:
        metrics: The content of `metrics.json`.
        examples: The LabelGrouping's output, which holds the images.
    """
    from analysis.data.examples import read_arrays
    from pipeline.contract.artifacts import Examples

    test = read_arrays(Examples(examples).split("test"), ("source_id", "image"))
    images = dict(zip(test["source_id"], test["image"], strict=True))
    return CardGallery(
        tuple(
            Card(
                images[error["source_id"]],
                (
                    f"predicted {error['predicted_group']}",
                    f"labelled {error['group']}",
                    f"({error['garment']})",
                    f"confidence {100 * error['confidence']:.2f}%",
                ),
            )
            for error in metrics["most_confident_errors"][:SHOWN_ERRORS]
        )
    )


def default_parameters() -> dict[str, Any]:
    """Returns the parameters that every stage of the default profile has today, as executions record them."""
    from pipeline.definition import COMPONENTS, fashion
    from pipeline.runner.configuration import load_configuration

    with tempfile.TemporaryDirectory() as directory:
        workspace = Workspace(Path(directory))
        nodes = fashion(load_configuration(COMPONENTS), workspace).nodes
        return {node.name: parameters_of(node, workspace) for node in nodes.values()}


def data_digests(examples: Path) -> dict[str, str]:
    """Returns the digests of the official splits, `analysis.data.fashion_mnist.canonical_digest`, as ingested.

    Args:
        examples: The ExampleGen's output; its train and validation examples are the official training split.
    """
    import numpy as np

    from analysis.data.examples import read_arrays
    from analysis.data.fashion_mnist import LabelledImages, canonical_digest
    from pipeline.contract.artifacts import Examples

    def digest(*splits: str) -> str:
        parts = [read_arrays(Examples(examples).split(split), ("image", "garment")) for split in splits]
        images, garments = (np.concatenate([part[name] for part in parts]) for name in ("image", "garment"))
        return canonical_digest(LabelledImages(images, garments))

    return {"train": digest("train", "validation"), "test": digest("test")}


if __name__ == "__main__":
    main()
