"""What the hyperparameter search may try: the fields of a recipe, each with its choices or its range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.recipe import Recipe

Sampling = Literal["linear", "log"]

RANGES: dict[str, tuple[float, float, Sampling]] = {
    "dropout": (0.0, 0.4, "linear"),
    "peak_learning_rate": (5e-4, 1.2e-2, "log"),
    "weight_decay": (1e-3, 0.3, "log"),
    "label_smoothing": (0.0, 0.15, "linear"),
}
"""About a factor of five, or as much as is usual, around the known good values on either side."""


NAMES = ("family", "width", *RANGES)


def searched(recipe: Recipe) -> dict[str, Any]:
    """Returns the values of a recipe that a search decides; the others stay the known good ones."""
    values = recipe.to_values()
    return {name: values[name] for name in NAMES}


class SearchSpaceError(ValueError):
    """Values lie outside the space; the message says what was expected and what was received."""


@dataclass(frozen=True)
class SearchSpace:
    """The choices and ranges of a recipe's values.

    Attributes:
        choices: Name to the values to choose from.
        ranges: Name to lowest and highest value and how to sample in between, "linear" or "log".
    """

    choices: Mapping[str, tuple[Any, ...]]
    ranges: Mapping[str, tuple[float, float, Sampling]] = field(default_factory=lambda: RANGES)

    def nearest(self, recipe: Recipe) -> Recipe:
        """Returns the recipe of the space that is nearest to one that may lie outside it."""
        values = recipe.to_values()
        for name, choices in self.choices.items():
            values[name] = _nearest_choice(values[name], choices)
        for name, (low, high, _) in self.ranges.items():
            values[name] = min(max(values[name], low), high)
        return Recipe.from_values(values)

    def read(self, values: Any) -> Recipe:
        """Returns the recipe of values by name; those that are not named are the nearest to the known good ones.

        Raises:
            SearchSpaceError: They are no table, or a name is unknown, or a value lies outside the space.
        """
        if not isinstance(values, dict):
            raise SearchSpaceError(f"Expected: a table of values by name. Received: {values!r}")
        known = searched(self.nearest(Recipe()))
        if unknown := sorted(values.keys() - known.keys()):
            raise SearchSpaceError(f"Expected: some of {', '.join(known)}. Received: {', '.join(unknown)}")
        for name, value in values.items():
            self._check(name, value)
        return Recipe.from_values(known | values)

    def _check(self, name: str, value: Any) -> None:
        if name in self.choices:
            if not any(value == choice and type(value) is type(choice) for choice in self.choices[name]):
                names = ", ".join(map(str, self.choices[name]))
                raise SearchSpaceError(f"Expected: {name} one of {names}. Received: {value!r}")
            return
        low, high, _ = self.ranges[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            raise SearchSpaceError(f"Expected: {name} between {low:g} and {high:g}. Received: {value!r}")


def _nearest_choice(value: Any, choices: tuple[Any, ...]) -> Any:
    if isinstance(value, int):
        return min(choices, key=lambda choice: abs(choice - value))
    return value if value in choices else choices[0]
