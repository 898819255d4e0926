"""What a run prints about its expected time, and the typed artifacts that it leaves for the panel."""

from __future__ import annotations

import io
import json
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
from pipeline.runner.metadata_store import ArtifactRecord
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
        assert "blessed, 1 of 1 rules passed. 1 rules on changes did not apply. Every other rule holds.\n" in text
        assert "Every rule holds" not in text and "\x1b[1;33mWarning: No earlier model to compare with" in styled
