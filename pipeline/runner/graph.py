"""The graph of a pipeline: nodes and the channels between them, checked while the graph is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pipeline.contract.artifacts import Artifact
from pipeline.contract.component import Argument, Check, Component, ComponentSpec, Role
from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest


@dataclass(frozen=True)
class Channel:
    """An output of a node, which a later node takes as an input."""

    node: str
    output: str
    type: type[Artifact]


@dataclass(frozen=True)
class LatestBlessed:
    """The artifact of a channel that was blessed last, other than the current one.

    Before the first blessing there is none, so only an optional input may take it.

    Attributes:
        channel: The channel.
        output: An output of the stage that gave the blessing, to be read instead of the artifact itself. Defaults to
            the artifact.
        otherwise: Returns, for the current artifact, what to read where no other one is recorded as blessed: an
            artifact in the workspace that need not be recorded, or None. Defaults to nothing.
    """

    channel: Channel
    output: str = ""
    otherwise: Callable[[Artifact], Artifact | None] = lambda current: None


@dataclass(frozen=True)
class Latest:
    """The newest intact artifact of a type in the workspace, whichever pipeline wrote it.

    There may be none, so only an optional input may take it. TFX calls this a Resolver with LatestArtifactStrategy.
    """

    type: type[Artifact]


@dataclass(frozen=True)
class Previous:
    """The artifact of a channel that the stage read last in an execution that finished, other than the current one.

    There may be none, so only an optional input may take it.

    Attributes:
        channel: The channel, which another input of the stage takes, too.
        same: Parameters of the stage; executions with other values of these do not count.
    """

    channel: Channel
    same: tuple[str, ...] = ()


Source = Channel | LatestBlessed | Latest | Previous


@dataclass(frozen=True)
class Node:
    """A component in a pipeline, with the sources of its inputs and its parameters.

    `node["examples"]` is the channel of the output `examples`.
    """

    name: str
    component: Component
    sources: Mapping[str, Source]
    parameters: Mapping[str, Any]

    def __getitem__(self, output: str) -> Channel:
        outputs = self.component.spec.by_role(Role.OUTPUT)
        if output not in outputs:
            raise UserError(
                f"{self.name} has no output {output!r}.", expected=f"one of {', '.join(outputs)}", received=output
            )
        return Channel(self.name, output, outputs[output].type)

    def upstream(self) -> set[str]:
        """Returns the names of the nodes whose outputs this one reads in the same run."""
        return {source.node for source in self.sources.values() if isinstance(source, Channel)}

    def checks(self) -> Iterator[tuple[Check, dict[str, Channel], dict[str, Any]]]:
        """Yields the component's checks, each with the channels and the parameters that it takes, by name."""
        for check in self.component.spec.checks:
            names = inspect.signature(check).parameters
            channels = {n: s for n, s in self.sources.items() if n in names and isinstance(s, Channel)}
            yield check, channels, {n: value for n, value in self.parameters.items() if n in names}


