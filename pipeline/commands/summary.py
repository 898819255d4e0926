"""The panel at the end of a run: how good the model is, whether it was blessed and why, and what to type next."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runner.local_runner import RunResult
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def refusals(result: RunResult, workspace: Workspace, selected: Sequence[str]) -> list[str]:
    """Returns why the model was refused, a sentence a selected stage that judged it; empty when it was blessed."""
    verdicts = {name: _json(result, workspace, name, "blessing", "verdict.json") for name in selected}
    return [f"{name}: {v['reason']}" for name, v in verdicts.items() if v is not None and not v["blessed"]]


def print_summary(console: Console, result: RunResult, workspace: Workspace) -> None:
    """Prints what the run's stages made, as far as they ran."""
    metrics = _json(result, workspace, "evaluator", "evaluation", "metrics.json")
    console.print()
    if metrics is not None:
        console.print(_groups(metrics))
        console.print()
        console.print(_ladder(metrics))
        console.print()
    for line in [*_verdict(result, workspace), *_times(result), *_places(result, workspace)]:
        console.print(line, soft_wrap=True, markup=False)
    if not result.seconds:
        console.print(f"Everything was reused: {len(result.artifacts)} stages, nothing had changed.")


def _groups(metrics: Mapping[str, Any]) -> Table:
    """The groups' figures on the official test split."""
    table = _table("group", "precision", "recall", "F1")
    table.title = f"Percent of the {metrics['examples']:,} test images, with 95% intervals"
    for name, group in metrics["groups"].items():
        table.add_row(name, *[_interval(group[metric]) for metric in ("precision", "recall", "f1")])
    overall = metrics["overall"]
    table.add_row("their mean", *[_interval(overall[f"macro_{metric}"]) for metric in ("precision", "recall", "f1")])
    return table


def _ladder(metrics: Mapping[str, Any]) -> Table:
    """The model beside simpler ones."""
    hardest = metrics["ladder"][0]["hardest_group"]
    table = _table("ladder", "accuracy", "macro F1", f"{hardest} F1")
    for rung in metrics["ladder"]:
        table.add_row(rung["name"], *[_interval(rung[m]) for m in ("accuracy", "macro_f1", "hardest_group_f1")])
    return table


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(*headings, box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _interval(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "not defined"
    low, high = (100 * end for end in figure["interval"])
    return f"{100 * figure['value']:.2f} [{low:.1f}, {high:.1f}]"


def _verdict(result: RunResult, workspace: Workspace) -> list[str]:
    lines = []
    for stage, what in (("evaluator", "Model"), ("infra_validator", "Served model")):
        verdict = _json(result, workspace, stage, "blessing", "verdict.json")
        if verdict is not None:
            passed = sum(rule["passed"] for rule in verdict["rules"])
            outcome = "blessed" if verdict["blessed"] else "NOT blessed"
            reason = verdict["reason"] or "Every rule holds."
            lines.append(f"{what}: {outcome}, {passed} of {len(verdict['rules'])} rules passed. {reason}")
    pushed = _json(result, workspace, "pusher", "pushed", "pushed.json")
    if pushed is not None:
        lines.append(
            f"Pushed as version {pushed['version']}." if pushed["pushed"] else f"Not pushed: {pushed['reason']}"
        )
    newest = max((int(p.name) for p in workspace.serving.glob("[0-9]*") if p.name.isdigit()), default=None)
    if pushed is not None and pushed["pushed"] and newest != pushed["version"]:
        lines.append(f"Version {newest} is the newest, and is what TensorFlow Serving serves.")
    return [*lines, ""] if lines else []


def _times(result: RunResult) -> list[str]:
    if not result.seconds:
        return []
    stages = ", ".join(f"{name} {_minutes(seconds)}" for name, seconds in result.seconds.items())
    total = _minutes(sum(result.seconds.values()))
    return [f"Time: {total} in all; {stages}. Peak memory {result.peak_mebibytes / 1024:.2f} GiB.", ""]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _places(result: RunResult, workspace: Workspace) -> list[str]:
    """Where things are, and three commands to copy."""
    root = workspace.root
    option = "" if root == Path("workspace") else f" --workspace {shlex.quote(str(root))}"
    evaluation = result.artifacts.get("evaluator", {}).get("evaluation")
    lines = [f"Report   {root / evaluation.uri / 'report.html'}"] if evaluation else []
    lines += [f"Logs     {workspace.logs}", f"Record   {workspace.store}  (fashion status{option})"]
    versions = [p for p in workspace.serving.glob("[0-9]*") if p.is_dir()]
    if versions:
        lines.insert(0, f"Model    {workspace.serving}")
        lines += ["", *_commands(workspace, option)]
    return lines


def _commands(workspace: Workspace, option: str) -> list[str]:
    mount = shlex.quote(f"{workspace.serving.absolute()}:/models/fashion")
    # A grey ramp, so that the request can be typed; any 28 rows of 28 numbers from 0 to 255 will do.
    request = "import json; print(json.dumps({'instances': [[list(range(0,252,9))]*28]}))"
    # Whoever typed `make run` has not activated the environment.
    program = "fashion" if shutil.which("fashion") else os.path.relpath(Path(sys.executable).with_name("fashion"))
    return [
        f"Look     {program} tensorboard{option}",
        f"Serve    docker run --rm -p 127.0.0.1:8501:8501 -v {mount} -e MODEL_NAME=fashion tensorflow/serving",
        f'Ask      python3 -c "{request}" | curl -s -d @- http://127.0.0.1:8501/v1/models/fashion:predict',
    ]


def _json(result: RunResult, workspace: Workspace, stage: str, output: str, name: str) -> Any:
    artifact = result.artifacts.get(stage, {}).get(output)
    path = workspace.root / artifact.uri / name if artifact else None
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else None
