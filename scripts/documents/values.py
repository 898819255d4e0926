"""The figures that the templates of the documents may name. Every one is read from a committed file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from analysis.experiments import declaration
from analysis.experiments.comparison import Difference
from analysis.experiments.equivalence import describe_equivalence
from analysis.experiments.judgement import Judgement, judge, machines, over_seeds
from analysis.experiments.reported_metrics import format_p_value, scale_of
from analysis.experiments.results import Results
from scripts.documents.audit import Audit, Selective
from scripts.documents.canary import Canary
from scripts.documents.capacity import Capacity
from scripts.documents.memory import MemoryFigure

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
    def one_piece_audit(self) -> Audit:
        """Returns the audit of the recall of One piece, by the same rule as `audit`."""
        return Audit.above(self.metrics["groups"]["One piece"]["recall"]["interval"][0])

    @cached_property
    def capacity(self) -> Capacity:
        """Returns the measured throughput of the server with the pods and the cost that follow from it."""
        return Capacity(self.measured["serving"])

    @cached_property
    def memory_figure(self) -> MemoryFigure:
        """Returns the coordinates of the figure of the server's memory."""
        return MemoryFigure(self.measured["memory"]["runs"])

    @cached_property
    def canary(self) -> Canary:
        """Returns the sample sizes of a canary."""
        return Canary()

    @staticmethod
    def bounds(metric: str, kind: str = "at_least") -> list[str]:
        """Returns the bounds of a metric in the Evaluator's verdict, overall and of every group, the lowest first."""
        from analysis.evaluation.verdict import DEFAULT_RULES, load_rules, strictest
        from models.taxonomy import Taxonomy

        groups = [f"group:{group}" for group in Taxonomy.load().groups]
        rules = strictest((*DEFAULT_RULES, *load_rules()), groups)
        bounds = sorted({rule.bound for rule in rules if (rule.metric, rule.kind) == (metric, kind)})
        return [f"{bound:g}".replace("-", "−") for bound in bounds]

    @cached_property
    def exploration(self) -> Any:
        """Returns the measurements of `fashion explore` on that run's workspace."""
        return _read(DOCS / "exploration" / "exploration.json")

    @cached_property
    def measured(self) -> Mapping[str, Any]:
        """Returns the results of the benchmarks by the name of their file in `docs/measurements/`."""
        return {file.stem: _read(file) for file in sorted((DOCS / "measurements").glob("*.json"))}

    @cached_property
    def reviewed_errors(self) -> dict[str, int]:
        """Returns how the label review judges the errors of the evaluation's gallery.

        Returns:
            The number of errors whose label both passes call wrong (`label_wrong`) or right (`label_right`), of those
            on which they differ or that are ambiguous (`doubtful`), and of all `shown`.
        """
        from analysis.exploration.label_review import read_review
        from scripts.documents.evaluation import SHOWN_ERRORS

        shown = [error["source_id"] for error in self.metrics["most_confident_errors"][:SHOWN_ERRORS]]
        review = read_review()
        verdicts = review[review["source_id"].isin(shown)].groupby("source_id")["verdict"].agg(set)
        wrong, right = (int((verdicts == {verdict}).sum()) for verdict in ("label wrong", "label right"))
        return {
            "label_wrong": wrong,
            "label_right": right,
            "doubtful": len(verdicts) - wrong - right,
            "shown": len(shown),
        }

    @cached_property
    def review(self) -> Any:
        """Returns the counts, the agreement and the accuracy ceiling of the label review.

        `reviewed` and `label_wrong` are numbers of images; a label is wrong if both passes call it wrong. `agreement`
        and `kappa` have a value and an interval, for the filters percent_estimate and estimate. `ceiling.low` and
        `ceiling.high` are shares: the range of the accuracy of a model without errors on the official test split.
        `analysis.exploration.label_review.summarize` computes all of them.
        """
        return _read(DOCS / "exploration" / "label_review.json")

    @cached_property
    def pipeline_graph(self) -> str:
        """Returns the picture of the pipeline as a Mermaid flowchart."""
        from scripts.documents.reference import pipeline_graph

        return pipeline_graph()

    @cached_property
    def catalogue_query(self) -> Mapping[str, str]:
        """Returns the statements, the example and the edge cases of the catalogue query, as the tests have them."""
        from tests.sql.documentation import parts

        return parts()

    @cached_property
    def experiments(self) -> list[ExperimentValues]:
        """Returns the figures of all experiments, in the order of their numbers."""
        return [self.experiment(name) for name in declaration.names()]

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
        self.seeds = len(judgement.experiment.seeds)
        self.runs = self.seeds * len(judgement.experiment.arms)

    @property
    def page(self) -> str:
        """Returns the path of the experiment's page, relative to `docs/`."""
        return f"experiments/{self.number:02d}-{self._slug}.md"

    @property
    def link(self) -> str:
        """Returns a Markdown link to the experiment's page, from a document in `docs/`: "[experiment 7](...)"."""
        return f"[experiment {self.number}]({self.page})"

    @property
    def examples(self) -> int:
        """Returns the number of evaluated images."""
        assert self.judgement.supports is not None
        return int(self.judgement.supports.sum())

    @property
    def machines(self) -> list[str]:
        """Returns the backends and hardware of the runs, the most frequent first."""
        return machines(self.judgement.results.figures)

    @property
    def detectable(self) -> float:
        """Returns the minimum detectable difference of the primary metric at 80% power."""
        return self.judgement.minimum_detectable_difference

    def value(self, arm: str, metric: str, subset: str | None = None) -> float:
        """Returns the mean over seeds of a metric, a fraction where the metric is one."""
        return float(self.judgement.table(metric, subset or self.judgement.whole)[arm].mean())

    def spread(self, arm: str, metric: str, subset: str | None = None) -> float:
        """Returns the standard deviation over seeds of a metric."""
        return float(self.judgement.table(metric, subset or self.judgement.whole)[arm].std())

    def summary(self, arm: str, metric: str) -> str:
        """Returns the mean of a metric and its standard deviation over seeds: "98.52 ± 0.09"."""
        return scale_of(metric).spread(self.value(arm, metric), self.spread(arm, metric))

    def change(self, arm: str, metric: str, against: str | None = None, subset: str | None = None) -> str:
        """Returns the difference to another arm, the baseline by default, with its unit and 95% interval.

        Args:
            arm: The arm.
            metric: The metric, or a group's name for the F1 of that group.
            against: The other arm. Defaults to the baseline.
            subset: A subset of the examples, such as "corrupted". Defaults to all examples.
        """
        scale = scale_of("f1" if metric in self.judgement.taxonomy.groups else metric)
        found = self.difference(arm, metric, against, subset)
        return " ".join(
            part for part in (scale.change(found.value), scale.unit, scale.interval(found.low, found.high)) if part
        )

    def difference(self, arm: str, metric: str, against: str | None = None, subset: str | None = None) -> Difference:
        """Returns the difference that `change` formats, as fractions."""
        other = against or self.judgement.experiment.baseline
        if subset is None:
            return self.judgement.difference(arm, other, metric)
        table = self.judgement.table(metric, subset)
        return over_seeds((table[arm] - table[other]).tolist())

    def equivalence(self, arm: str, metric: str, against: str | None = None, subset: str | None = None) -> str:
        """Returns "equivalent within ±0.20 points (90% CI ...)" or "cannot tell: ..."; the arguments of `change`.

        Raises:
            ValueError: The metric has no equivalence margin.
        """
        margin = self.judgement.margin(metric)
        if margin is None:
            raise ValueError(
                f"{metric} has no equivalence margin; it is declared in analysis/experiments/equivalence.py"
            )
        scale = scale_of("f1" if metric in self.judgement.taxonomy.groups else metric)
        return describe_equivalence(self.difference(arm, metric, against, subset), margin, scale)

    def p_value(self, arm: str) -> str:
        """Returns the p-value of an arm's difference to the baseline in the primary metric, after Holm's correction."""
        return format_p_value(self.judgement.adjusted[arm], "p")

    def errors(self, arm: str) -> float:
        """Returns the mean number of misclassified examples of an arm."""
        errors = self.judgement.results.errors
        return float((errors["arm"] == arm).sum() / self.seeds)

    def errors_of_every_seed(self, arm: str, between: Collection[str] = ()) -> int:
        """Returns the number of examples that every seed of an arm misclassifies.

        Args:
            arm: The arm.
            between: Two groups: count only examples of one that are predicted most often as the other. Defaults to all.
        """
        errors = self.judgement.results.errors
        examples = errors[errors["arm"] == arm].groupby("example")
        always = examples.filter(lambda rows: len(rows) == self.seeds).groupby("example")
        names = self.judgement.taxonomy.groups
        pairs = [{names[rows["truth"].iloc[0]], names[rows["predicted"].mode().iloc[0]]} for _, rows in always]
        return sum(not between or pair == set(between) for pair in pairs)

    def picture(self, name: str) -> str:
        """Returns the path of a picture of the experiment's page, relative to `docs/`.

        Raises:
            FileNotFoundError: There is not exactly one picture of that name.
        """
        found = list((DOCS / "experiments").rglob(f"{self._slug}-{name}.??????.png"))
        if len(found) != 1:
            raise FileNotFoundError(
                f"{len(found)} pictures {self._slug}-{name} in {DOCS / 'experiments'}, expected one"
            )
        return found[0].relative_to(DOCS).as_posix()

    @property
    def _slug(self) -> str:
        return self.judgement.experiment.name.replace("_", "-")


def metrics_digest(file: Path) -> str:
    """Returns the SHA-256 of the figures in a `metrics.json`, without the seconds that their computation took."""

    def without_seconds(members: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in members.items() if name != "seconds"}

    content = json.loads(file.read_text(encoding="utf-8"), object_hook=without_seconds)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_digest() -> str:
    """Returns the first twelve digits of the digest of metrics, parameters and data in `run.json`."""
    run = _read(DOCS / "evaluation" / "run.json")
    content = json.dumps([run[name] for name in ("metrics_digest", "parameters", "data")], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
