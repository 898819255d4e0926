"""The planner: decides for every stage whether it runs or an earlier result is reused, and why.

The cache key of a stage consists of its parameters, the digests of its inputs, the source of its module and of every
module of ours that it reaches, the versions of the libraries that these import, and digests of what it reads
elsewhere, such as a database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel

from pipeline.contract.artifacts import Artifact
from pipeline.contract.component import Role
from pipeline.contract.errors import UserError
from pipeline.runner.fingerprint import ROOT, SourceReader, differences, digest_json, manifest
from pipeline.runner.graph import Channel, Latest, LatestBlessed, Node, Pipeline, Previous, Source
from pipeline.runner.metadata_store import ArtifactRecord, ExecutionRecord, MetadataStore
from pipeline.runner.workspace import Workspace

Action = Literal["run", "reuse", "keep"]

KINDS = {
    "parameters": "parameter",
    "inputs": "input",
    "modules": "module",
    "libraries": "library",
    "outside": "the",
}
"""The parts of a cache key, and what a reason calls a member of each."""

MAX_SHOWN_VALUES = 40
"""Lists whose text is longer, old and new together, are compared member by member."""


@dataclass(frozen=True)
class Decision:
    """The decision about one stage.

    Attributes:
        node: The stage.
        action: "run", "reuse" (an earlier execution has the same key), or "keep" (the stage is not selected, and its
            latest result is used unchanged).
        reasons: The reasons, one sentence each.
        parts: The parts of the cache key; empty when an input is not there yet.
        inputs: Input name to the artifact read; an optional input without an artifact is absent.
        outputs: Output name to the artifact reused; empty when the stage runs.
    """

    node: Node
    action: Action
    reasons: tuple[str, ...]
    parts: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, ArtifactRecord] = field(default_factory=dict)
    outputs: Mapping[str, ArtifactRecord] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The cache key: the SHA-256, in hex, of its parts."""
        return digest_json(self.parts)


def read_artifact(kind: type[Artifact], record: ArtifactRecord, workspace: Workspace) -> Artifact:
    """Returns an artifact, of a type or a subtype, as a component reads it: its properties lack the manifest."""
    properties = {name: value for name, value in record.properties.items() if name != "manifest"}
    kinds = {found.__name__: found for found in (kind, *kind.__subclasses__())}
    return kinds.get(record.type, kind)(workspace.root / record.uri, properties)


Available = dict[str, Mapping[str, ArtifactRecord]]
"""Stage name to the artifacts it has in this run, by output; a stage that would run has none yet."""


