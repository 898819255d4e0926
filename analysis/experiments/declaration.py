"""An experiment as it is declared, in a small TOML file, before it is run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.experiments.scales import SCALES

STUDIES = Path(__file__).with_name("studies")

Text = Annotated[str, Field(min_length=1)]
Settings = dict[str, Any]


class DeclarationError(ValueError):
    """An experiment is not declared, or wrongly; the message says what was expected and what was received."""


class Rule(BaseModel):
    """What follows from the results, said before they are there.

    Attributes:
        kind: "adopt" takes the arm that is furthest ahead of the baseline in the metric if it is so beyond chance
            (p < 0.05, corrected for the number of arms) and by `least_gain`; "report" decides nothing by itself.
        least_gain: What a better arm must bring at least, in units of the metric.
        text: The rule in words, with what else it asks for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["adopt", "report"]
    least_gain: float = 0.0
    text: Text


class Experiment(BaseModel):
    """A question with the arms that answer it.

    Attributes:
        name: The file's name.
        number: The place in the document.
        title: A few words.
        question: What is to be known.
        hypothesis: What is expected, and why.
        measure: How an arm is run: a name in `analysis.experiments.measures.registry.MEASURES`.
        metric: What is looked at first: a metric that the measure reports.
        seeds: Of the runs of each arm.
        budget_minutes: No run is begun after as many on 2 cores, unless a budget is given; one that was begun ends.
        baseline: The arm that the others are compared with.
        rule: What follows from the results.
        settings: Settings of all arms.
        arms: Each arm's own settings by its name; they go over those of all.
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
    settings: Settings = {}
    arms: dict[str, Settings] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if self.baseline not in self.arms:
            raise ValueError(f"baseline {self.baseline!r} is none of the arms {', '.join(self.arms)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a seed is named twice in {list(self.seeds)}")
        if self.metric not in SCALES:
            raise ValueError(f"metric {self.metric!r} is none of {', '.join(SCALES)}")
        return self

    def of_arm(self, arm: str) -> Settings:
        """Returns all settings of an arm."""
        return merge(self.settings, self.arms[arm])


def merge(common: Mapping[str, Any], own: Mapping[str, Any]) -> Settings:
    """Returns the settings of all with an arm's own over them, table by table."""
    merged = dict(common)
    for name, value in own.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def load(name: str, directory: Path = STUDIES) -> Experiment:
    """Reads the declaration of an experiment.

    Raises:
        DeclarationError: There is none of that name, or it is not as it must be.
    """
    path = directory / f"{name}.toml"
    if not path.exists():
        raise unknown("experiment", name, names(directory))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Experiment(name=name, **table)
    except (ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        raise DeclarationError(
            f"The experiment {name} is not declared as it must be. Expected: the fields of an experiment. "
            f"Received: {_reason(error)} ({path})"
        ) from None


def names(directory: Path = STUDIES) -> list[str]:
    """Returns the names of all declared experiments, in the order of their numbers.

    Raises:
        DeclarationError: There is none, or two have one number.
    """
    found = {path.stem: _number(path) for path in directory.glob("*.toml")}
    if not found:
        raise DeclarationError(f"No experiment is declared. Expected: *.toml in the directory. Received: {directory}")
    ordered = sorted(found, key=lambda name: (found[name], name))
    for one, other in pairwise(ordered):
        if found[one] == found[other] != 0:
            raise DeclarationError(
                f"Two experiments have one number. Expected: a number of its own for each. "
                f"Received: {found[one]} for {one} and {other}"
            )
    return ordered


def unknown(kind: str, name: str, known: Iterable[str]) -> DeclarationError:
    """Returns the error for a name that is none of the known ones, with the nearest of them."""
    known = list(known)
    near = get_close_matches(name, known, 1)
    return DeclarationError(
        f"There is no {kind} {name!r}{f'; did you mean {near[0]}?' if near else '.'} "
        f"Expected: one of {', '.join(known)}. Received: {name}"
    )


def check_settings(
    settings: Mapping[str, Any], choices: Mapping[str, Iterable[str]], others: Sequence[str] = ()
) -> None:
    """Checks that settings are the expected ones, each with one of its choices.

    Args:
        settings: What an arm declares.
        choices: What a setting may be, by its name.
        others: Names of settings that are checked elsewhere. Defaults to none.

    Raises:
        DeclarationError: A setting is unknown, is not given, or is none of its choices.
    """
    expected = [*choices, *others]
    for name in settings:
        if name not in expected:
            raise unknown("setting", name, expected)
    for name in expected:
        if name not in settings:
            raise DeclarationError(
                f"The setting {name} is not given. Expected: {', '.join(expected)}. "
                f"Received: {', '.join(settings) or 'none'}"
            )
    for name, known in choices.items():
        if settings[name] not in list(known):
            raise unknown(name, str(settings[name]), known)


def _number(path: Path) -> int:
    # A file that cannot be read is named by `load`, which also says what is wrong with it.
    with suppress(tomllib.TOMLDecodeError, UnicodeDecodeError):
        number = tomllib.loads(path.read_text(encoding="utf-8")).get("number")
        return number if isinstance(number, int) else 0
    return 0


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
