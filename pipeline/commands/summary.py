"""What commands print about a run: the expected time, the panel at the end, and the latest run for `status`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.artifacts import Blessing, ExampleAnomalies, ModelBlessing, ModelEvaluation, PushedModel
from pipeline.contract.printable import printable_lines
from pipeline.contract.processor import has_bfloat16
from pipeline.runner.display import format_duration
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipeline.runner.graph import Pipeline
    from pipeline.runner.local_runner import RunResult
    from pipeline.runner.metadata_store import ExecutionRecord, MetadataStore
    from pipeline.runner.store_recovery import Recovered

QUICKEST = "quick"
WARNING = "Warning"
SLOWER_WITHOUT_BFLOAT16 = 4.36
"""The ratio of a run's times without and with bfloat16 arithmetic, measured with the default profile on two AMD EPYC;
`docs/measurements/times.json` has both."""


def expected_time(profile: str, minutes: float | None, quickest: float | None, bfloat16: bool | None) -> str:
    """Returns how long a profile takes on a processor without bfloat16 arithmetic; empty on one that has it.

    Args:
        profile: The profile's name or path.
        minutes: Those of the profile on a processor with bfloat16 arithmetic; None where the profile states none.
        quickest: The minutes of the quickest profile, likewise.
        bfloat16: Whether the processor has bfloat16 arithmetic; None where that is not known.
    """
    if minutes is None or bfloat16 is not False:
        return ""
    text = (
        f"This processor has no bfloat16 arithmetic: the profile {profile} takes about "
        f"{SLOWER_WITHOUT_BFLOAT16 * minutes:.0f} minutes on 2 cores, instead of {minutes:g}."
    )
    if quickest is None or quickest >= minutes:
        return text
    return f"{text} Quicker: --profile {QUICKEST}, about {SLOWER_WITHOUT_BFLOAT16 * quickest:.0f} minutes."


def expected_time_here(profile: str, minutes: float | None) -> str:
    """Returns how long a profile takes on this processor; empty where it has bfloat16 arithmetic, or is not known."""
    from pipeline import definition
    from pipeline.runner.configuration import load_configuration

    quickest = load_configuration(definition.COMPONENTS, QUICKEST).expected_minutes
    return expected_time(profile, minutes, quickest, has_bfloat16())


def expected_time_announcer(
    pipeline: Pipeline, selected: Collection[str], profile: str, minutes: float | None, announce: Callable[[str], None]
) -> Callable[[str], None]:
    """Returns a function for a runner to call before every stage that runs: it announces the expected time once.

    It does so before the first stage that the Trainer depends on, or the Trainer itself. Where all of these are reused,
    nothing is trained and nothing is announced.
    """
    from components.trainer import trainer

    name = trainer.spec.name
    waiting = set(pipeline.ancestors(name)) & set(selected) if name in selected else set()

    def before_stage(stage: str) -> None:
        if stage in waiting:
            waiting.clear()
            if text := expected_time_here(profile, minutes):
                announce(text)

    return before_stage


def planned_training_time(running: Collection[str], profile: str, minutes: float | None) -> str:
    """Returns the expected time on this processor where the Trainer is among the stages that would run; else empty."""
    from components.trainer import trainer

    return expected_time_here(profile, minutes) if trainer.spec.name in running else ""


def refusals(result: RunResult, selected: Collection[str]) -> list[str]:
    """Returns why the model was refused, a sentence a selected stage that judged it; empty when it was blessed."""
    verdicts = {stage: b.verdict() for stage, b in result.find(Blessing).items() if stage in selected}
    return [f"{stage}: {verdict['reason']}" for stage, verdict in verdicts.items() if not verdict["blessed"]]


def print_summary(console: Console, result: RunResult, workspace: Workspace) -> None:
    """Prints how good the model is, whether it was blessed and why, and what to type next, as far as stages ran."""
    evaluation = result.last(ModelEvaluation)
    console.print()
    if evaluation is not None:
        metrics = evaluation.metrics()
        console.print(_groups(metrics))
        console.print()
        console.print(_ladder(metrics))
        console.print()
    for line in [*_warnings(result), *_verdict(result, workspace), *_times(result), *_paths(evaluation, workspace)]:
        console.print(
            printable_lines(line),
            soft_wrap=True,
            markup=False,
            style="bold yellow" if line.startswith(WARNING) else None,
        )
    if not result.seconds:
        console.print(f"All {len(result.artifacts)} stages were reused; nothing has changed.")


def _groups(metrics: Mapping[str, Any]) -> Table:
    """Returns the groups' figures on the official test split."""
    table = _table("group", "precision", "recall", "F1")
    table.title = f"Percent of the {metrics['examples']:,} test images, with 95% intervals"
    for name, group in metrics["groups"].items():
        table.add_row(name, *[_interval(group[metric]) for metric in ("precision", "recall", "f1")])
    overall = metrics["overall"]
    table.add_row("macro mean", *[_interval(overall[f"macro_{metric}"]) for metric in ("precision", "recall", "f1")])
    return table


