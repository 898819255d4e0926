"""A loaded version: its weights, its signatures, its errors, and how it is unloaded."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from grpc import StatusCode

from serving.embedded.errors import ServingError
from serving.embedded.servable import Servable, as_serving_error
from tests.waiting import wait_until


class Counting(tf.Module):
    """A model with a weight and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(3.0)
        self.count = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def weigh(self, x: Any) -> Any:
        """Reads a variable."""
        return {"y": self.weight * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def add(self, x: Any) -> Any:
        """Adds the two numbers of each row."""
        return {"y": tf.squeeze(x @ tf.ones((2, 1)), 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def count_up(self, x: Any) -> Any:
        """Changes a variable."""
        return {"y": self.count.assign_add(1.0) + 0.0 * x}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that multiplies by three, and adds pairs."""
    module = Counting()
    path = tmp_path_factory.mktemp("weigh") / "1"
    tf.saved_model.save(module, str(path), signatures={"weigh": module.weigh, "add": module.add})
    return path


def answers(path: Path, name: str) -> list[float]:
    """Returns two successive answers of a signature."""
    servable = Servable("m", 1, path)
    signature = servable.signatures[name]
    found = [float(servable.run(signature, {"x": np.ones(1, np.float32)}, ["y"])["y"][0]) for _ in range(2)]
    servable.close(1)
    return found


def test_a_stateless_graph_uses_its_saved_weights(path: Path) -> None:
    """A variable has its saved value as a constant."""
    assert answers(path, "weigh") == [3.0, 3.0]


def test_a_stateful_graph_keeps_its_state(tmp_path: Path) -> None:
    """A variable that requests change stays a variable."""
    module = Counting()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"count_up": module.count_up})
    assert answers(tmp_path / "1", "count_up") == [1.0, 2.0]


def test_signatures_are_those_of_the_graph(path: Path) -> None:
    """Names, types and shapes of inputs and outputs, with the method."""
    servable = Servable("m", 7, path)
    signature = servable.signatures["weigh"]
    assert (servable.model, servable.version, servable.path, servable.batching) == ("m", 7, path, None)
    assert (signature.name, signature.method) == ("weigh", "tensorflow/serving/predict")
    assert {name: (spec.dtype, spec.shape) for name, spec in signature.inputs.items()} == {"x": ("float", (-1,))}
    assert {name: (spec.dtype, spec.shape) for name, spec in signature.outputs.items()} == {"y": ("float", (-1,))}
    servable.close(0)


@pytest.mark.parametrize("shape", [(4, 3), (4,), (4, 2, 1)])
def test_a_wrong_shape_comes_before_the_message_of_the_graph(path: Path, shape: tuple[int, ...]) -> None:
    """The error names the input with the expected and the received shape; any number of rows fits."""
    servable = Servable("m", 1, path)
    signature = servable.signatures["add"]
    for count in (1, 4):
        assert servable.run(signature, {"x": np.ones((count, 2), np.float32)}, ["y"])["y"].tolist() == [2.0] * count
    with pytest.raises(ServingError) as refused:
        servable.run(signature, {"x": np.ones(shape, np.float32)}, ["y"])
    start = f"Input x has the wrong shape. Expected: [-1, 2]. Received: {list(shape)}. "
    assert refused.value.code is StatusCode.INVALID_ARGUMENT and refused.value.message.startswith(start)
    assert len(refused.value.message) > len(start)
    servable.close(0)


def test_a_version_is_unloaded_when_its_last_user_has_gone(path: Path) -> None:
    """Meanwhile new requests are refused, and those that have acquired it before may run."""
    servable = Servable("m", 1, path)
    assert servable.acquire()
    closed: list[bool] = []
    closing = threading.Thread(target=lambda: closed.append(servable.close(60)))
    closing.start()
    wait_until(lambda: servable._closing, "the version drains")
    assert not servable.acquire() and servable.acquire(again=True)
    servable.release()
    assert not closed
    answer = servable.run(servable.signatures["weigh"], {"x": np.ones(1, np.float32)}, ["y"])
    assert answer["y"].tolist() == [3.0]
    servable.release()
    closing.join()
    assert closed == [True] and not servable.acquire() and not servable.acquire(again=True)


def test_a_version_is_unloaded_although_a_run_does_not_end(path: Path) -> None:
    """After the time for that, which the caller learns."""
    servable = Servable("m", 1, path)
    with servable:
        servable.acquire()
        assert servable.close(0.01) is False and not servable.acquire(again=True)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ServingError(StatusCode.ABORTED, "as it is"), StatusCode.ABORTED, "as it is"),
        (tf.errors.DataLossError(None, None, " torn \n"), StatusCode.DATA_LOSS, "torn"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), StatusCode.RESOURCE_EXHAUSTED, "OOM"),
        (UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid"), StatusCode.INVALID_ARGUMENT, "a\ufffd"),
        (MemoryError(), StatusCode.RESOURCE_EXHAUSTED, "There is not enough memory."),
        (FileNotFoundError("gone"), StatusCode.NOT_FOUND, "gone"),
        (OSError("SavedModel file does not exist at: x"), StatusCode.NOT_FOUND, "SavedModel file does not exist at: x"),
        (OSError("other"), StatusCode.INTERNAL, "other"),
        (ValueError(), StatusCode.INTERNAL, "ValueError"),
        (ValueError("does not exist"), StatusCode.INTERNAL, "does not exist"),
    ],
)
def test_errors_of_tensorflow_keep_their_code(error: BaseException, code: StatusCode, message: str) -> None:
    """Others are INTERNAL, apart from missing files, memory and text that Python cannot decode."""
    found = as_serving_error(error)
    assert (found.code, found.message) == (code, message)


def test_a_directory_without_a_graph(tmp_path: Path) -> None:
    """The error of the load says so, and is NOT_FOUND."""
    with pytest.raises(ServingError, match="SavedModel file does not exist") as missing:
        Servable("m", 1, tmp_path)
    assert missing.value.code is StatusCode.NOT_FOUND


def test_outputs_may_share_a_tensor(tmp_path: Path) -> None:
    """Two names of one tensor both have its value, whatever their order among the requested outputs."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        outputs = {"same": 2.0 * x, "other": 3.0 * x}
        outputs["again"] = outputs["same"]
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, outputs)
    servable = Servable("m", 1, tmp_path / "1")
    signature = servable.signatures["serving_default"]
    for names in (["same", "other", "again"], ["again", "same", "other"], ["again"]):
        found = servable.run(signature, {"x": np.ones(1, np.float32)}, names)
        assert {name: array.tolist() for name, array in found.items()} == {
            name: [3.0 if name == "other" else 2.0] for name in names
        }
    servable.close(1)
