"""What a run prints about its expected time, and the typed artifacts that it leaves for the panel."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.commands import summary
from pipeline.commands.cli import main
from pipeline.commands.options import assemble
from pipeline.commands.summary import expected_time, expected_time_announcer, print_summary
from pipeline.contract.artifacts import Artifact, Blessing, Examples, Model, ModelBlessing, PushedModel
from pipeline.contract.files import write_json
from pipeline.contract.processor import has_bfloat16
from pipeline.definition import COMPONENTS
from pipeline.runner.configuration import load_configuration
from pipeline.runner.local_runner import RunResult
from pipeline.runner.metadata_store import ArtifactRecord, MetadataStore
from pipeline.runner.store_recovery import Recovered
from pipeline.runner.workspace import Workspace
from tests.conftest import ROOT
from tests.pipeline.conftest import Run


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_fp16\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16x\n", False),
    ],
)
def test_bfloat16_is_read_from_the_processor_s_flags(flags: str, found: bool, tmp_path: Path) -> None:
    """Either flag is enough, and only a whole word counts."""
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}", encoding="utf-8")
    assert has_bfloat16(tmp_path / "cpuinfo") is found


def test_without_a_file_of_flags_nothing_is_known(tmp_path: Path) -> None:
    """Systems other than Linux have none."""
    assert has_bfloat16(tmp_path / "cpuinfo") is None


@pytest.mark.parametrize("profile", ["default", "quick", "full"])
def test_each_profile_states_its_minutes(profile: str) -> None:
    """The minutes come from the profile, and on a processor without bfloat16 they are those of the measured times."""
    minutes = load_configuration(COMPONENTS, profile).expected_minutes
    quickest = load_configuration(COMPONENTS, "quick").expected_minutes
    assert minutes is not None
    text = expected_time(profile, minutes, quickest, bfloat16=False)
    times = json.loads((ROOT / "docs" / "measurements" / "times.json").read_text(encoding="utf-8"))
    assert times[profile]["bfloat16"]["minutes"] == minutes
    assert f"the profile {profile} takes about {times[profile]['float32']['minutes']:.0f} minutes" in text
    quick = times["quick"]["float32"]["minutes"]
    assert (f"Quicker: --profile quick, about {quick:.0f} minutes." in text) == (profile != "quick")


@pytest.mark.parametrize(("minutes", "bfloat16"), [(4.5, True), (4.5, None), (None, False)])
def test_nothing_is_announced_where_the_minutes_hold_or_are_unknown(minutes: float | None, bfloat16: bool) -> None:
    """A processor with bfloat16, one whose flags cannot be read, and a profile without minutes."""
    assert expected_time("default", minutes, 1.3, bfloat16) == ""


@pytest.mark.parametrize(
    ("only", "stages", "count"),
    [
        (None, ["example_gen", "statistics_gen", "trainer", "evaluator"], 1),
        (None, ["trainer", "evaluator"], 1),
        (None, ["evaluator", "pusher"], 0),
        (None, [], 0),
        ("statistics_gen", ["statistics_gen"], 0),
    ],
)
def test_the_time_is_announced_once_and_only_before_training(
    only: str | None, stages: list[str], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that trains nothing states no time: everything up to the model is reused, or it was not selected."""
    monkeypatch.setattr(summary, "has_bfloat16", lambda: False)
    pipeline, configuration = assemble("fashion", Workspace(tmp_path), "default", None)
    announced: list[str] = []
    before_stage = expected_time_announcer(
        pipeline, pipeline.select(None, None, only), "default", configuration.expected_minutes, announced.append
    )
    for stage in stages:
        before_stage(stage)
    assert len(announced) == count and all("no bfloat16" in text for text in announced)