class Planner:
    """Decides which stages of a pipeline run, from the record of earlier executions.

    Args:
        pipeline: The pipeline.
        workspace: The workspace that holds the artifacts.
        store: The metadata store of the workspace.
        root: The directory that holds our packages. Defaults to the installed ones.
    """

    def __init__(self, pipeline: Pipeline, workspace: Workspace, store: MetadataStore, root: Path = ROOT) -> None:
        self._pipeline = pipeline
        self._workspace = workspace
        self._store = store
        self._sources = SourceReader(root, workspace.source_cache)
        self._verified: dict[int, str] = {}

    def explain(self, selected: Sequence[str], fresh: bool = False) -> list[Decision]:
        """Decides about every stage as a run would; stages after one that would run count as running as well."""
        available: Available = {}
        decisions: list[Decision] = []
        for node in self._pipeline.needed(selected):
            decision = self.decide(node, available, selected, fresh)
            if decision.action == "run" and all(d.action != "run" for d in decisions):
                self.check(node.name, selected, available)
            available[node.name] = decision.outputs
            decisions.append(decision)
        return decisions

    def check(self, start: str, selected: Sequence[str], available: Available, finished: str = "") -> None:
        """Runs the checks of a stage and of the selected ones after it that need no input, or one that is there.

        So the first stage to run is the moment at which mistakes in the parameters of all later ones are found.

        Args:
            start: The stage to begin with, in running order.
            selected: The names of the stages of the run.
            available: Stage name to the artifacts that it has.
            finished: Check only what the outputs of this stage decide. Defaults to all that can be checked.

        Raises:
            UserError: A path cannot be read, or a component cannot use its parameters, or an input with them.
        """
        names = list(self._pipeline.nodes)
        for node in (self._pipeline.nodes[n] for n in names[names.index(start) :] if n in selected):
            if not finished:
                parameters_of(node, self._workspace)
            for check, channels, parameters in node.checks():
                upstream = {channel.node for channel in channels.values()}
                if (finished in upstream or not finished) and all(available.get(stage) for stage in upstream):
                    inputs = {name: self._artifact(channel, available) for name, channel in channels.items()}
                    check(**inputs, **parameters)

    def _artifact(self, channel: Channel, available: Available) -> Artifact:
        return read_artifact(channel.type, available[channel.node][channel.output], self._workspace)

    def decide(self, node: Node, available: Available, selected: Sequence[str], fresh: bool) -> Decision:
        """Decides about one stage from the artifacts that the stages before it have in this run.

        Raises:
            UserError: The stage is not selected and has no intact earlier result.
        """
        if node.name not in selected:
            return self._keep(node)
        waiting = sorted(n for n in node.upstream() if n in available and not available[n])
        if waiting:
            return Decision(node, "run", tuple(f"{n}, which it reads from, would run" for n in waiting))
        inputs = self._inputs(node, available)
        parts = self._parts(node, inputs)
        if fresh:
            return Decision(node, "run", ("--fresh was given",), parts, inputs)
        earlier = self._store.latest_execution(node.name, digest_json(parts))
        if earlier is None:
            return Decision(node, "run", self._changes(node, parts), parts, inputs)
        outputs = self._store.events(earlier.id, "OUTPUT")
        damage = tuple(d for d in (self.damage(a) for a in outputs.values()) if d)
        if damage:
            return Decision(node, "run", damage, parts, inputs)
        return Decision(node, "reuse", ("nothing that it depends on has changed",), parts, inputs, outputs)

    def damage(self, artifact: ArtifactRecord) -> str:
        """Returns how the files of an artifact differ from the record; empty when they are intact."""
        if artifact.id not in self._verified:
            self._verified[artifact.id] = self._find_damage(artifact)
        return self._verified[artifact.id]

    def _find_damage(self, artifact: ArtifactRecord) -> str:
        path = self._workspace.root / artifact.uri
        if not path.is_dir():
            return f"its artifact {artifact.uri} is gone"
        wrong = differences(artifact.properties["manifest"], manifest(path))
        if wrong:
            return f"its artifact {artifact.uri} is damaged: {', '.join(wrong[:3])}"
        kind = self._output_type(artifact.type)
        return kind(path).damage() if kind is not None else ""

    def _output_type(self, name: str) -> Any:
        outputs = (o for n in self._pipeline.nodes.values() for o in n.component.spec.by_role(Role.OUTPUT).values())
        return next((o.type for o in outputs if o.type.__name__ == name), None)

    def _keep(self, node: Node) -> Decision:
        latest = self._store.latest_execution(node.name)
        outputs = self._store.events(latest.id, "OUTPUT") if latest else {}
        damage = [d for d in (self.damage(a) for a in outputs.values()) if d]
        if latest is None or damage:
            raise UserError(
                f"{node.name} is not selected and has no earlier result.",
                expected="a finished execution with its artifacts intact",
                received=damage[0] if damage else "none",
                next_step=f"fashion run --until {node.name}",
            )
        reason = f"not selected; the result of execution {latest.id} is used"
        inputs = self._store.events(latest.id, "INPUT")
        return Decision(node, "keep", (reason,), latest.properties["key_parts"], inputs, outputs)

    def _inputs(self, node: Node, available: Available) -> dict[str, ArtifactRecord]:
        found = {name: self._input(node, source, available) for name, source in node.sources.items()}
        return {name: artifact for name, artifact in found.items() if artifact is not None}

    def _input(self, node: Node, source: Source, available: Available) -> ArtifactRecord | None:
        if isinstance(source, Channel):
            return available[source.node][source.output]
        if isinstance(source, LatestBlessed):
            return self._latest_blessed(node, source, available)
        return self._previous(node, source, available) if isinstance(source, Previous) else self._latest(source)

    def _latest(self, source: Latest) -> ArtifactRecord | None:
        newest_first = reversed(self._store.artifacts(source.type.__name__))
        return next((artifact for artifact in newest_first if not self.damage(artifact)), None)

    def _previous(self, node: Node, source: Previous, available: Available) -> ArtifactRecord | None:
        """Returns the newest other artifact that a finished execution of this stage read from the channel."""
        current = available[source.channel.node][source.channel.output]
        read_as = next(name for name, other in node.sources.items() if other == source.channel)
        now = parameters_of(node, self._workspace)
        for execution in self._store.finished_executions(node.name):
            before = execution.properties["key_parts"]["parameters"]
            earlier = self._store.events(execution.id, "INPUT").get(read_as)
            comparable = all(before.get(name) == now[name] for name in source.same)
            if comparable and earlier and earlier.digest != current.digest and not self.damage(earlier):
                return earlier
        return None

    def _latest_blessed(self, node: Node, source: LatestBlessed, available: Available) -> ArtifactRecord | None:
        """Returns the artifact that this stage blessed last, or what the source names beside it or instead of it."""
        candidate = available[source.channel.node][source.channel.output]
        judged_as = next(name for name, other in node.sources.items() if other == source.channel)
        for blessing in reversed(self._store.artifacts("ModelBlessing")):
            judge = self._store.producer(blessing.id) if blessing.properties.get("blessed") else None
            if judge is None or judge.type != node.name or not _same_taxonomy(judge, node):
                continue
            judged = self._store.events(judge.id, "INPUT").get(judged_as)
            if judged is None or judged.digest == candidate.digest or self.damage(judged):
                continue
            if not source.output:
                return judged
            beside = self._store.events(judge.id, "OUTPUT")[source.output]
            return None if self.damage(beside) else beside
        other = source.otherwise(source.channel.type(self._workspace.root / candidate.uri))
        return None if other is None else self._unrecorded(other)

    def _unrecorded(self, artifact: Artifact) -> ArtifactRecord:
        """Returns an artifact that no stage wrote as the store would record it; its id is 0."""
        files = manifest(artifact.path)
        uri = artifact.path.relative_to(self._workspace.root).as_posix()
        return ArtifactRecord(
            0, type(artifact).__name__, uri, digest_json(files), 0.0, {**artifact.properties, "manifest": files}
        )

    def _parts(self, node: Node, inputs: Mapping[str, ArtifactRecord]) -> dict[str, Any]:
        spec = node.component.spec
        source = self._sources.read(spec.module)
        return {
            "component": spec.name,
            "parameters": parameters_of(node, self._workspace),
            "inputs": {name: artifact.digest for name, artifact in inputs.items()},
            "modules": dict(source.modules),
            "libraries": {library: _version(library) for library in source.libraries},
            "outside": dict(spec.outside(node.parameters)),
        }

    def _changes(self, node: Node, parts: Mapping[str, Any]) -> tuple[str, ...]:
        latest: ExecutionRecord | None = self._store.latest_execution(node.name)
        if latest is None:
            return ("it has never finished here",)
        before = latest.properties["key_parts"]
        changes = [*_moved_modules(before.get("modules", {}), parts["modules"])]
        for kind in KINDS:
            changes += _changed(kind, before.get(kind, {}), parts[kind])
        return tuple(changes) or ("an earlier version of it ran last",)


