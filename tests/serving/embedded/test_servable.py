"""A graph is loaded with its weights as constants, unless it keeps state from one request to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.embedded.servable import Servable


class Counting(tf.Module):
    """Says how often it was asked, and what its weight is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(3.0)
        self.count = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def weigh(self, x: Any) -> Any:
        """Reads a variable."""
        return {"y": self.weight * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def remember(self, x: Any) -> Any:
        """Changes a variable."""
        return {"y": self.count.assign_add(1.0) + 0.0 * x}


def answers(path: Path, name: str) -> list[float]:
    """Two answers of a signature, one after the other."""
    servable = Servable("m", 1, path)
    signature = servable.signatures[name]
    found = [float(servable.run(signature, {"x": np.ones(1, np.float32)}, ["y"])["y"][0]) for _ in range(2)]
    servable.close(1)
    return found


def test_a_graph_that_only_reads_answers_with_its_weights(tmp_path: Path) -> None:
    """What was a variable when it was saved is the same number when it is served."""
    module = Counting()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"weigh": module.weigh})
    assert answers(tmp_path / "1", "weigh") == [3.0, 3.0]


def test_a_graph_that_keeps_state_keeps_it(tmp_path: Path) -> None:
    """A variable that a request changes stays one."""
    module = Counting()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"remember": module.remember})
    assert answers(tmp_path / "1", "remember") == [1.0, 2.0]