@pytest.mark.parametrize(
    ("bfloat16", "until", "stated"), [(False, "pusher", True), (False, "tuner", False), (True, "pusher", False)]
)
def test_explain_states_the_time_where_it_would_train(
    bfloat16: bool,
    until: str,
    stated: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The plan of a run ends with the minutes of a processor without bfloat16; JSON stays JSON."""
    monkeypatch.setattr(summary, "has_bfloat16", lambda: bfloat16)
    for form in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["explain", "--workspace", str(tmp_path), "--until", until, *form])
        assert ended.value.code == 0
        output = capsys.readouterr().out
        if form:
            assert json.loads(output)
        else:
            assert ("no bfloat16 arithmetic: the profile default takes about" in output) == stated


@pytest.mark.parametrize("count", [0, 2])
def test_warnings_about_the_examples_are_in_the_panel(count: int, tmp_path: Path) -> None:
    """The panel lists what ExampleValidator found without stopping, also where its result was reused."""
    anomaly = {
        "split": "test",
        "headline": "more near-duplicates",
        "expected": "10.0%",
        "received": "30.0% of 200\x1b[2J",
    }
    write_json(tmp_path / "validated" / "anomalies.json", [anomaly] * count)
    record = ArtifactRecord(1, "ExampleAnomalies", "validated", "", 0.0)
    console = Console(record=True, width=200)
    result = RunResult(tmp_path, 1, {"example_validator": {"anomalies": record}}, {}, 0.0)
    summary.print_summary(console, result, Workspace(tmp_path))
    lines = console.export_text().splitlines()
    # Names come from a catalogue: escape sequences do not reach the terminal.
    line = "  - test: more near-duplicates (expected 10.0%, received 30.0% of 200\\x1b[2J)"
    assert lines.count(line) == count and (f"Warnings about the examples: {count}" in lines) == bool(count)


def test_artifacts_of_a_run_are_found_by_type(run: Run) -> None:
    """A subtype is found under its own type and under its parent's; a type that no stage wrote is None."""
    result = run()
    assert list(result.find(Examples)) == ["source"] and (result.find(Examples)["source"].path / "numbers.txt").exists()
    assert isinstance(result.last(Blessing), ModelBlessing) and result.last(Blessing) == result.last(ModelBlessing)
    assert isinstance(result.last(Model), Model) and result.last(PushedModel) is None
    found = list(result.find(Artifact).values())
    assert len(found) > 1 and result.last(Artifact) == found[-1] != found[0]


@pytest.mark.parametrize("compared", [True, False])
def test_a_verdict_without_a_baseline_is_a_warning(compared: bool, tmp_path: Path) -> None:
    """The panel warns, counts only the rules that applied, and never claims that every rule holds."""
    line = {"rule": "accuracy at least 0.9", "value": 0.95, "passed": True, "applied": True, "note": ""}
    change = line | {"rule": "accuracy changes by at least -0.002", "applied": compared}
    comparison = "Compared with the last blessed model." if compared else "No earlier model to compare with: none."
    verdict = {"blessed": True, "reason": "", "compared": compared, "comparison": comparison, "rules": [line, change]}
    record = ArtifactRecord(1, "ModelBlessing", "artifacts/evaluator/1/blessing", "", 0.0)
    (tmp_path / record.uri).mkdir(parents=True)
    ModelBlessing(tmp_path / record.uri).write_json("verdict.json", verdict)
    result = RunResult(tmp_path, 1, {"evaluator": {"blessing": record}}, {}, 0.0)
    console = Console(record=True, width=200, file=io.StringIO(), color_system="standard", force_terminal=True)
    print_summary(console, result, Workspace(tmp_path))
    text, styled = console.export_text(clear=False), console.export_text(styles=True)
    if compared:
        assert "blessed, 2 of 2 rules passed. Every rule holds.\nCompared with the last blessed model." in text
        assert "Warning" not in text
    else:
        assert "blessed, 1 of 1 rules passed. Rules on changes that did not apply: 1. Every other rule holds.\n" in text
        assert "Every rule holds" not in text and "\x1b[1;33mWarning: No earlier model to compare with" in styled


def figure(value: float) -> dict[str, object]:
    """A figure with an interval of five points on each side."""
    return {"value": value, "interval": [value - 0.05, value + 0.05]}


def panel(artifacts: dict[str, tuple[str, str, object]], root: Path, width: int = 200, **more: object) -> str:
    """Returns the panel of a run whose stages have written these: a type, a file name and its content by stage."""
    found = {}
    for number, (stage, (kind, name, content)) in enumerate(artifacts.items(), start=1):
        write_json(root / stage / name, content)
        found[stage] = {"output": ArtifactRecord(number, kind, stage, "", 0.0)}
    fields = {"seconds": {}, "peak_mebibytes": 0.0} | more
    console = Console(record=True, width=width, file=io.StringIO())
    print_summary(console, RunResult(root, 1, found, **fields), Workspace(root))  # type: ignore[arg-type]
    return console.export_text()


def cells(text: str, heading: str) -> list[list[str]]:
    """Returns the rows of the table that begins with this heading, split at two or more spaces."""
    lines = [line.rstrip() for line in text.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    return [re.split(r" {2,}", line) for line in lines[start : lines.index("", start)]]


def test_every_figure_of_the_panel_stands_under_its_heading(tmp_path: Path) -> None:
    """Groups, macro means and simpler models are in percent with two digits, their intervals with one."""
    names = ("precision", "recall", "f1")
    group = {name: figure(0.61 + 0.05 * i) for i, name in enumerate(names)}
    overall = {f"macro_{name}": figure(0.81 + 0.05 * i) for i, name in enumerate(names)}
    simple = {"name": "nearest", "accuracy": figure(0.25), "macro_f1": figure(0.35), "hardest_group_f1": figure(0.45)}
    model = {"name": "this model", "accuracy": figure(0.95), "macro_f1": figure(0.85), "hardest_group_f1": None}
    ladder = [rung | {"hardest_group": "Dress"} for rung in (simple, model)]
    undefined = group | {"recall": {"value": None, "interval": [None, None]}}
    groups = {"Dress": group, "Bags": undefined}
    metrics = {"examples": 12345, "groups": groups, "overall": overall, "ladder": ladder}
    text = panel({"evaluator": ("ModelEvaluation", "metrics.json", metrics)}, tmp_path)
    assert "Percent of the 12,345 test images, with 95% intervals" in text
    assert cells(text, "group ") == [
        ["group", "precision", "recall", "F1"],
        ["Dress", "61.00 [56.0, 66.0]", "66.00 [61.0, 71.0]", "71.00 [66.0, 76.0]"],
        ["Bags", "61.00 [56.0, 66.0]", "not defined", "71.00 [66.0, 76.0]"],
        ["macro mean", "81.00 [76.0, 86.0]", "86.00 [81.0, 91.0]", "91.00 [86.0, 96.0]"],
    ]
    assert cells(text, "ladder ") == [
        ["ladder", "accuracy", "macro F1", "Dress F1"],
        ["nearest", "25.00 [20.0, 30.0]", "35.00 [30.0, 40.0]", "45.00 [40.0, 50.0]"],
        ["this model", "95.00 [90.0, 100.0]", "85.00 [80.0, 90.0]", "not defined"],
    ]
    assert f"Report   {tmp_path / 'evaluator' / 'report.html'}" in text.splitlines()


def test_the_verdicts_name_their_model_and_the_reason(tmp_path: Path) -> None:
    """The Evaluator judges the model, the InfraValidator the served one; a refusal gives its reason, and exits so."""
    rules = [{"passed": True, "applied": True}, {"passed": False, "applied": True}, {"passed": True, "applied": False}]
    refused = {"blessed": False, "reason": "Recall is low.", "rules": rules}
    served = {"blessed": True, "reason": "", "rules": [{"passed": True}, {"passed": True}]}
    artifacts: dict[str, tuple[str, str, object]] = {
        "evaluator": ("ModelBlessing", "verdict.json", refused),
        "infra_validator": ("InfraBlessing", "verdict.json", served),
    }
    lines = panel(artifacts, tmp_path).splitlines()
    assert "Model: NOT blessed, 1 of 2 rules passed. Recall is low." in lines
    assert "Served model: blessed, 2 of 2 rules passed. Every rule holds." in lines
    records = {name: {"blessing": ArtifactRecord(1, kind, name, "", 0.0)} for name, (kind, _, _) in artifacts.items()}
    result = RunResult(tmp_path, 1, records, {}, 0.0)
    assert summary.refusals(result, ["evaluator", "infra_validator"]) == ["evaluator: Recall is low."]
    assert summary.refusals(result, ["infra_validator"]) == []


@pytest.mark.parametrize(
    ("pushed", "version", "there", "expected"),
    [
        (True, 3, [2, 3], ["Pushed as version 3."]),
        (True, 3, [3, 7], ["Pushed as version 3.", "Version 7 is the newest, and is what TensorFlow Serving serves."]),
        (True, 3, [], ["Pushed as version 3.", "No version is the newest, and is what TensorFlow Serving serves."]),
        (False, None, [2], ["Not pushed: it was refused."]),
    ],
)
def test_the_panel_names_the_pushed_version_and_a_newer_one(
    pushed: bool, version: int | None, there: list[int], expected: list[str], tmp_path: Path
) -> None:
    """After a rollback, or beside another run, the pushed version is not the one that is served."""
    workspace = Workspace(tmp_path)
    for number in there:
        write_json(workspace.serving / str(number) / "saved_model.pb", {})
    record = {"pushed": pushed, "version": version, "path": "", "reason": "it was refused."}
    lines = panel({"pusher": ("PushedModel", "pushed.json", record)}, tmp_path).splitlines()
    assert [line for line in lines if "ushed" in line or "newest" in line] == expected
    assert (f"Model    {workspace.serving}" in lines) == bool(there)


def test_the_panel_ends_with_times_paths_and_commands(tmp_path: Path) -> None:
    """Every command names a workspace that is not the default one, quoted for a shell, and loopback alone."""
    root = tmp_path / "my work"
    workspace = Workspace(root)
    write_json(workspace.serving / "1" / "saved_model.pb", {})
    text = panel({}, root, seconds={"trainer": 150.0, "evaluator": 12.34}, peak_mebibytes=1536.0)
    lines = text.splitlines()
    assert "Time: 2.7 min in total; trainer 2.5 min, evaluator 12.3 s. Peak memory 1.50 GiB." in lines
    assert f"Logs     {workspace.logs}" in lines and "were reused" not in text
    assert f"Record   {workspace.store}  (fashion status --workspace '{root}')" in lines
    tail = {
        line.split()[0]: line
        for line in lines[lines.index(f"Record   {workspace.store}  (fashion status --workspace '{root}')") + 1 :]
        if line
    }
    assert list(tail) == ["Look", "Serve", "Ask", "Docker"]
    assert tail["Look"].endswith(f"fashion tensorboard --workspace '{root}'")
    assert tail["Serve"].endswith(f"fashion serve --workspace '{root}'")
    assert f"-p 127.0.0.1:8501:8501 -v '{workspace.serving}:/models/fashion' -e MODEL_NAME=fashion" in tail["Docker"]
    command = re.search(r'python3 -c "(.*)" \|', tail["Ask"])
    assert command is not None
    done = subprocess.run([sys.executable, "-c", command[1]], capture_output=True, text=True, check=True)
    (image,) = json.loads(done.stdout)["instances"]
    assert [len(row) for row in image] == [28] * 28 and all(0 <= p <= 255 for row in image for p in row)
    nothing = panel({}, tmp_path / "new")
    assert "Time:" not in nothing and "All 0 stages were reused; nothing has changed." in nothing


def test_the_default_workspace_needs_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the directory of the workspace the commands are as short as in the README."""
    monkeypatch.chdir(tmp_path)
    assert "  (fashion status)\n" in panel({}, Path("workspace"))


def test_the_latest_run_is_a_line_a_stage_with_its_artifacts(tmp_path: Path) -> None:
    """Every stage has its state, seconds and start; what is unusual stands below."""
    stage = {"stage": "trainer", "state": "COMPLETE", "seconds": 61.25, "started": "2026-01-02 03:04:05"}
    artifact = {"artifact": 7, "type": "Model", "path": "w/artifacts/trainer/3/model"}
    killed = {"stage": "evaluator", "state": "INTERRUPTED", "seconds": 0.0, "started": "2026-01-02 03:05:05"}
    table = {
        "run": 4,
        "pipeline": "fashion",
        "git_commit": "abc",
        "profile": "quick",
        "stages": [stage | {"artifacts": {"model": artifact}}, killed | {"artifacts": {}}],
        "unrecorded_stages": ["tuner", "pusher"],
        "unreadable_records": ["x/execution.json: broken"],
        "pushed_versions": [5, 3],
    }
    assert summary.latest_run_text(table).splitlines() == [
        "run 4 of fashion, profile quick, commit abc",
        "trainer            COMPLETE       61.2 s  2026-01-02 03:04:05",
        "    Model 7: w/artifacts/trainer/3/model",
        "evaluator          INTERRUPTED     0.0 s  2026-01-02 03:05:05",
        "pushed versions, newest first: 5, 3",
        "The run was killed in evaluator; fashion run resumes it.",
        "Finished but not in the metadata store: tuner, pusher. fashion run records them.",
        "Not a record of an execution: x/execution.json: broken",
    ]
    empty = dict.fromkeys(("stages", "unrecorded_stages", "unreadable_records", "pushed_versions"), ())
    assert summary.latest_run_text({"run": None, **empty}).splitlines() == [
        "No run is recorded.",
        "pushed versions, newest first: none",
    ]


def test_the_latest_run_has_what_its_stages_wrote(run: Run, workspace: Workspace) -> None:
    """Of two runs it is the second: its stages in order, with their seconds, outputs and profile, and no inputs."""
    run()
    run("source.count=5")
    for number in (2, 9):
        write_json(workspace.serving / str(number) / "saved_model.pb", {})
    with MetadataStore(workspace.store) as store:
        executions = [store.latest_execution(name) for name in ("source", "learn", "judge")]
        table = summary.latest_run(store, workspace, Recovered(stages=("a",), unreadable=("b",)))
    assert table["run"] == 2 and table["pushed_versions"] == [9, 2]
    assert (table["unrecorded_stages"], table["unreadable_records"]) == (["a"], ["b"])
    assert [(s["stage"], s["state"], s["execution"]) for s in table["stages"]] == [
        ("source", "COMPLETE", 4),
        ("learn", "COMPLETE", 5),
        ("judge", "COMPLETE", 6),
    ]
    for stage, execution in zip(table["stages"], executions, strict=True):
        assert execution is not None and stage["seconds"] == round(execution.seconds, 1)
        started = datetime.fromtimestamp(execution.start_time).isoformat(" ", "seconds")
        assert stage["started"] == started and stage["peak_mebibytes"] > 10
    (model,) = table["stages"][1]["artifacts"].values()
    assert model["type"] == "Model" and Path(model["path"]).is_dir() and "/learn/5/" in model["path"]
