"""The settings of an arm that trains a network, read from a declaration and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from analysis.experiments.declaration import DeclarationError, merge, unknown
from models.studied.augmentation import StudiedAugmentation
from models.studied.families import FAMILIES, RESIZABLE
from models.studied.objectives import Objective
from models.studied.recipe import OPTIMIZERS, StudiedRecipe
from models.training import Precision

Labels = Literal["original", "without_suspected_errors", "soft"]
REFERENCE = StudiedRecipe(
    family="plain",
    width=64,
    dropout=0.1,
    peak_learning_rate=3e-3,
    weight_decay=0.05,
    label_smoothing=0.05,
    optimizer="adamw",
    schedule="cosine",
    ema_momentum=0.0,
    objective=Objective(smooth="all"),
)
"""Defaults of a declaration. They stay fixed, while the pipeline's own defaults follow the experiments' results."""

SHARES = {"dropout", "label_smoothing", "ema_momentum", "trim", "erase", "known_garments", "teacher_weight"}
POSITIVE = {"width", "peak_learning_rate", "teacher_temperature"}
NOT_NEGATIVE = {"weight_decay", "group_loss", "logit_adjustment", "focal", "shift", "scale", "mixup", "cutmix"}
"""Ranges of numbers, at any level of the settings."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        recipe: Network, optimiser and objective.
        epochs: Number of epochs.
        batch_size: Images per step.
        augmentation: Augmentation of the training images.
        precision: As in `models.training.Plan`.
        balanced: Whether images of all groups are drawn equally often.
        labels: "original"; "without_suspected_errors" leaves out the training images whose label confident learning
            suspects to be wrong; "soft" averages the label and out-of-fold probabilities.
        known_garments: Share of the training images whose garment is known; of the others only the group is known.
            Needs `objective.sets`.
        flip_tta: Whether the logits of an image and of its mirror image are averaged.
        teacher: The settings of the teacher network for distillation; None for none.
        teacher_weight: The teacher's share of the targets; the rest is the labelled garment.
        teacher_temperature: The teacher's logits are divided by it: Hinton, Vinyals and Dean, "Distilling the Knowledge
            in a Neural Network", 2015, equation 1.
    """

    recipe: StudiedRecipe = REFERENCE
    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 256
    augmentation: StudiedAugmentation = field(default_factory=StudiedAugmentation)
    precision: Precision = "auto"
    balanced: bool = False
    labels: Labels = "original"
    known_garments: float = 1.0
    flip_tta: bool = True
    teacher: TrainingSettings | None = None
    teacher_weight: float = 0.9
    teacher_temperature: float = 2.0

    def trained_by(self) -> dict[str, Any]:
        """Returns the settings that determine the weights and differ from the defaults.

        Defaults are left out, so that a new setting does not invalidate the stored networks.
        """
        values = _non_defaults(asdict(replace(self, teacher=None)), asdict(TrainingSettings()))
        values.pop("flip_tta", None)  # it changes the evaluation, not the training
        if self.teacher is None:
            return {n: v for n, v in values.items() if n not in ("teacher_weight", "teacher_temperature")}
        return {**values, "teacher": {**self.teacher.trained_by(), "flip_tta": self.teacher.flip_tta}}


def _non_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    differing = {name: value for name, value in values.items() if value != defaults[name]}
    return {n: _non_defaults(v, defaults[n]) if isinstance(v, Mapping) else v for n, v in differing.items()}


def read(settings: Mapping[str, Any]) -> TrainingSettings:
    """Reads the settings of a declaration, where the recipe's values stand beside the others.

    Raises:
        DeclarationError: A name is unknown, or a value is of the wrong type or out of its range.
    """
    if not isinstance(settings, Mapping):
        raise DeclarationError(
            "The settings of a network are missing.", expected="a table of settings", received=repr(settings)
        )
    of_recipe = {f.name for f in fields(StudiedRecipe)}
    table: dict[str, Any] = {name: value for name, value in settings.items() if name not in of_recipe}
    teacher = table.pop("teacher", None)
    named = {name: value for name, value in settings.items() if name in of_recipe}
    table["recipe"] = merge(REFERENCE.to_values(), named)
    _check_names(TrainingSettings, table)
    try:
        parsed = TypeAdapter(TrainingSettings).validate_python({**table, "teacher": None})
    except ValidationError as error:
        first = error.errors()[0]
        raise DeclarationError(
            "The value of a setting is invalid.",
            expected=first["msg"],
            received=f"{'.'.join(str(part) for part in first['loc'])} = {first['input']!r}",
        ) from None
    for name, known in (("family", FAMILIES), ("optimizer", OPTIMIZERS)):
        if (chosen := getattr(parsed.recipe, name)) not in known:
            raise unknown(name, chosen, known)
    _check_numbers(vars(parsed.recipe) | vars(parsed.recipe.objective) | vars(parsed.augmentation) | vars(parsed))
    if parsed.augmentation.side != StudiedAugmentation.side and parsed.recipe.family not in RESIZABLE:
        raise DeclarationError(
            f"The weights of the family {parsed.recipe.family!r} depend on the size of the images.",
            expected=f"for another side than {StudiedAugmentation.side} one of {', '.join(RESIZABLE)}",
            received=parsed.recipe.family,
        )
    return parsed if teacher is None else TrainingSettings(**{**vars(parsed), "teacher": read(teacher)})


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name in sorted(SHARES | POSITIVE | NOT_NEGATIVE):
        value = values[name]
        if value < 0 or (name in SHARES and value > 1) or (name in POSITIVE and value == 0):
            expected = "0 to 1" if name in SHARES else "more than 0" if name in POSITIVE else "0 or more"
            raise DeclarationError("A setting is out of its range.", expected=expected, received=f"{name} = {value!r}")


def _check_names(kind: type, table: Mapping[str, Any]) -> None:
    hints = get_type_hints(kind)
    for name, value in table.items():
        if name not in hints:
            of_recipe = {f.name for f in fields(StudiedRecipe)} if kind is TrainingSettings else set()
            raise unknown("setting", name, sorted(of_recipe | set(hints) - {"recipe"}))
        if is_dataclass(hints[name]) and isinstance(value, Mapping):
            _check_names(hints[name], value)