def _ladder(metrics: Mapping[str, Any]) -> Table:
    """Returns the figures of the model and of simpler ones."""
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


def _warnings(result: RunResult) -> list[str]:
    """Returns what the validation of the examples found and did not stop at."""
    found = [a for anomalies in result.find(ExampleAnomalies).values() for a in anomalies.anomalies()]
    lines = [f"  - {a['split']}: {a['headline']} (expected {a['expected']}, received {a['received']})" for a in found]
    return [f"Warnings about the examples: {len(found)}", *lines, ""] if lines else []


def _verdict(result: RunResult, workspace: Workspace) -> list[str]:
    lines = []
    for blessing in result.find(Blessing).values():
        verdict = blessing.verdict()
        model = "Model" if isinstance(blessing, ModelBlessing) else "Served model"
        # Verdicts of earlier versions, and those on the served model, do not say whether a rule applied.
        applied = [rule for rule in verdict["rules"] if rule.get("applied", True)]
        passed = sum(rule["passed"] for rule in applied)
        outcome = "blessed" if verdict["blessed"] else "NOT blessed"
        unused = len(verdict["rules"]) - len(applied)
        held = (
            f"Rules on changes that did not apply: {unused}. Every other rule holds." if unused else "Every rule holds."
        )
        reason = verdict["reason"] or held
        lines.append(f"{model}: {outcome}, {passed} of {len(applied)} rules passed. {reason}")
        if "comparison" in verdict:
            lines.append(verdict["comparison"] if verdict["compared"] else f"{WARNING}: {verdict['comparison']}")
    if (pushed := result.last(PushedModel)) is not None:
        record, numbers = pushed.record(), _pushed_numbers(workspace)
        lines.append(
            f"Pushed as version {record['version']}." if record["pushed"] else f"Not pushed: {record['reason']}"
        )
        if record["pushed"] and numbers[:1] != [record["version"]]:
            newest = f"Version {numbers[0]}" if numbers else "No version"
            lines.append(f"{newest} is the newest, and is what TensorFlow Serving serves.")
    return [*lines, ""] if lines else []


def _times(result: RunResult) -> list[str]:
    if not result.seconds:
        return []
    stages = ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in result.seconds.items())
    total = format_duration(sum(result.seconds.values()))
    return [f"Time: {total} in total; {stages}. Peak memory {result.peak_mebibytes / 1024:.2f} GiB.", ""]


def _paths(evaluation: ModelEvaluation | None, workspace: Workspace) -> list[str]:
    """Returns where the output is, and the commands to type next."""
    root = workspace.root
    option = "" if root == Path("workspace") else f" --workspace {shlex.quote(str(root))}"
    lines = [f"Report   {evaluation.report_file}"] if evaluation is not None else []
    lines += [f"Logs     {workspace.logs}", f"Record   {workspace.store}  (fashion status{option})"]
    if _pushed_numbers(workspace):
        lines.insert(0, f"Model    {workspace.serving}")
        lines += ["", *_commands(workspace, option)]
    return lines


