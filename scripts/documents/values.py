"""The figures that the templates of the documents may name. Every one is read from a committed file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from analysis.experiments import declaration
from analysis.experiments.judgement import Judgement, judge
from analysis.experiments.reported_metrics import scale_of
from analysis.experiments.results import Results
from scripts.documents.audit import Audit, Selective

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


class Values:
    """The names that a template may use, each read when it is first named."""

    @cached_property
    def metrics(self) -> Any:
        """Returns `metrics.json` of the run that the documents describe, as the Evaluator wrote it."""
        return _read(DOCS / "evaluation" / "metrics.json")

    @cached_property
    def run(self) -> Any:
        """Returns how that run was made: parameters, seconds by stage, hardware, and digests of data and metrics."""
        return _read(DOCS / "evaluation" / "run.json")

    @cached_property
    def selective(self) -> Selective:
        """Returns the accuracy among the images that the model answers: `selective.accuracy`, `selective.interval`."""
        return Selective.of(self.metrics)

    @cached_property
    def audit(self) -> Audit:
        """Returns the audit's objective and sample sizes, such as `audit.sample_size` and `audit.power(2000)`."""
        return Audit.of(self.selective)

    @cached_property
    def exploration(self) -> Any:
        """Returns the measurements of `fashion explore` on that run's workspace."""
        return _read(DOCS / "exploration" / "exploration.json")

    @cached_property
    def measured(self) -> Mapping[str, Any]:
        """Returns the results of the benchmarks by the name of their file in `docs/measurements/`."""
        return {file.stem: _read(file) for file in sorted((DOCS / "measurements").glob("*.json"))}

    @cached_property
    def review(self) -> Any:
        """Returns the counts, the agreement and the accuracy ceiling of the label review."""
        return _read(DOCS / "exploration" / "label_review.json")

    @cached_property
    def catalogue_query(self) -> Mapping[str, str]:
        """Returns the statements, the example and the edge cases of the catalogue query, as the tests have them."""
        from tests.sql.documentation import parts

        return parts()

    @staticmethod
    @cache
    def experiment(name: str) -> ExperimentValues:
        """Returns the figures of an experiment by the name of its declaration."""
        declared = declaration.load(name)
        return ExperimentValues(judge(declared, Results(declared)))


class ExperimentValues:
    """The figures of one experiment: means over its seeds, in the metric's unit."""

    def __init__(self, judgement: Judgement) -> None:
        """Takes the judgement of the experiment's results."""
        self.judgement = judgement
        self.number = judgement.experiment.number
        self.title = judgement.experiment.title

    def value(self, arm: str, metric: str, subset: str | None = None) -> float:
        """Returns the mean over seeds of a metric, a fraction where the metric is one."""
        return float(self.judgement.table(metric, subset or self.judgement.whole)[arm].mean())

    def spread(self, arm: str, metric: str, subset: str | None = None) -> float:
        """Returns the standard deviation over seeds of a metric."""
        return float(self.judgement.table(metric, subset or self.judgement.whole)[arm].std())

    def change(self, arm: str, metric: str, against: str | None = None) -> str:
        """Returns the difference to another arm, the baseline by default, with its unit and 95% interval."""
        scale = scale_of(metric)
        found = self.judgement.difference(arm, against or self.judgement.experiment.baseline, metric)
        return " ".join(
            part for part in (scale.change(found.value), scale.unit, scale.interval(found.low, found.high)) if part
        )


def run_digest() -> str:
    """Returns the first twelve digits of the digest of metrics, parameters and data in `run.json`."""
    run = _read(DOCS / "evaluation" / "run.json")
    content = json.dumps([run[name] for name in ("metrics_sha256", "parameters", "data")], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
