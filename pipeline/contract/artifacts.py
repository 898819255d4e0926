"""The typed artifacts that stages hand to each other: a directory, the names of its files, and readers of them.

The names are ML Metadata's and TFX's (https://www.tensorflow.org/tfx/guide/mlmd), so that someone who knows those
finds what they expect. A reader returns JSON content or the path of a file; objects of a domain are built from these
in `analysis`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from pipeline.contract.errors import UserError
from pipeline.contract.files import write_json

Property = Union[str, int, float, bool]


@dataclass(frozen=True)
class Artifact:
    """A directory written by one stage and read by others.

    Subclasses add no field, so they need no decorator of their own, which would cost a millisecond each at every start.

    Attributes:
        path: The directory.
        properties: Small facts about the content (a count, a version, a source), recorded in the metadata store and
            shown beside the stage. A component that writes the artifact may fill them.
    """

    path: Path
    properties: dict[str, Property] = field(default_factory=dict)

    def write_json(self, name: str, content: Any) -> Path:
        """Writes `content` as indented JSON to the file `name`; returns its path."""
        return write_json(self.path / name, content)

    def damage(self) -> str:
        """Returns what outside its own directory makes the artifact unusable; empty when nothing does."""
        return ""


class Examples(Artifact):
    """Gzipped TFRecords of tf.Example: `Split-<split>/data_tfrecord-00000-of-00008.gz`."""

    def split(self, name: str) -> list[Path]:
        """Returns the shards of a split in order; raises UserError when there are none."""
        shards = sorted((self.path / f"Split-{name}").glob("data_tfrecord-*.gz"))
        if not shards:
            raise UserError(
                f"The examples have no split {name!r}.",
                expected=f"TFRecord shards in {self.path / f'Split-{name}'}",
                received="splits " + (", ".join(self.splits()) or "none"),
                next_step="fashion run --fresh --only example_gen",
            )
        return shards

    def splits(self) -> list[str]:
        """Returns the names of the splits, sorted."""
        return sorted(p.name.removeprefix("Split-") for p in self.path.glob("Split-*"))


class IngestionFailures(Artifact):
    """The products of a catalogue that should have an example and have none."""

    @property
    def failures_file(self) -> Path:
        """`failures.jsonl`: a line a product, with the reason."""
        return self.path / "failures.jsonl"


class ExampleStatistics(Artifact):
    """Statistics of every split, in tensorflow-metadata's format."""

    def split_file(self, split: str) -> Path:
        """`Split-<split>/FeatureStats.pb`: a serialized `DatasetFeatureStatisticsList`."""
        return self.path / f"Split-{split}" / "FeatureStats.pb"


class Schema(Artifact):
    """What the examples are expected to look like."""

    @property
    def schema_file(self) -> Path:
        """`schema.pbtxt`: tensorflow-metadata's `Schema` in text form."""
        return self.path / "schema.pbtxt"


class ExampleAnomalies(Artifact):
    """Where the examples depart from their schema."""

    def split_file(self, split: str) -> Path:
        """`Split-<split>/SchemaDiff.pb`: tensorflow-metadata's `Anomalies`, serialized."""
        return self.path / f"Split-{split}" / "SchemaDiff.pb"

    @property
    def anomalies_file(self) -> Path:
        """`anomalies.json`: the anomalies of all splits."""
        return self.path / "anomalies.json"

    def anomalies(self) -> list[dict[str, Any]]:
        """Returns the anomalies of all splits."""
        return _read_list(self.anomalies_file)


class HyperParameters(Artifact):
    """The recipe that the search chose, and every trial (`trials.csv`)."""

    @property
    def best_file(self) -> Path:
        """`best_hyperparameters.json`: the chosen values by name."""
        return self.path / "best_hyperparameters.json"

    @property
    def trials_file(self) -> Path:
        """`trials.json`: how the values were chosen, with every trial."""
        return self.path / "trials.json"

    def best(self) -> dict[str, Any]:
        """Returns the chosen values by name."""
        return _read_object(self.best_file)

    def trials(self) -> dict[str, Any]:
        """Returns how the values were chosen; `trials` lists every trial."""
        return _read_object(self.trials_file)


class Model(Artifact):
    """A trained model: as it is served, as it can be trained on, and how it came about."""

    @property
    def saved_model(self) -> Path:
        """The directory of the exported SavedModel."""
        return self.path / "saved_model"

    @property
    def keras_file(self) -> Path:
        """`model.keras`: the network without calibration."""
        return self.path / "model.keras"

    @property
    def calibration_file(self) -> Path:
        """`calibration.json`: what turns the network's logits into calibrated probabilities and prediction sets."""
        return self.path / "calibration.json"

    @property
    def training_file(self) -> Path:
        """`training.json`: the recipe and the history of the training."""
        return self.path / "training.json"

    @property
    def texts_file(self) -> Path:
        """`texts.json`: the weight and the effect of descriptions; absent without `trainer.texts`."""
        return self.path / "texts.json"

    def calibration(self) -> dict[str, Any]:
        """Returns the content of `calibration.json`."""
        return _read_object(self.calibration_file)

    def training(self) -> dict[str, Any]:
        """Returns the recipe and the history of the training."""
        return _read_object(self.training_file)


