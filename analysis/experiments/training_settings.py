"""The settings of an arm that trains a network, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from analysis.experiments.declaration import DeclarationError, merge, unknown
from models.studied.augmentation import StudiedAugmentation
from models.studied.families import FAMILIES, check_resizable
from models.studied.objectives import Objective
from models.studied.recipe import OPTIMIZERS, StudiedRecipe
from models.training import Precision

Labels = Literal["given", "without_suspects", "soft"]
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
"""What a declaration does not name. It stays as it is: the pipeline's own defaults follow from what studies find."""

SHARES = {"dropout", "label_smoothing", "ema_momentum", "trim", "erase", "known_garments", "teacher_weight"}
POSITIVE = {"width", "peak_learning_rate", "teacher_temperature"}
NOT_NEGATIVE = {"weight_decay", "group_loss", "logit_adjustment", "focal", "shift", "scale", "mixup", "cutmix"}
"""What numbers may be, wherever among the settings they stand."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        recipe: Network, optimiser and objective.
        epochs: Passes over the images.
        batch_size: Images a step.
        augmentation: What is done to the images.
        precision: As of `models.training.Plan`.
        balanced: Whether each group's images are drawn as often as another's.
        labels: "given"; "without_suspects" leaves out the training images whose garment confident learning suspects;
            "soft" learns half of the given garment and half of what networks say that were not trained on the image.
        known_garments: Share of the training images whose garment is known; of the others only the group is. Goes with
            `objective.sets`.
        mirror: Whether the answers for an image and its mirror image are averaged.
        teacher: The settings of a network whose answers are learned; None for none.
        teacher_weight: Their share of the targets; the rest is the given garment.
        teacher_temperature: The teacher's logits are divided by it: Hinton, Vinyals and Dean, "Distilling the Knowledge
            in a Neural Network", 2015, equation 1.
    """

    recipe: StudiedRecipe = REFERENCE
    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 256
    augmentation: StudiedAugmentation = field(default_factory=StudiedAugmentation)
    precision: Precision = "auto"
    balanced: bool = False
    labels: Labels = "given"
    known_garments: float = 1.0
    mirror: bool = True
    teacher: TrainingSettings | None = None
    teacher_weight: float = 0.9
    teacher_temperature: float = 2.0

    def trained_by(self) -> dict[str, Any]:
        """Returns what decides the weights and is not the usual: a new option leaves old networks what they are."""
        values = _unusual(asdict(replace(self, teacher=None)), asdict(TrainingSettings()))
        values.pop("mirror", None)  # how the trained network is asked
        if self.teacher is None:
            return {n: v for n, v in values.items() if n not in ("teacher_weight", "teacher_temperature")}
        return {**values, "teacher": {**self.teacher.trained_by(), "mirror": self.teacher.mirror}}


def _unusual(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    differing = {name: value for name, value in values.items() if value != usual[name]}
    return {n: _unusual(v, usual[n]) if isinstance(v, Mapping) else v for n, v in differing.items()}


def read(settings: Mapping[str, Any]) -> TrainingSettings:
    """Reads settings as a declaration has them: a recipe's values stand beside the others.

    Raises:
        DeclarationError: A name is unknown, or a value is not of its type.
    """
    if not isinstance(settings, Mapping):
        raise DeclarationError(f"A network is not declared. Expected: a table of its settings. Received: {settings!r}")
    of_recipe = {f.name for f in fields(StudiedRecipe)}
    table: dict[str, Any] = {name: value for name, value in settings.items() if name not in of_recipe}
    teacher = table.pop("teacher", None)
    named = {name: value for name, value in settings.items() if name in of_recipe}
    table["recipe"] = merge(REFERENCE.to_values(), named)
    _check_names(TrainingSettings, table)
    try:
        made = TypeAdapter(TrainingSettings).validate_python({**table, "teacher": None})
    except ValidationError as error:
        first = error.errors()[0]
        raise DeclarationError(
            f"A setting is not as it must be. Expected: {first['msg']}. "
            f"Received: {'.'.join(str(part) for part in first['loc'])} = {first['input']!r}"
        ) from None
    for name, known in (("family", FAMILIES), ("optimizer", OPTIMIZERS)):
        if (chosen := getattr(made.recipe, name)) not in known:
            raise unknown(name, chosen, known)
    _check_numbers(vars(made.recipe) | vars(made.recipe.objective) | vars(made.augmentation) | vars(made))
    if made.augmentation.side != StudiedAugmentation.side:
        try:
            check_resizable(made.recipe.family)
        except ValueError as error:
            raise DeclarationError(str(error)) from None
    return made if teacher is None else TrainingSettings(**{**vars(made), "teacher": read(teacher)})


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name in sorted(SHARES | POSITIVE | NOT_NEGATIVE):
        value = values[name]
        if value < 0 or (name in SHARES and value > 1) or (name in POSITIVE and value == 0):
            expected = "0 to 1" if name in SHARES else "more than 0" if name in POSITIVE else "0 or more"
            raise DeclarationError(f"A setting is out of its range. Expected: {expected}. Received: {name} = {value!r}")


def _check_names(kind: type, table: Mapping[str, Any]) -> None:
    hints = get_type_hints(kind)
    for name, value in table.items():
        if name not in hints:
            of_recipe = {f.name for f in fields(StudiedRecipe)} if kind is TrainingSettings else set()
            raise unknown("setting", name, sorted(of_recipe | set(hints) - {"recipe"}))
        if is_dataclass(hints[name]) and isinstance(value, Mapping):
            _check_names(hints[name], value)
