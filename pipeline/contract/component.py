"""The contract of a component: a plain function whose signature declares its inputs, outputs and parameters.

    @component
    def label_grouping(
        examples: Input[Examples],
        grouped: Output[Examples],
        progress: Progress,
        *,
        taxonomy: Taxonomy,
    ) -> None: ...

A runner reads the declaration (`label_grouping.spec`), gives the function directories to read and to write, and calls
`label_grouping.run(...)`. A definition chains it with `pipeline.add(label_grouping, section, examples=...)`. The
parameters with a default are the component's section of the configuration; the definition sets the others.

What the types of the parameters cannot express, a component checks in functions that it declares with
`@component(checks=(check_split,))`. Such a function takes some of the component's inputs and parameters by name and
raises `UserError`. The runner calls it as early as it can: before the first stage, or as soon as the inputs are there.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

from pipeline.contract.artifacts import Artifact
from pipeline.contract.progress import Progress

T = TypeVar("T", bound=Artifact)


class Role(Enum):
    """The role of an argument of a component."""

    INPUT = "input"
    OUTPUT = "output"
    SCRATCH = "scratch"
    LOGS = "logs"
    CACHE = "cache"
    PROGRESS = "progress"
    PARAMETER = "parameter"


Input = Annotated[T, Role.INPUT]
"""An artifact of a finished stage; read-only."""

Output = Annotated[T, Role.OUTPUT]
"""An artifact to write; its directory exists and is empty."""

Scratch = Annotated[Path, Role.SCRATCH]
"""A directory that survives a kill of the stage, for the state to resume from; removed when the stage has finished."""

Logs = Annotated[Path, Role.LOGS]
"""A directory under `workspace/logs/` that stays and can be read while the stage runs, for TensorBoard."""

Cache = Annotated[Path, Role.CACHE]
"""The directory `workspace/cache/`, which all stages and runs share, for downloads."""

ExternalPath = Annotated[Path, Role.PARAMETER, "content"]
"""A parameter that names a file or directory of the user; the cache key holds its content instead of its path."""

Outside = Callable[[Mapping[str, Any]], Mapping[str, str]]
"""Returns, for a component's parameters, digests of what it reads that is no file, such as a database."""


def nothing_outside(parameters: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns no digests: the `Outside` of a component that reads only inputs and files."""
    del parameters
    return {}


Check = Callable[..., None]
"""Raises `UserError` for values that the component cannot use; its arguments are some of the component's, by name."""


@dataclass(frozen=True)
class Argument:
    """One argument of a component, as its signature declares it."""

    name: str
    role: Role
    type: Any
    optional: bool = False
    default: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class ComponentSpec:
    """The declaration of a component.

    Attributes:
        name: The name of the function.
        module: The module that defines it.
        summary: The first line of its docstring.
        arguments: In the order of the signature.
        outside: Returns digests of what it reads that is neither input nor file; they belong to the cache key.
        checks: Functions that check inputs and parameters before the component runs.
    """

    name: str
    module: str
    summary: str
    arguments: tuple[Argument, ...]
    outside: Outside = nothing_outside
    checks: tuple[Check, ...] = ()

    def by_role(self, role: Role) -> dict[str, Argument]:
        """Returns the arguments of one role by name, in the order of the signature."""
        return {a.name: a for a in self.arguments if a.role is role}


class Component:
    """A declared component: `spec` is what its signature says, `run` the function itself."""

    def __init__(
        self, function: Callable[..., None], outside: Outside = nothing_outside, checks: Sequence[Check] = ()
    ) -> None:
        self.run = function
        self.spec = _read_signature(function, outside, checks)
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"Component({self.spec.name})"


@overload
def component(function: Callable[..., None], /) -> Component: ...
@overload
def component(
    *, outside: Outside = nothing_outside, checks: Sequence[Check] = ()
) -> Callable[[Callable[..., None]], Component]: ...
def component(
    function: Callable[..., None] | None = None,
    /,
    *,
    outside: Outside = nothing_outside,
    checks: Sequence[Check] = (),
) -> Component | Callable[[Callable[..., None]], Component]:
    """Declares a function as a component.

    Args:
        function: The function; its type hints are the declaration.
        outside: Returns digests of what the component reads that is neither input nor file. Defaults to none.
        checks: Functions that check inputs and parameters before the component runs. Defaults to none.

    Raises:
        TypeError: A parameter without a type hint or before the `*`, an output that is no artifact, no docstring, or a
            check with an argument that is neither input nor parameter.
    """
    if function is not None:
        return Component(function, outside, checks)
    return lambda f: Component(f, outside, checks)


def _read_signature(function: Callable[..., None], outside: Outside, checks: Sequence[Check]) -> ComponentSpec:
    hints = inspect.get_annotations(function, eval_str=True)
    arguments = tuple(_read_argument(function, p, hints) for p in inspect.signature(function).parameters.values())
    summary = (inspect.getdoc(function) or "").split("\n", 1)[0]
    if not summary:
        raise TypeError(f"Component {function.__name__} has no docstring; its first line is shown to users.")
    known = {a.name for a in arguments if a.role in (Role.INPUT, Role.PARAMETER)}
    for check in checks:
        if unknown := sorted(set(inspect.signature(check).parameters) - known):
            raise TypeError(
                f"{function.__name__}: {check.__name__} takes {', '.join(unknown)}, which it does not have."
            )
    return ComponentSpec(function.__name__, function.__module__, summary, arguments, outside, tuple(checks))


def _read_argument(function: Callable[..., None], parameter: inspect.Parameter, hints: dict[str, Any]) -> Argument:
    name = parameter.name
    if name not in hints:
        raise TypeError(f"{function.__name__}: argument {name!r} has no type hint.")
    hint, optional = _strip_optional(hints[name])
    role = next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Role)), None)
    if role is None:
        role = Role.PROGRESS if hint is Progress else Role.PARAMETER
    if role is Role.PARAMETER:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{function.__name__}: parameter {name!r} must come after the '*'.")
        return Argument(name, role, hints[name], default=parameter.default)
    bare = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if role in (Role.INPUT, Role.OUTPUT) and not (isinstance(bare, type) and issubclass(bare, Artifact)):
        raise TypeError(f"{function.__name__}: {role.value} {name!r} must be an artifact type, not {bare!r}.")
    return Argument(name, role, bare, optional)


def _strip_optional(hint: Any) -> tuple[Any, bool]:
    members = typing.get_args(hint)
    if type(None) in members and len(members) == 2:
        return next(m for m in members if m is not type(None)), True
    return hint, False