class ServedModel(Model):
    """A version in the directory that TensorFlow Serving loads from: a SavedModel and nothing else of a model."""

    @property
    def saved_model(self) -> Path:
        """The directory of the SavedModel, which is the version itself."""
        return self.path

    @property
    def version(self) -> int:
        """The version's number."""
        return int(self.path.name)


class ModelEvaluation(Artifact):
    """The Evaluator's figures; TFMA's own output is in `tfma/`, and in `tfma_corruptions/` for corrupted examples."""

    @property
    def metrics_file(self) -> Path:
        """`metrics.json`: every figure."""
        return self.path / "metrics.json"

    @property
    def predictions_file(self) -> Path:
        """`predictions.parquet`: a row a test example."""
        return self.path / "predictions.parquet"

    @property
    def report_file(self) -> Path:
        """`report.html`: the evaluation on one page."""
        return self.path / "report.html"

    def metrics(self) -> dict[str, Any]:
        """Returns every figure."""
        return _read_object(self.metrics_file)


class Blessing(Artifact):
    """A verdict on a model, with a marker file that names the outcome beside it."""

    @property
    def verdict_file(self) -> Path:
        """`verdict.json`: every rule with value, bound and outcome."""
        return self.path / "verdict.json"

    def verdict(self) -> dict[str, Any]:
        """Returns the verdict: `blessed`, `reason`, and `rules` with value, bound and outcome."""
        return _read_object(self.verdict_file)


class ModelBlessing(Blessing):
    """The Evaluator's verdict, with the marker `BLESSED` or `NOT_BLESSED`."""


class InfraBlessing(Blessing):
    """The InfraValidator's verdict, with the marker `INFRA_BLESSED` or `INFRA_NOT_BLESSED`."""


class PushedModel(Artifact):
    """What the Pusher did: the version that it made, or why it made none."""

    @property
    def record_file(self) -> Path:
        """`pushed.json`."""
        return self.path / "pushed.json"

    def record(self) -> dict[str, Any]:
        """Returns `pushed` (bool), `version`, `path` of the version directory, and `reason` when nothing was pushed.

        The path is relative to the artifact, so that a workspace can be moved and copied.
        """
        return _read_object(self.record_file)

    def version_directory(self) -> Path | None:
        """Returns the directory of the pushed version; None when nothing was pushed."""
        record = self.record()
        if not record["pushed"]:
            return None
        recorded = Path(record["path"])
        if recorded.is_absolute():
            # Workspaces of version 0.1 hold absolute paths: `<workspace>/serving_models/fashion/<version>`.
            moved = self.path.absolute().parents[3].joinpath(*recorded.parts[-3:])
            return moved if moved.exists() else recorded
        return Path(os.path.normpath(self.path.absolute() / recorded))

    def damage(self) -> str:
        """Returns that the pushed version is gone from the serving directory, if it is."""
        directory = self.version_directory()
        if directory is not None and not (directory / "saved_model.pb").exists():
            return f"the pushed version {directory} is gone"
        return ""


class InferenceResult(Artifact):
    """`predictions-*.parquet` (a row an image), `predictions-*.tfrecord` (logged requests), `summary.json`."""

    @property
    def record_file(self) -> Path:
        """`inference.json`: whether anything was scored, and why when nothing was."""
        return self.path / "inference.json"

    def record(self) -> dict[str, Any]:
        """Returns `scored` (bool), `reason`, `version` and `split`."""
        return _read_object(self.record_file)


class ImageNeighbours(Artifact):
    """`neighbours.npz` (the nearest training images of every image) and `pairs.npz` (all near-duplicate pairs)."""


class OutOfFoldPredictions(Artifact):
    """`out_of_fold.npz`: predictions of small networks for training images that they were not trained on."""


class LearningCurves(Artifact):
    """Errors by model, number of training images and repeat."""

    @property
    def curves_file(self) -> Path:
        """`learning_curves.csv`: a row a model, number of images and repeat."""
        return self.path / "learning_curves.csv"


class ImageEmbedding(Artifact):
    """`embedding.npz`: two maps of test images."""

    @property
    def trained_file(self) -> Path:
        """`trained.npz`: the trained network's groups of the images on the maps; absent without a trained network."""
        return self.path / "trained.npz"


class Exploration(Artifact):
    """What the images are like, measured and drawn."""

    @property
    def page_file(self) -> Path:
        """`exploration.html`: one page that opens offline."""
        return self.path / "exploration.html"

    @property
    def findings_file(self) -> Path:
        """`findings.json`: the main findings, a sentence each."""
        return self.path / "findings.json"

    @property
    def sections_file(self) -> Path:
        """`sections.json`: the prose and the tables of every section."""
        return self.path / "sections.json"

    def findings(self) -> list[str]:
        """Returns the main findings, a sentence each."""
        return _read_list(self.findings_file)

    def sections(self) -> list[dict[str, Any]]:
        """Returns the prose and the tables of every section."""
        return _read_list(self.sections_file)


def _read_object(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _read_list(file: Path) -> list[Any]:
    content: list[Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
