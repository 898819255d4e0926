"""Tests of the checks that components declare: when they run, and what they find before the first stage."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.search.space import NAMES
from pipeline import definition
from pipeline.contract.artifacts import Examples
from pipeline.contract.errors import UserError
from pipeline.runner.configuration import load_configuration
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.plan import Planner
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Explain, Run


def test_a_parameter_of_the_last_stage_is_checked_before_the_first(run: Run, workspace: Workspace) -> None:
    """No stage runs, and none is recorded, when a later one cannot use its parameters."""
    with pytest.raises(UserError, match="No model can know"):
        run("judge.at_least=1001")
    assert not workspace.artifacts.exists()
    with MetadataStore(workspace.store) as store:
        assert store.latest_run() is None


def test_an_input_is_checked_as_soon_as_it_is_there(run: Run, workspace: Workspace) -> None:
    """A check that needs the output of a stage runs right after it, and again when that output is reused."""
    for _ in range(2):
        with pytest.raises(UserError, match="more steps than the numbers"):
            run("learn.steps=31")
        assert [p.parent.name for p in workspace.artifacts.glob("*/*")] == ["source"]
    assert set(run("learn.steps=30").seconds) == {"learn", "judge"}


def test_explain_runs_the_same_checks(run: Run, explain: Explain) -> None:
    """Explain reports a mistake as a run would, and checks nothing where everything is reused."""
    with pytest.raises(UserError, match="No model can know"):
        explain("judge.at_least=1001")
    run()
    with pytest.raises(UserError, match="more steps than the numbers"):
        explain("learn.steps=31")
    assert {d.action for d in explain().values()} == {"reuse"}


def test_a_stage_that_does_not_run_is_not_checked(run: Run) -> None:
    """`--until` leaves a later stage's mistake alone."""
    assert set(run("judge.at_least=1001", until="learn").seconds) == {"source", "learn"}


def test_a_missing_path_of_a_later_stage_is_found_before_the_first(tmp_path: Path) -> None:
    """Paths are read before anything runs, and the error names parameter and path."""
    check = checker(tmp_path)
    with pytest.raises(UserError, match="The path in schema_gen.curated cannot be read") as caught:
        check(f"schema_gen.curated={tmp_path / 'none.pbtxt'}")
    assert caught.value.received == f"{tmp_path / 'none.pbtxt'}: No such file or directory"


def test_a_changed_file_in_the_workspace_changes_the_key(run: Run, workspace: Workspace) -> None:
    """A file that counts by its content does so inside the workspace as well."""
    workspace.root.mkdir()
    extra = workspace.root / "extra.txt"
    extra.write_text("one")
    run(f"source.extra={extra}")
    extra.write_text("two")
    assert "source" in run(f"source.extra={extra}").seconds


