"""Tests of pipeline.runner.configuration: profiles, overrides, and errors that name key and values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.contract.errors import UserError
from pipeline.definition import COMPONENTS as FASHION
from pipeline.runner.configuration import RENAMED, Configuration, configuration_type, load_configuration
from tests.pipeline.runner.toy import COMPONENTS


def load(*overrides: str, profile: str = str(Path(__file__).with_name("toy.toml"))) -> Configuration:
    """Loads the toy configuration."""
    return load_configuration(COMPONENTS, profile, overrides)


def test_unknown_key_names_the_nearest() -> None:
    """The error for a misspelt key suggests the whole key to write."""
    with pytest.raises(UserError, match="no key 'learn.stepps'. Did you mean 'learn.steps'"):
        load("learn.stepps=3")


def test_unknown_key_of_a_profile_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt key in a file is refused with the whole key to write."""
    profile = tmp_path / "profile.toml"
    profile.write_text("[learn]\nstepps = 3\n")
    with pytest.raises(UserError, match="no key 'learn.stepps'. Did you mean 'learn.steps'"):
        load(profile=str(profile))


def test_unknown_section_names_the_nearest() -> None:
    """A misspelt section is refused with a suggestion."""
    with pytest.raises(UserError, match="no key 'lern'. Did you mean 'learn'"):
        load("lern.steps=3")


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_former_name_gives_the_present_one(former: str, present: str) -> None:
    """A parameter that was renamed is refused under its former name with the present one, which exists."""
    with pytest.raises(UserError, match=f"The parameter {former} has a new name") as caught:
        load_configuration(FASHION, "default", [f"{former}=1"])
    assert caught.value.expected == present and caught.value.received == former
    section, _, name = present.partition(".")
    assert name in configuration_type(tuple(FASHION)).model_fields[section].annotation.model_fields  # type: ignore[union-attr]


def test_wrong_type_says_expected_and_received() -> None:
    """A value of the wrong type is refused with both types."""
    with pytest.raises(UserError, match="'learn.steps' cannot be used") as caught:
        load("learn.steps=many")
    assert "integer" in caught.value.expected and caught.value.received == "'many' (str)"


def test_impossible_value_says_its_bound() -> None:
    """A value outside of its bounds is refused with the bound."""
    with pytest.raises(UserError) as caught:
        load("source.count=0")
    assert caught.value.expected == "greater than or equal to 1"


@pytest.mark.parametrize("assignment", ["learn.steps", "=3", "learn..steps=3"])
def test_malformed_assignment_is_refused(assignment: str) -> None:
    """The error for --set without a key or a value shows its form."""
    with pytest.raises(UserError, match="--set is malformed") as caught:
        load(assignment)
    assert caught.value.next_step == "fashion show --parameters"


def test_missing_profile_lists_the_known() -> None:
    """The error for a missing profile lists the existing ones."""
    with pytest.raises(UserError, match="Did you mean 'quick'") as caught:
        load(profile="quik")
    assert "catalogue, default, full, quick" in caught.value.expected
    assert caught.value.next_step == "fashion run --profile default"


def test_a_profile_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """A folder, like a file of another user, is there: the reason is not that it does not exist."""
    folder = tmp_path / "profile.toml"
    folder.mkdir()
    with pytest.raises(UserError, match="profile.toml cannot be read.\n.*\nReceived: Is a directory"):
        load_configuration(COMPONENTS, str(folder))


def test_broken_profile_says_where(tmp_path: Path) -> None:
    """The error for a profile that is not valid TOML names the line."""
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 3")
    with pytest.raises(UserError, match="is not valid TOML") as caught:
        load(profile=str(broken))
    assert "line 1" in caught.value.received
    assert str(broken) in caught.value.next_step


def test_configuration_is_frozen() -> None:
    """A parameter cannot be changed after it was checked."""
    with pytest.raises(ValidationError, match="frozen"):
        load().learn.steps = 3  # type: ignore[attr-defined]


@given(st.integers(1, 100))
def test_override_wins(count: int) -> None:
    """--set overrides the profile for every possible value."""
    assert load(f"source.count={count}").source.model_dump()["count"] == count


def test_the_last_override_wins_over_the_profile(tmp_path: Path) -> None:
    """A value on the command line replaces that of the profile, and a later one an earlier one."""
    profile = tmp_path / "profile.toml"
    profile.write_text("seed = 5\n[learn]\nsteps = 7\n")
    configuration = load("seed=6", "learn.steps=8", "learn.steps=9", profile=str(profile))
    assert (configuration.seed, configuration.learn.steps) == (6, 9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain words", "plain words"), ('"7"', "7"), ("error # no comment", "error # no comment"), ("", ""),
        ("/data/a.txt", "/data/a.txt"), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_a_value_is_toml_or_else_text(text: str, value: str) -> None:
    """A text needs no quotes on a command line; with them it is TOML's."""
    assert load(f"learn.fail={text}").learn.fail == value


@pytest.mark.parametrize(("text", "value"), [("True", True), ("true", True), ("False", False), ("false", False)])
def test_booleans_may_be_spelled_as_in_python(text: str, value: bool) -> None:
    """Both spellings mean the same."""
    configuration = load_configuration(FASHION, "default", [f"example_gen.allow_private={text}"])
    assert configuration.example_gen.allow_private is value


def test_a_value_has_no_members() -> None:
    """A path that leads through a value is refused, and one through a section that nothing else sets is not."""
    with pytest.raises(UserError, match="--set names a value inside a value") as caught:
        load("seed=3", "seed.first=4")
    assert caught.value.received == "seed.first=4"
    assert load(" learn . steps =3").learn.steps == 3


@pytest.mark.parametrize(
    ("override", "valid"),
    [("seed=0", True), ("seed=2147483647", True), ("seed=2147483648", False), ("seed=-1", False),
     ("expected_minutes=0", False), ("expected_minutes=0.1", True), ("source.count=100", True),
     ("source.count=101", False)],
)  # fmt: skip
def test_the_bounds_of_the_general_settings(override: str, valid: bool) -> None:
    """A seed has 31 bits, and a time is positive; the bounds themselves are valid where they are included."""
    if valid:
        load(override)
        return
    with pytest.raises(UserError, match="cannot be used"):
        load(override)