def parameters_of(node: Node, workspace: Workspace) -> dict[str, Any]:
    """Returns the parameters of a stage as JSON content, as its executions record them.

    A path in the workspace is relative to it, as a workspace may be moved.
    """
    declared = node.component.spec.by_role(Role.PARAMETER)
    root = workspace.root.absolute()

    def plain(name: str, value: Any) -> Any:
        own = isinstance(value, Path) and not _by_content(declared[name].type)
        if own and value.absolute().is_relative_to(root):
            return f"WORKSPACE/{value.absolute().relative_to(root).as_posix()}"
        return _plain(f"{node.name}.{name}", value, declared[name].type)

    return {name: plain(name, value) for name, value in node.parameters.items()}


def _same_taxonomy(judge: ExecutionRecord, node: Node) -> bool:
    """Returns whether an execution judged with the taxonomy of this stage; other groups are not comparable."""
    taxonomy = node.parameters.get("taxonomy")
    before = judge.properties["key_parts"]["parameters"].get("taxonomy")
    return bool(before == (taxonomy.to_table() if taxonomy is not None else None))


def _moved_modules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns one sentence for modules that the last execution ran and that have moved or are not used any more."""
    gone, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    if not gone:
        return [f"module {name} is used now" for name in new]
    if not new:
        return [f"module {name} is not used any more" for name in gone]
    return [
        f"source modules were moved or renamed since the last execution: {_some_are(gone)} gone, {_some_are(new)} new"
    ]


def _some_are(names: Sequence[str]) -> str:
    """Returns the first names, how many more there are, and the verb: "a is", or "a, b and 3 more are"."""
    return f"{_some(names)} {'is' if len(names) == 1 else 'are'}"


def _some(names: Sequence[str], separator: str = ", ", count: int = 2) -> str:
    """Returns the first names and how many more there are: "a, b and 3 more"."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return separator.join(names[:count]) + more


