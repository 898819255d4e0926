"""Renders the graph of a pipeline as text, as JSON content and as a Mermaid flowchart, and its parameters as text."""

from __future__ import annotations

from typing import Any

from pipeline.contract.component import Role
from pipeline.runner.configuration import Configuration
from pipeline.runner.fingerprint import SourceReader
from pipeline.runner.graph import Latest, LatestBlessed, Node, Pipeline, Previous, Source


def as_text(pipeline: Pipeline) -> str:
    """Returns a paragraph per stage: what it does, what it reads and from where, what it writes."""
    return "\n\n".join(_paragraph(node) for node in pipeline.nodes.values())


def _paragraph(node: Node) -> str:
    lines = [node.name, f"    {node.component.spec.summary}"]
    reads = [f"{name} <- {_origin(source)}" for name, source in node.sources.items()]
    writes = [f"{o.name} ({o.type.__name__})" for o in node.component.spec.by_role(Role.OUTPUT).values()]
    lines += [f"    reads   {line}" for line in reads]
    lines += [f"    writes  {line}" for line in writes]
    return "\n".join(lines)


def _origin(source: Source) -> str:
    if isinstance(source, Latest):
        return f"the newest {source.type.__name__} of the workspace, if there is one"
    if isinstance(source, LatestBlessed):
        what = f"the {source.output} of the" if source.output else "the"
        return f"{what} latest blessed {source.channel.type.__name__} other than {_origin(source.channel)}"
    if isinstance(source, Previous):
        return f"the previous {source.channel.type.__name__} other than {_origin(source.channel)}"
    return f"{source.node}[{source.output}]"


def as_json(pipeline: Pipeline, configuration: Configuration, sources: SourceReader) -> dict[str, Any]:
    """Returns the graph and the parameters as JSON content."""
    return {
        "pipeline": pipeline.name,
        "stages": [
            {
                "name": node.name,
                "summary": node.component.spec.summary,
                "inputs": {name: _origin(source) for name, source in node.sources.items()},
                "outputs": {o.name: o.type.__name__ for o in node.component.spec.by_role(Role.OUTPUT).values()},
                "libraries": list(sources.read(node.component.spec.module).libraries),
            }
            for node in pipeline.nodes.values()
        ],
        "configuration": configuration.model_dump(mode="json"),
    }


def as_mermaid(pipeline: Pipeline) -> str:
    """Returns a flowchart with an arrow per artifact, dotted where the artifact comes from an earlier run."""
    lines = ["flowchart TD"]
    for node in pipeline.nodes.values():
        lines.append(f"    {node.name}[{node.name}]")
        # What lies beside the latest blessed artifact comes with it, on the same arrow.
        drawn = [s for s in node.sources.values() if not (isinstance(s, LatestBlessed) and s.output)]
        lines += [f"    {_arrow(source)} {node.name}" for source in drawn]
    return "\n".join(lines)


def _arrow(source: Source) -> str:
    if isinstance(source, Latest):
        return f"earlier[(an earlier run)] -. newest {source.type.__name__} .->"
    if isinstance(source, LatestBlessed):
        return f"{source.channel.node} -. latest blessed .->"
    if isinstance(source, Previous):
        return f"{source.channel.node} -. previous .->"
    return f"{source.node} -- {source.type.__name__} -->"


def as_parameters(configuration: Configuration) -> str:
    """Returns every parameter as TOML-like lines with its description."""
    lines = [f"{'seed':<28} = {configuration.seed}", f"{'taxonomy':<28} = {configuration.taxonomy or '(five groups)'}"]
    for name in type(configuration).model_fields:
        section = getattr(configuration, name)
        fields = getattr(type(section), "model_fields", None)
        if fields:
            lines += ["", f"[{name}]"]
            lines += [f"{k:<28} = {_short(getattr(section, k))}\n    {f.description or ''}" for k, f in fields.items()]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, tuple) and value and not isinstance(value[0], str | int | float):
        return f"({len(value)} entries; see show --json)"
    return repr(value) if isinstance(value, str) else str(value)
