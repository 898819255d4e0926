"""Evaluator: evaluates the exported model on the official test split and decides on its blessing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from analysis.evaluation.verdict import CORRUPTION, DEFAULT_RULES, Rule, check_rules, judge
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, Model, ModelBlessing, ModelEvaluation, ServedModel
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.files import write_json
from pipeline.contract.progress import Progress
from pipeline.contract.suggestions import nearest

if TYPE_CHECKING:
    from analysis.evaluation.ladder import Rung
    from analysis.evaluation.predictions import Predictions
    from analysis.evaluation.tfma import Slice, SliceMetrics

SPLIT = "test"
UNIQUE_FEATURES = frozenset({"image", "source_id", "title", "description"})
"""Features by which every example would be a slice."""
NOTHING_TO_COMPARE = "No earlier model to compare with"
STEPS = ("predictions", "ladder", "TFMA", "corruptions", "intervals", "report")
REPORTED_LIBRARIES = (
    "apache-beam", "numpy", "pillow", "protobuf", "pyarrow", "scikit-learn", "scipy", "tensorflow",
    "tensorflow-model-analysis", "tfx-bsl",
)  # fmt: skip


def _check_names_to_slice_by(slice_by: tuple[str, ...]) -> None:
    if slice_by:
        _check_slice_by(slice_by, known_features())


def _check_features_to_slice_by(examples: Examples, slice_by: tuple[str, ...]) -> None:
    if slice_by:
        _check_slice_by(slice_by, set(_feature_names(examples.split(SPLIT)[0])))


def _check_slice_by(slice_by: tuple[str, ...], features: set[str]) -> None:
    sliceable = sorted(features - UNIQUE_FEATURES)
    for name in slice_by:
        if name not in sliceable:
            reason = ", which differs in every example" if name in UNIQUE_FEATURES else ""
            raise UserError(
                f"The evaluation cannot slice by {name!r}{reason}.{nearest(name, sliceable)}",
                expected=f"evaluator.slice_by with some of {', '.join(sliceable)}",
                received=name,
                next_step="correct evaluator.slice_by, or leave it out",
            )


@component(checks=(_check_names_to_slice_by, _check_features_to_slice_by))
def evaluator(
    examples: Input[Examples],
    model: Input[Model],
    baseline: Input[Model] | None,
    earlier: Input[ModelEvaluation] | None,
    evaluation: Output[ModelEvaluation],
    blessing: Output[ModelBlessing],
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    taxonomy_rules: tuple[Rule, ...],
    seed: int,
    rules: Annotated[
        tuple[Rule, ...], Field(min_length=1, description="The rules that a model must pass for a blessing.")
    ] = DEFAULT_RULES,
    use_taxonomy_rules: Annotated[
        bool, Field(description="Whether the [[rules]] in the taxonomy's file apply as well.")
    ] = True,
    slice_by: Annotated[
        tuple[str, ...],
        Field(description="Further features to slice by, besides groups, garments and quantiles."),
    ] = (),
    resamples: Annotated[int, Field(ge=100, le=100_000, description="Bootstrap resamples for each interval.")] = 2000,
    confidence_level: Annotated[float, Field(gt=0, lt=1, description="Confidence level of the intervals.")] = 0.95,
    corrupted_examples: Annotated[
        int, Field(ge=0, le=10_000, description="Test examples to evaluate under every corruption; 0 for none.")
    ] = 500,
    misclassified_examples: Annotated[
        int, Field(ge=0, le=500, description="Misclassified examples in report and metrics, the most confident first.")
    ] = 30,
) -> None:
    """Evaluates the model on the official test split, by slice, against simpler models and the last blessed one.

    TFMA evaluates only the candidate. The baseline predicts the same examples through its own export, since a paired
    bootstrap of the difference is more precise than a second run of TFMA. It is the last blessed model, or the newest
    pushed version where no blessed model is recorded. `earlier` is the evaluation of the last blessed model.
    """
    from analysis.evaluation import history, model_evaluation
    from analysis.evaluation.predictions import predict
    from analysis.evaluation.report import most_confident_errors, write_report

    shards = examples.split(SPLIT)
    progress(0, len(STEPS), "steps", STEPS[0])
    columns = _read_test_split(shards, slice_by)
    features = slicing_features(columns, slice_by)
    applied = (*rules, *(taxonomy_rules if use_taxonomy_rules else ()))
    _check_rules(applied, columns, features, corrupted_examples > 0, taxonomy)
    start = time.perf_counter()
    predictions = predict(model.saved_model, shards)
    seconds = time.perf_counter() - start
    previous, comparison = _predict_baseline(baseline, shards, taxonomy)
    progress(1, len(STEPS), "steps", STEPS[1])
    rungs = _ladder(examples, columns["image"], taxonomy)
    progress(2, len(STEPS), "steps", STEPS[2])
    slices = _run_tfma(model.saved_model, shards, features, taxonomy, evaluation.path / "tfma")
    progress(3, len(STEPS), "steps", STEPS[3])
    corruptions = {}
    if corrupted_examples:
        with tempfile.TemporaryDirectory(prefix="fashion-corrupted-") as directory:
            corrupted = write_corrupted(Path(directory), columns, corrupted_examples, seed)
            tables = evaluation.path / "tfma_corruptions"
            corruptions = _run_tfma(model.saved_model, corrupted, [CORRUPTION], taxonomy, tables)
    progress(4, len(STEPS), "steps", STEPS[4])
    tested = model_evaluation.TestedModel(columns["garment"], predictions, taxonomy, seed, resamples, confidence_level)
    errors = most_confident_errors(columns, predictions, taxonomy, misclassified_examples)
    metrics = model_evaluation.compute_metrics(tested, columns, slices, corruptions, rungs, seconds, previous) | {
        "most_confident_errors": [error.to_json() for error in errors],
        "versions": _versions(),
        "comparison": comparison,
        "test_examples": history.digest_of_examples(columns),
        "earlier_models": history.earlier_models(None if earlier is None else earlier.metrics()),
    }
    metrics["best_blessed"] = history.best_blessed(metrics)
    write_json(evaluation.metrics_file, metrics)
    _write_predictions(columns, predictions, taxonomy, evaluation.predictions_file)
    verdict = judge(metrics, applied)
    _write_blessing(blessing, verdict)
    progress(5, len(STEPS), "steps", STEPS[5])
    evaluation.report_file.write_text(write_report(metrics, verdict, errors, taxonomy), encoding="utf-8")
    for name in ("accuracy", "macro_f1"):
        evaluation.properties[name] = round(metrics["overall"][name]["value"], 4)
    progress(len(STEPS), len(STEPS), "steps", f"accuracy {metrics['overall']['accuracy']['value']:.4f}")


def known_features() -> set[str]:
    """Returns the names of all features that examples may have, before there are any."""
    from analysis.data.slicing_features import FEATURES
    from components.label_grouping import GROUP_FEATURES
    from components.schema_gen import CURATED, read_curated

    return {f.name for f in read_curated(CURATED).feature} | {*GROUP_FEATURES, *(f.column for f in FEATURES)}


def slicing_features(names: Any, others: tuple[str, ...]) -> list[str]:
    """Returns the features to slice by among `names`, recognised by their endings, and then the `others`."""
    found = ["group_name", "garment_name", *sorted(n for n in names if n.endswith(("_decile", "_quintile")))]
    found += ["has_near_duplicate"] if "has_near_duplicate" in names else []
    return [*found, *(name for name in others if name not in found)]


def write_corrupted(directory: Path, columns: Mapping[str, Any], count: int, seed: int) -> list[Path]:
    """Writes randomly drawn examples, clean and under every corruption, with their group and the corruption's name.

    Args:
        directory: The directory to write to.
        columns: The columns of N examples: image uint8 [N, 28, 28] and group int64 [N].
        count: The number of drawn examples; all when there are fewer.
        seed: The seed of the draw and of the corruptions.

    Returns:
        The files: gzipped TFRecords of tf.Example with the features `image`, `group` and `corruption`.
    """
    import numpy as np

    from analysis.data.examples import write_shards
    from analysis.evaluation.corruptions import EVALUATED_SEVERITY, clean_and_corrupted

    drawn = np.random.default_rng(seed).permutation(len(columns["image"]))[:count]
    copies = clean_and_corrupted(columns["image"][drawn], EVALUATED_SEVERITY, seed)
    corrupted = {
        "image": np.concatenate(list(copies.values())),
        "group": np.tile(columns["group"][drawn], len(copies)),
        CORRUPTION: np.repeat(list(copies), len(drawn)),
    }
    return write_shards(directory, corrupted)


def _read_test_split(shards: list[Path], slice_by: tuple[str, ...]) -> dict[str, Any]:
    """Reads the test examples; raises UserError when they lack a feature to slice by."""
    from analysis.data.examples import read_arrays

    needed = ("image", "garment", "group", "source_id", *slicing_features(_feature_names(shards[0]), slice_by))
    return read_arrays(shards, tuple(dict.fromkeys(needed)))


def _feature_names(shard: Path) -> list[str]:
    from analysis.data.examples import read_record_batches

    names: list[str] = next(iter(read_record_batches(shard, 1))).schema.names
    return names


def _predict_baseline(baseline: Model | None, shards: list[Path], taxonomy: Taxonomy) -> tuple[Predictions | None, str]:
    """Returns the baseline's predictions and which model it is, or None and why there is nothing to compare with."""
    from analysis.evaluation.predictions import IncomparableModelError, predict_as_baseline

    if baseline is None:
        return None, f"{NOTHING_TO_COMPARE}: the workspace has no other blessed model and no other pushed version."
    name, reason = "the last blessed model", ""
    if isinstance(baseline, ServedModel):
        name, reason = f"the pushed version {baseline.version}", ", because no other blessed model is recorded"
    try:
        return predict_as_baseline(baseline.saved_model, shards, taxonomy), f"Compared with {name}{reason}."
    except IncomparableModelError as error:
        return None, f"{NOTHING_TO_COMPARE}: {name} {error.headline}"


