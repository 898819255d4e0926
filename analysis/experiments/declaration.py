"""The declaration of an experiment: a TOML file with question, arms, seeds and rule, written before any run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.experiments.reported_metrics import SCALES
from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest

STUDIES = Path(__file__).with_name("studies")

RENAMED = {
    "calibration_again": "calibration_default",
    "final": "final_evaluation",
    "full_length": "twenty_epochs",
    "larger": "network_width",
    "longer": "sixty_epochs",
    "small": "small_networks",
    "strangers": "out_of_distribution",
    "strangers_again": "out_of_distribution_default",
    "why": "error_causes",
    "why_again": "error_causes_default",
    "honest_calibration_error": "reference_calibration_error",
    "mended": "corrected",
    "asked": "test_noise",
    "longest": "max_ngram",
    "mirror": "flip_tta",
    "texts": "text_noise",
    "together": "ensemble",
    "certainty": "negative_entropy",
    "nearness": "negative_neighbour_distance",
}
"""Former names of experiments and measures, metrics, settings and their values; an error for one says the new name."""

Text = Annotated[str, Field(min_length=1)]
Settings = dict[str, Any]


class DeclarationError(UserError):
    """An experiment is not declared, or its declaration is invalid."""


class Rule(BaseModel):
    """The decision rule, declared before any result is known.

    Attributes:
        kind: "adopt" takes the arm with the largest gain over the baseline if the gain is statistically significant
            (p < 0.05 after Holm) and at least `least_gain`; "report" decides nothing by itself.
        least_gain: The smallest gain worth adopting, in units of the metric.
        text: The rule in words, including conditions that are checked by hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["adopt", "report"]
    least_gain: float = 0.0
    text: Text


class Experiment(BaseModel):
    """A question and the arms that answer it.

    Attributes:
        name: The stem of the file's name.
        number: Its position in the document.
        title: A heading of a few words.
        question: The question to answer.
        hypothesis: The expected answer and the reason for it.
        measure: How an arm is run: a name in `analysis.experiments.runner.MEASURES`.
        metric: The primary metric, one that the measure reports.
        seeds: The seeds of each arm's runs.
        budget_minutes: Minutes on 2 cores after which no further run starts, unless the command gives a budget.
        baseline: The arm that all others are compared with.
        rule: The decision rule.
        margin: The equivalence margin of the primary metric, in units of the metric. Defaults to that of
            `analysis.experiments.equivalence.MARGINS`.
        settings: Settings that all arms share.
        arms: Each arm's own settings by its name; they override the shared ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    number: int
    title: Text
    question: Text
    hypothesis: Text
    measure: Text
    metric: Text
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    budget_minutes: float = Field(gt=0)
    baseline: Text
    rule: Rule
    margin: float | None = Field(default=None, gt=0)
    settings: Settings = {}
    arms: dict[str, Settings] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if self.baseline not in self.arms:
            raise ValueError(f"baseline {self.baseline!r} is none of the arms {', '.join(self.arms)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a seed is named twice in {list(self.seeds)}")
        if self.metric not in SCALES:
            raise ValueError(f"metric {self.metric!r} is none of {', '.join(SCALES)}.{suggestion(self.metric, SCALES)}")
        return self

    def settings_of(self, arm: str) -> Settings:
        """Returns an arm's settings, the shared ones included."""
        return merge(self.settings, self.arms[arm])


def merge(common: Mapping[str, Any], own: Mapping[str, Any]) -> Settings:
    """Returns shared settings overridden by an arm's own, nested table by nested table."""
    merged = dict(common)
    for name, value in own.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def load(name: str, directory: Path = STUDIES) -> Experiment:
    """Reads the declaration of an experiment.

    Raises:
        DeclarationError: No experiment has that name, or its declaration is invalid.
    """
    path = directory / f"{name}.toml"
    if not path.exists():
        raise unknown("experiment", name, names(directory))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return Experiment(name=name, **table)
    except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        raise DeclarationError(
            f"The declaration of the experiment {name} is invalid.",
            expected="the fields of an experiment",
            received=f"{_reason(error)} ({path})",
        ) from None


def names(directory: Path = STUDIES) -> list[str]:
    """Returns the names of all declared experiments, in the order of their numbers.

    Raises:
        DeclarationError: The directory has no declaration, or two experiments have the same number.
    """
    found = {path.stem: _number(path) for path in directory.glob("*.toml")}
    if not found:
        raise DeclarationError(
            "No experiment is declared.", expected="*.toml in the directory", received=str(directory)
        )
    ordered = sorted(found, key=lambda name: (found[name], name))
    for one, other in pairwise(ordered):
        if found[one] == found[other] != 0:
            raise DeclarationError(
                "Two experiments have the same number.",
                expected="a different number for each",
                received=f"{found[one]} for {one} and {other}",
            )
    return ordered


def unknown(kind: str, name: str, known: Iterable[str]) -> DeclarationError:
    """Returns the error for an unknown name: it suggests the new name of a renamed one, or else the nearest one."""
    known = list(known)
    return DeclarationError(
        f"There is no {kind} {name!r}.{suggestion(name, known)}",
        expected=f"one of {', '.join(known)}",
        received=name,
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns " It is now called 'x'." for a former name, " Did you mean 'x'?" for a near one, or nothing."""
    known = list(known)
    return f" It is now called {RENAMED[name]!r}." if RENAMED.get(name) in known else nearest(name, known)


def check_settings(
    settings: Mapping[str, Any], choices: Mapping[str, Iterable[str]], others: Sequence[str] = ()
) -> None:
    """Checks that an arm has exactly the expected settings, each with one of its choices.

    Args:
        settings: The arm's settings.
        choices: The allowed values of a setting, by its name.
        others: Names of further settings, whose values are checked elsewhere. Defaults to none.

    Raises:
        DeclarationError: A setting is unknown or missing, or its value is not allowed.
    """
    expected = [*choices, *others]
    for name in settings:
        if name not in expected:
            raise unknown("setting", name, expected)
    for name in expected:
        if name not in settings:
            raise DeclarationError(
                f"The setting {name} is missing.",
                expected=", ".join(expected),
                received=", ".join(settings) or "none",
            )
    for name, known in choices.items():
        if settings[name] not in list(known):
            raise unknown(name, str(settings[name]), known)


def _number(path: Path) -> int:
    # `load` reports a file that cannot be read, with the reason.
    with suppress(tomllib.TOMLDecodeError, UnicodeDecodeError):
        number = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("number")
        return number if isinstance(number, int) else 0
    return 0


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