def checker(directory: Path, profile: str = "default") -> Any:
    """Returns a function that checks the pipeline with overrides, as a run in an empty workspace does."""

    def check(*overrides: str) -> None:
        workspace = Workspace(directory / "workspace")
        pipeline = definition.fashion(load_configuration(definition.COMPONENTS, profile, overrides), workspace)
        with MetadataStore(Path(":memory:")) as store:
            Planner(pipeline, workspace, store).check("example_gen", list(pipeline.nodes), {})

    return check


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bulk_inferrer.split=test", "'train' or 'validation'"),
        ("evaluator.slice_by=['brightness_decil']", "Did you mean 'brightness_decile'?"),
        ("evaluator.slice_by=['source_id']", "differs in every example"),
        ("trainer.profile_batches=[0, 3]", "no range of batches"),
        ("trainer.profile_batches=[7, 3]", "no range of batches"),
        ("trainer.profile_batches=[4200, 4201]", "batches 1 to 4,200: 20 epochs of 210"),
        ("tuner.search_examples=255", "fewer examples than a batch holds"),
        ("infra_validator.engine=tensorflow_model_server", "tensorflow_model_server"),
        ("example_gen.files_below=/nowhere", "no folder"),
        ("seed=true", "a valid integer"),
        ("trainer.epochs=true", "a valid integer"),
        ("trainer.coverage=false", "a valid number"),
    ],
)
def test_a_mistake_in_a_parameter_is_found_before_the_first_stage(
    override: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each parameter whose mistake would stop a run after minutes, or change its result silently."""
    monkeypatch.setenv("PATH", str(tmp_path))  # without the program tensorflow_model_server
    with pytest.raises(UserError) as caught:
        checker(tmp_path)(override)
    assert message in str(caught.value) and override.partition("=")[0] in str(caught.value)


def test_valid_parameters_pass(tmp_path: Path) -> None:
    """The defaults, and values at the edges of what is allowed; other data than the published have another size."""
    check = checker(tmp_path)
    check()
    check("example_gen.verify_checksums=false", "trainer.profile_batches=[4200, 4201]")
    check(
        "bulk_inferrer.split=train",
        "evaluator.slice_by=['cluster', 'garment_name', 'taper_quintile']",
        "trainer.profile_batches=[1, 4200]",
        "tuner.search_examples=256",
        "trainer.texts=True",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tuner.warm_start", "{", "The search cannot start from"),
        ("tuner.warm_start", "[1]", "a table of values by name"),
        ("tuner.warm_start", json.dumps({"width": 7}), "width one of 24, 32, 48"),
        ("tuner.warm_start", json.dumps({"depth": 7}), f"some of {', '.join(NAMES)}"),
        ("schema_gen.curated", "feature { nmae: 'image' }", "cannot be read"),
    ],
)
def test_a_file_of_another_format_is_found_before_the_first_stage(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    """The files that later stages read are read before the first one."""
    file = tmp_path / "file"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        checker(tmp_path)(f"{name}={file}")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_that_editors_save_with_a_byte_order_mark_are_read(mark: str, tmp_path: Path) -> None:
    """Profile, taxonomy, warm start and schema may begin with one."""
    root = Path(definition.__file__).resolve().parents[1]
    texts = {
        "taxonomy.toml": (root / "models" / "fashion.toml").read_text(encoding="utf-8"),
        "schema.pbtxt": (root / "components" / "schema.pbtxt").read_text(encoding="utf-8"),
        "start.json": json.dumps({"width": 24}),
        "profile.toml": f"""
            taxonomy = "{tmp_path / "taxonomy.toml"}"
            [tuner]
            warm_start = "{tmp_path / "start.json"}"
            [schema_gen]
            curated = "{tmp_path / "schema.pbtxt"}"
        """,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(mark + text, encoding="utf-8")
    checker(tmp_path, str(tmp_path / "profile.toml"))()


@pytest.mark.parametrize(
    ("images", "parameters", "message"),
    [
        (1000, {"batch_size": 1001}, "larger than the training split"),
        (1000, {"batch_size": 100, "epochs": 2, "profile_batches": (5, 21)}, "beyond the end of the training"),
        (1000, {"batch_size": 1000}, ""),
        (1000, {"batch_size": 300, "epochs": 2, "profile_batches": (6, 6)}, ""),
        (0, {"batch_size": 1001}, ""),
    ],
)
def test_the_trainer_is_checked_when_the_number_of_images_is_known(
    images: int, parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Batches and profiled batches must lie within the training; batches that are not full are left out."""
    from components.trainer import trainer

    examples = Examples(tmp_path, {"train": images} if images else {})
    values = {"batch_size": 256, "epochs": 1, "profile_batches": None, **parameters}
    check = next(one for one in trainer.spec.checks if "examples" in inspect.signature(one).parameters)
    if not message:
        check(examples=examples, **values)
        return
    with pytest.raises(UserError, match=message):
        check(examples=examples, **values)


def test_the_trainer_is_checked_with_the_output_of_label_grouping() -> None:
    """So a batch that is too large is found before the search, not after it."""
    pipeline = definition.fashion(load_configuration(definition.COMPONENTS), Workspace(Path("workspace")))
    channels = [channels for _, channels, _ in pipeline.node("trainer").checks() if channels]
    assert [c["examples"].node for c in channels] == ["label_grouping"]
