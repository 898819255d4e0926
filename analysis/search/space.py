"""The search space of the hyperparameter search: the values of a recipe, each with its choices or its range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pipeline.contract.errors import UserError

if TYPE_CHECKING:
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


class SearchSpaceError(UserError):
    """Values lie outside the search space."""


def searched_values(recipe: Recipe) -> dict[str, Any]:
    """Returns the values of a recipe that a search varies; the others keep the known good ones."""
    values = recipe.to_values()
    return {name: values[name] for name in NAMES}


@dataclass(frozen=True)
class SearchSpace:
    """The choices and ranges of a recipe's values.

    Attributes:
        choices: Name to the values to choose from.
        ranges: Name to lowest and highest value and the sampling in between, "linear" or "log".
    """

    choices: Mapping[str, tuple[Any, ...]]
    ranges: Mapping[str, tuple[float, float, Sampling]] = field(default_factory=lambda: RANGES)

    def nearest(self, recipe: Recipe) -> Recipe:
        """Returns the recipe of the space that is nearest to one that may lie outside it."""
        from models.recipe import Recipe

        values = recipe.to_values()
        for name, choices in self.choices.items():
            values[name] = _nearest_choice(values[name], choices)
        for name, (low, high, _) in self.ranges.items():
            values[name] = min(max(values[name], low), high)
        return Recipe.from_values(values)

    def read(self, values: Any, source: str) -> Recipe:
        """Returns the recipe of values by name; values that are missing are the nearest to the known good ones.

        Args:
            values: The parsed content of a JSON file.
            source: Where the values come from, for the error.

        Raises:
            SearchSpaceError: They are no table, or a name is unknown, or a value lies outside the space.
        """
        from models.recipe import Recipe

        self.check(values, source)
        return Recipe.from_values(searched_values(self.nearest(Recipe())) | values)

    def check(self, values: Any, source: str) -> None:
        """Checks the values that `read` takes, and imports no heavy library; arguments and errors as of `read`."""
        if not isinstance(values, dict):
            raise _outside(source, "a table of values by name", repr(values))
        if unknown := sorted(values.keys() - set(NAMES)):
            raise _outside(source, f"some of {', '.join(NAMES)}", ", ".join(unknown))
        for name, value in values.items():
            if expected := self._expected(name, value):
                raise _outside(source, expected, repr(value))

    def _expected(self, name: str, value: Any) -> str:
        """Returns the values that a name may have, or nothing where `value` is one of them."""
        if name in self.choices:
            valid = any(value == choice and type(value) is type(choice) for choice in self.choices[name])
            return "" if valid else f"{name} one of {', '.join(map(str, self.choices[name]))}"
        low, high, _ = self.ranges[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return "" if number and low <= value <= high else f"{name} between {low:g} and {high:g}"


def _outside(source: str, expected: str, received: str) -> SearchSpaceError:
    return SearchSpaceError(f"The search cannot start from {source}.", expected=expected, received=received)


def _nearest_choice(value: Any, choices: Sequence[Any]) -> Any:
    if isinstance(value, int):
        return min(choices, key=lambda choice: abs(choice - value))
    return value if value in choices else choices[0]
