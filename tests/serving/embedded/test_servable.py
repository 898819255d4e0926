"""A servable has its weights as constants, unless its graph keeps state between requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.embedded.servable import Servable


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

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def count_up(self, x: Any) -> Any:
        """Changes a variable."""
        return {"y": self.count.assign_add(1.0) + 0.0 * x}


def answers(path: Path, name: str) -> list[float]:
    """Returns two successive answers of a signature."""
    servable = Servable("m", 1, path)
    signature = servable.signatures[name]
    found = [float(servable.run(signature, {"x": np.ones(1, np.float32)}, ["y"])["y"][0]) for _ in range(2)]
    servable.close(1)
    return found


def test_a_stateless_graph_uses_its_saved_weights(tmp_path: Path) -> None:
    """A variable has its saved value as a constant."""
    module = Counting()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"weigh": module.weigh})
    assert answers(tmp_path / "1", "weigh") == [3.0, 3.0]


def test_a_stateful_graph_keeps_its_state(tmp_path: Path) -> None:
    """A variable that requests change stays a variable."""
    module = Counting()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"count_up": module.count_up})
    assert answers(tmp_path / "1", "count_up") == [1.0, 2.0]
