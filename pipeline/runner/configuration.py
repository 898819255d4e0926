"""The configuration: TOML profiles over the defaults in the components' signatures, checked before any stage runs.

A component's parameters with a default are its section: `trainer.epochs` is the parameter `epochs` of `trainer`. So a
parameter is declared once, with its type, bounds and description, and read by every runner.
"""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from pipeline.contract.component import Component, Role
from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest

Model = TypeVar("Model", bound=BaseModel)

PROFILES = Path(__file__).resolve().parents[1] / "profiles"


RENAMED: Final = {
    "example_gen.fetches_per_host": "example_gen.max_per_host",
    "example_gen.fetch_seconds": "example_gen.attempt_seconds",
    "example_gen.trusted_days": "example_gen.max_age_days",
    "example_gen.most_failed": "example_gen.max_failed_share",
    "example_gen.most_shared": "example_gen.max_products_per_image",
    "example_gen.lookalike_rmse": "example_gen.near_duplicate_slice_rmse",
    "example_validator.black_images": "example_validator.max_black_images",
    "evaluator.mistakes": "evaluator.misclassified_examples",
    "trainer.mirror": "trainer.flip_tta",
}
"""Parameters by their former key, with their present one: a former key is an error that names the present one."""


class Configuration(BaseModel):
    """The settings of a run; `configuration_type` adds a section for every component."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    seed: int = Field(default=20, ge=0, lt=2**31, description="Seeds everything that is random.")
    taxonomy: Path | None = Field(
        default=None, description="A TOML file with another grouping; the five groups of models/fashion.toml without."
    )
    expected_minutes: float | None = Field(
        default=None,
        gt=0,
        description="Minutes that a run takes on 2 cores with bfloat16 arithmetic; for messages, it changes no result.",
    )

    if TYPE_CHECKING:

        def __getattr__(self, section: str) -> Any: ...


@cache
def configuration_type(components: tuple[Component, ...]) -> type[Configuration]:
    """Returns the `Configuration` with a frozen section for every component, by the component's name."""
    sections: dict[str, Any] = {c.spec.name: (_section(c), Field(default_factory=_section(c))) for c in components}
    return create_model("Configuration", __base__=Configuration, **sections)


@cache
def _section(component: Component) -> type[BaseModel]:
    fields: dict[str, Any] = {
        p.name: (p.type, p.default)
        for p in component.spec.by_role(Role.PARAMETER).values()
        if p.default is not inspect.Parameter.empty
    }
    settings = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)
    return create_model(component.spec.name, __config__=settings, **fields)


def load_configuration(
    components: Sequence[Component], profile: str = "default", overrides: Iterable[str] = ()
) -> Configuration:
    """Reads a profile and applies overrides.

    Args:
        components: The components whose sections may be set.
        profile: The name of a file in `pipeline/profiles/` without `.toml`, or the path of a TOML file.
        overrides: Assignments such as "trainer.epochs=3"; the value is TOML, or else taken as a string.

    Raises:
        UserError: The profile is missing or not valid TOML, a key is unknown, or a value has a wrong type or is out of
            bounds.
    """
    content = _read_profile(profile)
    for assignment in overrides:
        _assign(content, assignment)
    kind = configuration_type(tuple(components))
    sections = {c.spec.name: _section(c) for c in components}
    try:
        values = _parse(Configuration, {k: v for k, v in content.items() if k not in sections})
    except ValidationError as error:
        raise _explain(error, kind, []) from None
    # Pydantic takes a quarter of a second to build the validators of all sections, so only those in use are built.
    checked: dict[str, Any] = {name: _validate(section, name, content.get(name)) for name, section in sections.items()}
    return kind.model_construct(**values.model_dump(exclude_unset=True), **checked)


def _validate(section: type[BaseModel], name: str, content: Any) -> BaseModel:
    """Returns a section with its values checked; one that nothing sets has the defaults, which need no check."""
    try:
        return section.model_construct() if content is None else _parse(section, content)
    except ValidationError as error:
        raise _explain(error, section, [name]) from None


def _parse(kind: type[Model], content: Any) -> Model:
    """Returns TOML content as a model; a value that pydantic would convert to another type is an error.

    Strict JSON is what TOML needs: a text may be a path and an array a tuple, but `true` is not the number 1.
    """
    return kind.model_validate_json(json.dumps(content, default=str), strict=True)


def _read_profile(profile: str) -> dict[str, Any]:
    path = Path(profile) if profile.endswith(".toml") else PROFILES / f"{profile}.toml"
    known = sorted(p.stem for p in PROFILES.glob("*.toml"))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"There is no profile {profile!r}.{nearest(profile, known)}",
            expected=f"{', '.join(known)}, or the path of a .toml file",
            received=profile,
            next_step="fashion run --profile default",
        ) from None
    except OSError as error:
        raise UserError(
            f"The profile {path} cannot be read.",
            expected="a file that this user may read",
            received=error.strerror or str(error),
            next_step=f"correct {path}, or use one of {', '.join(known)}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"The profile {path} is not valid TOML.",
            expected="key = value lines under [section] headers",
            received=str(error),
            next_step=f"correct {path}; fashion show --parameters lists every key",
        ) from None


def _assign(content: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise UserError(
            "--set is malformed.",
            expected="--set trainer.epochs=3",
            received=f"--set {assignment}",
            next_step="fashion show --parameters",
        )
    for part in path[:-1]:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise UserError(
                "--set names a value inside a value.",
                expected="section.key=value",
                received=assignment,
                next_step="fashion show --parameters",
            )
    content[path[-1]] = _value(text)


def _value(text: str) -> Any:
    if text in ("True", "False"):  # as Python spells them
        return text == "True"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, kind: type[BaseModel], section: Sequence[str]) -> UserError:
    """Returns pydantic's first complaint as an error that names the key, the expected and the received value."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    key = ".".join([*section, *path])
    if key in RENAMED:
        return UserError(
            f"The parameter {key} has a new name.",
            expected=RENAMED[key],
            received=key,
            next_step=f"write {RENAMED[key]}; fashion show --parameters describes it",
        )
    if fault["type"] == "extra_forbidden":
        known = list(_fields(kind, path[:-1]))
        return UserError(
            f"The configuration has no key {key!r}.{nearest(path[-1], known, key.removesuffix(path[-1]))}",
            expected=f"one of {', '.join(known)}",
            received=key,
            next_step="fashion show --parameters",
        )
    return UserError(
        f"The configuration's {key!r} cannot be used.",
        expected=fault["msg"].removeprefix("Input should be "),
        received=f"{fault['input']!r} ({type(fault['input']).__name__})",
        next_step="fashion show --parameters",
    )


def _fields(kind: type[BaseModel], path: Sequence[str]) -> Iterable[str]:
    for part in path:
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        kind = annotation
    return kind.model_fields
