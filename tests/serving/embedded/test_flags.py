"""The flags of the embedded server: how they are read, the defaults of our own ones, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from serving.embedded.flags import FlagError, parse_flags

BASE_PATH = "--model_base_path=models"
THREADS = ("session", "intra_op", "inter_op")


@pytest.mark.parametrize(
    ("arguments", "ui", "port"),
    [
        ([], True, 8500),
        (["--ui=false", "--port=9"], False, 9),
        (["--noui", "--port", "9"], False, 9),
        (["--ui=0"], False, 8500),
        (["--noui", "--ui"], True, 8500),
        (["--ui=FALSE", "--ui=1"], True, 8500),
        (["--ui", "--port=7", "--port=9"], True, 9),
    ],
)
def test_the_spellings_of_a_flag(arguments: list[str], ui: bool, port: int) -> None:
    """A value follows an equals sign or a blank, a switch needs none; of two equal flags the last counts."""
    flags = parse_flags([BASE_PATH, *arguments])
    assert (flags.ui, flags.port, flags.model_base_path) == (ui, port, "models")


def test_what_the_server_does_without_flags() -> None:
    """It listens on loopback alone, accepts 32 MiB, and logs nothing, in at most 8 files of 64 MiB without originals.

    The defaults of TensorFlow Serving's own flags are a case of the conformance suite.
    """
    flags = parse_flags([BASE_PATH])
    assert (flags.bind_address, flags.ui, flags.rest_api_max_body_bytes) == ("127.0.0.1", True, 32 * 2**20)
    assert (flags.request_log_prefix, flags.request_log_sampling_rate) == ("", 0.0)
    assert (flags.request_log_max_bytes, flags.request_log_max_files) == (64 * 2**20, 8)
    assert not flags.request_log_original_files and not flags.rest_api_enable_cors_support
    assert (flags.model_base_path, flags.model_config_file, flags.batching_parameters_file) == ("models", "", "")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--prot=1"], r"There is no flag --prot\. Did you mean '--port'\?"),
        (["--noport"], r"There is no flag --noport"),
        (["--noui=true"], r"There is no flag --noui"),
        (["port=1"], "An argument is not a flag"),
        ([BASE_PATH, "--port"], "The flag --port has no value.\nExpected: --port=8500"),
        (["--port=x"], "The flag --port cannot be read.\nExpected: a value of type int\nReceived: 'x'"),
        (["--ui=yes"], "The flag --ui cannot be read.\nExpected: true or false\nReceived: 'yes'"),
        ([], "--model_base_path or --model_config_file"),
        ([BASE_PATH, "--port=1", "--rest_api_port=1"], "Both ports are the same"),
        ([BASE_PATH, "--port=0", "--rest_api_port=0"], "Both ports are off"),
        ([BASE_PATH, "--batching_parameters_file=b"], "without setting --enable_batching to true"),
        ([BASE_PATH, "--enable_per_model_batching_parameters"], "needs batching"),
        ([BASE_PATH, *(f"--tensorflow_{kind}_parallelism=1" for kind in THREADS)], "All three flags"),
        ([BASE_PATH, "--request_log_sampling_rate=1.5"], "Expected: 0 to 1\nReceived: 1.5"),
        ([BASE_PATH, "--request_log_sampling_rate=-0.1"], "Expected: 0 to 1\nReceived: -0.1"),
    ],
)
def test_a_wrong_flag_is_explained(arguments: list[str], text: str) -> None:
    """The error for a wrong flag names the flag and the expected value."""
    with pytest.raises(FlagError) as refused:
        parse_flags(arguments)
    assert re.search(text, str(refused.value))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model_config_file=models.config"],
        [BASE_PATH, "--port=0", "--rest_api_port=1"],
        [BASE_PATH, "--port=1", "--rest_api_port=0"],
        [BASE_PATH, "--batching_parameters_file=b", "--enable_batching"],
        [BASE_PATH, "--enable_per_model_batching_parameters", "--enable_batching"],
        [BASE_PATH, "--request_log_sampling_rate=1"],
    ],
)
def test_flags_that_fit_together(arguments: list[str]) -> None:
    """One source of models, one port and one of a pair of flags is enough."""
    parse_flags(arguments)


@pytest.mark.parametrize(
    ("values", "threads"),
    [((0, 0, 0), (0, 0)), ((4, 0, 0), (4, 4)), ((4, 2, 0), (2, 0)), ((4, 0, 3), (0, 3)), ((0, 2, 3), (2, 3))],
)
def test_special_flags_of_threads_replace_the_common_one(
    values: tuple[int, int, int], threads: tuple[int, int]
) -> None:
    """If one of the two special flags is set, the common one does not count for the other."""
    pairs = zip(THREADS, values, strict=True)
    flags = parse_flags([BASE_PATH, *(f"--tensorflow_{kind}_parallelism={value}" for kind, value in pairs)])
    assert (flags.intra_op_threads, flags.inter_op_threads) == threads


def test_the_command_ends_with_one_line_and_status_2() -> None:
    """A wrong flag is reported before TensorFlow is imported, on the line that the engines show."""
    command = [sys.executable, "-m", "serving.embedded", "--prot=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "There is no flag --prot. Did you mean '--port'? Expected: a flag of TensorFlow Serving. Received: --prot=1.\n"
    )