def _commands(workspace: Workspace, option: str) -> list[str]:
    mount = shlex.quote(f"{workspace.serving.absolute()}:/models/fashion")
    # A grey ramp, so that the request can be typed; any 28 rows of 28 numbers from 0 to 255 will do.
    request = "import json; print(json.dumps({'instances': [[list(range(0,252,9))]*28]}))"
    # After `make run` the environment is not activated.
    program = "fashion" if shutil.which("fashion") else os.path.relpath(Path(sys.executable).with_name("fashion"))
    return [
        f"Look     {program} tensorboard{option}",
        f"Serve    {program} serve{option}",
        f'Ask      python3 -c "{request}" | curl -s -d @- http://127.0.0.1:8501/v1/models/fashion:predict',
        f"Docker   docker run --rm -p 127.0.0.1:8501:8501 -v {mount} -e MODEL_NAME=fashion tensorflow/serving",
    ]


def _pushed_numbers(workspace: Workspace) -> list[int]:
    """Returns the numbers of the pushed versions, newest first."""
    from serving.versions import versions

    return [version.number for version in reversed(versions(workspace.serving))]


def latest_run(store: MetadataStore, workspace: Workspace, recovered: Recovered | None = None) -> dict[str, Any]:
    """Returns the latest run with its stages as JSON content; without a run, an empty list of stages.

    Args:
        store: The metadata store.
        workspace: Its workspace. A stage that the store has as RUNNING is INTERRUPTED when nobody locks the workspace.
        recovered: What the next run will record first. Defaults to nothing.
    """
    found = store.latest_run()
    run, properties = found or (None, {})
    executions = store.run_executions(run) if run is not None else []
    return {
        "run": run,
        "pipeline": properties.get("pipeline"),
        "git_commit": properties.get("git_commit"),
        "profile": properties.get("profile"),
        "stages": [_stage(store, workspace, e) for e in executions],
        "unrecorded_stages": list(recovered.stages) if recovered else [],
        "unreadable_records": list(recovered.unreadable) if recovered else [],
        "pushed_versions": _pushed_numbers(workspace),
    }


def _stage(store: MetadataStore, workspace: Workspace, execution: ExecutionRecord) -> dict[str, Any]:
    outputs = store.events(execution.id, "OUTPUT")
    killed = execution.state == "RUNNING" and not workspace.is_in_use()
    return {
        "stage": execution.type,
        "execution": execution.id,
        "state": "INTERRUPTED" if killed else execution.state,
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(execution.start_time)),
        "seconds": round(execution.seconds, 1),
        "peak_mebibytes": execution.properties.get("peak_mebibytes"),
        "artifacts": {
            name: {"artifact": a.id, "type": a.type, "path": str(workspace.root / a.uri)} for name, a in outputs.items()
        },
    }


def latest_run_text(table: Mapping[str, Any]) -> str:
    """Returns the latest run as lines: a stage a line, its artifacts under it."""
    lines = ["No run is recorded."]
    if table["run"] is not None:
        lines = [f"run {table['run']} of {table['pipeline']}, profile {table['profile']}, commit {table['git_commit']}"]
    for stage in table["stages"]:
        lines.append(f"{stage['stage']:<18} {stage['state']:<11} {stage['seconds']:>7.1f} s  {stage['started']}")
        lines += [f"    {a['type']} {a['artifact']}: {a['path']}" for a in stage["artifacts"].values()]
    versions = ", ".join(map(str, table["pushed_versions"])) or "none"
    lines.append(f"pushed versions, newest first: {versions}")
    interrupted = [stage["stage"] for stage in table["stages"] if stage["state"] == "INTERRUPTED"]
    if interrupted:
        lines.append(f"The run was killed in {', '.join(interrupted)}; fashion run resumes it.")
    if unrecorded := table["unrecorded_stages"]:
        lines.append(f"Finished but not in the metadata store: {', '.join(unrecorded)}. fashion run records them.")
    lines += [f"Not a record of an execution: {file}" for file in table["unreadable_records"]]
    return "\n".join(lines)