def _changed(kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each part of the key that differs; modules that appear or disappear are not among them."""
    names = before.keys() & now.keys() if kind == "modules" else before.keys() | now.keys()
    changes = []
    for name in sorted(names):
        if before.get(name) == now.get(name):
            continue
        values = f": {_some(_value_changes(before.get(name, 'nothing'), now.get(name, 'nothing')), '; ', 4)}"
        changes.append(f"{KINDS[kind]} {name} changed" + (values if kind in ("parameters", "libraries") else ""))
    return changes


def _value_changes(before: Any, now: Any, path: str = "") -> list[str]:
    """Returns how a value changed: "old -> new", and of tables and long lists only the members that differ."""
    where, pair = f"{path}: " if path else "", (before, now)
    if all(isinstance(value, Mapping) for value in pair):
        old, new = before, now
    elif len(f"{before}{now}") <= MAX_SHOWN_VALUES or not all(isinstance(value, list) for value in pair):
        return [f"{where}{before} -> {now}"]
    else:
        old, new = _members(before), _members(now)
    changes = []
    if removed := [str(name) for name in old if name not in new]:
        changes.append(f"{where}{_some(removed)} removed")
    if added := [str(name) for name in new if name not in old]:
        changes.append(f"{where}{_some(added)} added")
    for name in old:
        if name in new and old[name] != new[name]:
            changes += _value_changes(old[name], new[name], f"{path} {name}".strip())
    return changes or [f"{where}in another order"]


def _members(values: Sequence[Any]) -> dict[str, Any]:
    """Returns the members of a list under their names: the key `name` of a table, else the value as text."""
    return {value.get("name") or _text(value) if isinstance(value, Mapping) else str(value): value for value in values}


def _text(table: Mapping[str, Any]) -> str:
    """Returns the members of a table that have a value: "{metric accuracy, at_least 0.9}"."""
    return f"{{{', '.join(f'{name} {value}' for name, value in table.items() if value is not None)}}}"


@cache
def _version(library: str) -> str:
    """Returns the installed version; "not installed" for a library of an extra that this environment lacks."""
    try:
        installed = metadata.distribution(library)
    except metadata.PackageNotFoundError:
        return "not installed"
    # `installed.version` parses the whole file as an e-mail message, which takes longer than all other decisions.
    found = re.search(r"^Version: (.+)$", installed.read_text("METADATA") or "", re.MULTILINE)
    return found[1].strip() if found else installed.version


def _plain(name: str, value: Any, hint: Any) -> Any:
    """Returns a parameter as JSON content; a path declared `ExternalPath` as the digest of what it holds."""
    if isinstance(value, Path) and _by_content(hint):
        try:
            return {"content": digest_json(manifest(value))}
        except OSError as error:
            raise UserError(
                f"The path in {name} cannot be read.",
                expected="a file or directory that exists and that this user may read",
                received=f"{error.filename or value}: {error.strerror or error}",
                next_step=f"correct {name}, or leave it out",
            ) from None
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(name, member, hint) for member in value]
    if hasattr(value, "to_table"):
        return value.to_table()
    return str(value) if isinstance(value, Path) else value


def _by_content(hint: Any) -> bool:
    return "content" in getattr(hint, "__metadata__", ()) or any(_by_content(member) for member in get_args(hint))