class Pipeline:
    """A pipeline: its nodes, in an order in which they can run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, Node] = {}

    def add(self, component: Component, section: BaseModel | None = None, /, **arguments: Any) -> Node:
        """Adds a component, checks its arguments against its signature, and returns the node.

        Args:
            component: The component.
            section: Its section of the configuration: a parameter a field.
            **arguments: Its inputs, as channels of nodes added before, and the parameters without a default.

        Raises:
            UserError: An argument is unknown or missing, has another artifact type, or comes from an unknown node.
        """
        spec = component.spec
        if spec.name in self.nodes:
            raise UserError(f"The pipeline has two nodes {spec.name!r}.", expected="every component once")
        inputs, parameters = spec.by_role(Role.INPUT), spec.by_role(Role.PARAMETER)
        values = {**({} if section is None else dict(section)), **arguments}
        _check_names(spec.name, values, [*inputs, *parameters])
        sources = {name: self._source(spec, declared, values.get(name)) for name, declared in inputs.items()}
        node = Node(
            spec.name,
            component,
            {name: source for name, source in sources.items() if source is not None},
            {name: _parameter(spec.name, declared, values) for name, declared in parameters.items()},
        )
        self.nodes[node.name] = node
        return node

    def _source(self, spec: ComponentSpec, declared: Argument, source: Any) -> Source | None:
        if source is None and declared.optional:
            return None
        _check_type(spec.name, declared, *self._origin(spec, declared, source))
        if isinstance(source, LatestBlessed | Latest | Previous) and not declared.optional:
            raise UserError(
                f"{spec.name} needs {declared.name!r}, and there may be none yet.",
                expected=f"Input[{declared.type.__name__}] | None",
                received=f"Input[{declared.type.__name__}]",
            )
        found: Source = source
        return found

    def _origin(self, spec: ComponentSpec, declared: Argument, source: Any) -> tuple[type[Artifact], str]:
        """Returns the type of the artifact that a source gives, and what to call the source in an error."""
        if isinstance(source, Latest):
            return source.type, "the workspace"
        channel = source.channel if isinstance(source, LatestBlessed | Previous) else source
        if not isinstance(channel, Channel) or channel.node not in self.nodes:
            raise UserError(
                f"{spec.name} has no source for its input {declared.name!r}.",
                expected=f"a channel of type {declared.type.__name__} from a node added before",
                received=repr(source),
            )
        if isinstance(source, LatestBlessed) and source.output:
            return spec.by_role(Role.OUTPUT)[source.output].type, f"{spec.name}[{source.output!r}]"
        return channel.type, f"{channel.node}[{channel.output!r}]"

    def node(self, name: str) -> Node:
        """Returns the node of that name; raises UserError with the nearest name when there is none."""
        if name not in self.nodes:
            raise UserError(
                f"There is no stage {name!r}.{nearest(name, self.nodes)}",
                expected=f"one of {', '.join(self.nodes)}",
                received=name,
                next_step="fashion show",
            )
        return self.nodes[name]

    def downstream(self, name: str) -> list[str]:
        """Returns `name` and every node that depends on it, in running order."""
        reached = {self.node(name).name}
        for node in self.nodes.values():
            if node.upstream() & reached:
                reached.add(node.name)
        return [n for n in self.nodes if n in reached]

    def ancestors(self, name: str) -> list[str]:
        """Returns `name` and every node that it depends on, in running order."""
        reached = {self.node(name).name}
        for node in reversed(self.nodes.values()):
            if node.name in reached:
                reached |= node.upstream()
        return [n for n in self.nodes if n in reached]

    def needed(self, selected: Iterable[str]) -> list[Node]:
        """Returns the selected nodes and those that they read from, in running order."""
        names = {name for chosen in selected for name in (chosen, *self.nodes[chosen].upstream())}
        return [node for node in self.nodes.values() if node.name in names]

    def select(self, start: str | None, until: str | None, only: str | None) -> list[str]:
        """Returns the stages that `--from`, `--until` and `--only` select, in running order.

        Raises:
            UserError: A name is unknown, `--only` comes with another option, or no stage is selected.
        """
        if only is not None:
            if start is not None or until is not None:
                others = [option for option, stage in (("--from", start), ("--until", until)) if stage is not None]
                raise UserError(
                    "--only excludes --from and --until.",
                    expected="--only STAGE, or --from and --until",
                    received=f"--only {only} with {' and '.join(others)}",
                    next_step=f"fashion run --only {only}",
                )
            return [self.node(only).name]
        chosen = list(self.nodes) if start is None else self.downstream(start)
        if until is not None:
            chosen = [n for n in chosen if n in self.ancestors(until)]
        if not chosen:
            raise UserError(
                f"There is no stage from {start!r} to {until!r}.",
                expected="a stage and one that depends on it",
                received=f"--from {start} --until {until}",
                next_step="fashion show",
            )
        return chosen


def _check_type(component: str, declared: Argument, type: type[Artifact], origin: str) -> None:
    if not issubclass(type, declared.type):
        raise UserError(
            f"{component} gets the wrong artifact for its input {declared.name!r}.",
            expected=declared.type.__name__,
            received=f"{type.__name__} ({origin})",
        )


def _check_names(component: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"{component} has no argument {name!r}.{nearest(name, known)}",
                expected=", ".join(known),
                received=name,
            )


def _parameter(component: str, declared: Argument, values: Mapping[str, Any]) -> Any:
    if declared.name in values:
        return values[declared.name]
    if declared.default is inspect.Parameter.empty:
        raise UserError(f"{component} has no value for its parameter {declared.name!r}.", expected=str(declared.type))
    return declared.default
