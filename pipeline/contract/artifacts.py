"""The typed artifacts that stages hand to each other: a directory, and what is to be found in it.

The names are ML Metadata's and TFX's (https://www.tensorflow.org/tfx/guide/mlmd), so that someone who knows those
finds what they expect.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from pipeline.contract.errors import UserError

Property = Union[str, int, float, bool]


@dataclass(frozen=True)
class Artifact:
    """A directory written by one stage and read by others.

    Attributes:
        path: The directory.
        properties: Small facts about the content (a count, a version, a source), recorded in the metadata store and
            shown beside the stage. A component that writes the artifact may fill them.
    """

    path: Path
    properties: dict[str, Property] = field(default_factory=dict)

    def read_json(self, name: str) -> Any:
        """Returns the parsed content of the JSON file `name` in the artifact."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def write_json(self, name: str, content: Any) -> Path:
        """Writes `content` as indented JSON to the file `name`; returns its path."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return target

    def damage(self) -> str:
        """Says what outside its own directory makes the artifact unusable; empty when it is fine."""
        return ""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class IngestionFailures(Artifact):
    """`failures.jsonl`: of a catalogue, a line a product that should have an example and has none, with the reason."""


@dataclass(frozen=True)
class ExampleStatistics(Artifact):
    """`Split-<split>/FeatureStats.pb`: a `DatasetFeatureStatisticsList` a split, in tensorflow-metadata's format."""


@dataclass(frozen=True)
class Schema(Artifact):
    """`schema.pbtxt`: tensorflow-metadata's `Schema` in text form."""


@dataclass(frozen=True)
class ExampleAnomalies(Artifact):
    """`Split-<split>/SchemaDiff.pb`: tensorflow-metadata's `Anomalies` a split; `anomalies.json` lists them."""


@dataclass(frozen=True)
class HyperParameters(Artifact):
    """`best_hyperparameters.json` (name to value); `trials.csv` and `trials.json` list every trial."""


@dataclass(frozen=True)
class Model(Artifact):
    """`saved_model/` (what is served), `model.keras` (what can be trained on), `calibration.json`, `training.json`."""

    @property
    def saved_model(self) -> Path:
        """The directory of the exported SavedModel."""
        return self.path / "saved_model"


@dataclass(frozen=True)
class ModelEvaluation(Artifact):
    """`metrics.json` (every figure), `predictions.parquet` (one row a test example), TFMA's own output.

    That is in `tfma/` for the test examples, and in `tfma_corruptions/` for corrupted ones.
    """


@dataclass(frozen=True)
class Blessing(Artifact):
    """`verdict.json`: every rule with value, bound and outcome, and beside it a marker file that names the outcome."""

    @property
    def blessed(self) -> bool:
        """Whether every rule passed."""
        return bool(self.read_json("verdict.json")["blessed"])


@dataclass(frozen=True)
class ModelBlessing(Blessing):
    """The Evaluator's verdict, with the marker `BLESSED` or `NOT_BLESSED`."""


@dataclass(frozen=True)
class InfraBlessing(Blessing):
    """The InfraValidator's verdict, with the marker `INFRA_BLESSED` or `INFRA_NOT_BLESSED`."""


@dataclass(frozen=True)
class PushedModel(Artifact):
    """`pushed.json`: `pushed` (bool), `version`, `path` of the version directory, and why when nothing was pushed."""

    def damage(self) -> str:
        """Says that the pushed version is gone from the serving directory, if it is."""
        record = self.read_json("pushed.json")
        if record["pushed"] and not (Path(record["path"]) / "saved_model.pb").exists():
            return f"the pushed version {record['path']} is gone"
        return ""


@dataclass(frozen=True)
class InferenceResult(Artifact):
    """`predictions-*.parquet` (a row an image), `predictions-*.tfrecord` (logged requests), `summary.json`.

    `inference.json` says whether anything was scored, and why when nothing was.
    """


@dataclass(frozen=True)
class ImageNeighbours(Artifact):
    """`neighbours.npz` (the nearest training images of every image) and `pairs.npz` (all near-duplicate pairs)."""


@dataclass(frozen=True)
class OutOfFoldPredictions(Artifact):
    """`out_of_fold.npz`: what small networks say of training images that they were not trained on, and of the rest."""


@dataclass(frozen=True)
class LearningCurves(Artifact):
    """`learning_curves.csv`: errors by model, number of training images and repeat."""


@dataclass(frozen=True)
class ImageEmbedding(Artifact):
    """`embedding.npz` (two maps of test images) and, of a trained network, `trained.npz` with its groups for them."""


@dataclass(frozen=True)
class Exploration(Artifact):
    """`exploration.html` (one page that opens offline); `findings.json`; `sections.json`, its prose and tables."""