def _ladder(examples: Examples, test: Any, taxonomy: Taxonomy) -> list[Rung]:
    from analysis.data.examples import read_arrays
    from analysis.evaluation.ladder import evaluate_ladder

    train = read_arrays(examples.split("train"), ("image", "garment"))
    return evaluate_ladder(train["image"], train["garment"], test, taxonomy)


def _run_tfma(
    saved_model: Path, shards: list[Path], features: list[str], taxonomy: Taxonomy, output: Path
) -> dict[Slice, SliceMetrics]:
    from analysis.evaluation.tfma import analyse, read_slices
    from pipeline.contract.beam import beam_pipeline

    with beam_pipeline() as pipeline:
        analyse(pipeline, saved_model, shards, features, output)
    return read_slices(output, len(taxonomy.groups))


def _check_rules(
    rules: tuple[Rule, ...], columns: dict[str, Any], features: list[str], corrupted: bool, taxonomy: Taxonomy
) -> None:
    from analysis.evaluation.corruptions import CLEAN, CORRUPTIONS

    slices = [(feature, str(value)) for feature in features for value in sorted(set(columns[feature]))]
    slices += [(CORRUPTION, name) for name in (CLEAN, *CORRUPTIONS) if corrupted]
    with suggest("correct [[evaluator.rules]] in the profile and run: fashion run"):
        check_rules(rules, taxonomy.groups, taxonomy.garments, slices)


def _write_blessing(blessing: ModelBlessing, verdict: dict[str, Any]) -> None:
    write_json(blessing.verdict_file, verdict)
    (blessing.path / ("BLESSED" if verdict["blessed"] else "NOT_BLESSED")).touch()
    blessing.properties["blessed"] = verdict["blessed"]
    blessing.properties["compared"] = verdict["compared"]
    if not verdict["blessed"]:
        blessing.properties["reason"] = verdict["reason"]


def _write_predictions(columns: dict[str, Any], predictions: Any, taxonomy: Taxonomy, path: Path) -> None:
    from pyarrow import parquet

    from analysis.evaluation.predictions import prediction_table

    parquet.write_table(prediction_table(columns, predictions, taxonomy), path)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in REPORTED_LIBRARIES}
