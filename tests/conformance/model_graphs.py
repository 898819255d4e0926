"""TensorFlow functions of the suite's models, each small enough that its answer is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

Signatures = dict[str, Any]
QUEUE = {"component_types": [tf.float32], "shapes": [[]], "capacity": 1}
HUGE = 2**45


def spec(dtype: Any, name: str, shape: Sequence[int | None] | None = None) -> Any:
    """Returns the specification of an input. Defaults to any rank."""
    return tf.TensorSpec(shape, dtype, name=name)


def half_plus(number: float) -> Signatures:
    """Returns 0.5 * x + `number` under the five signatures of TensorFlow Serving's own test model."""

    def parsed(examples: Any) -> Any:
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]

    floats = {"x": spec(tf.float32, "x"), "inputs": spec(tf.float32, "inputs")}
    texts = spec(tf.string, "inputs", [None])
    half = tf.function(lambda x: {"y": 0.5 * x + number}, input_signature=[floats["x"]])
    regress = tf.function(lambda inputs: {"outputs": 0.5 * parsed(inputs) + number}, input_signature=[texts])
    classify = tf.function(lambda inputs: {"scores": 0.5 * parsed(inputs) + number}, input_signature=[texts])
    regress_x2 = tf.function(lambda inputs: {"outputs": 0.5 * inputs + 3}, input_signature=[floats["inputs"]])
    classify_x2 = tf.function(lambda inputs: {"scores": 0.5 * inputs + 3}, input_signature=[floats["inputs"]])
    return {
        "serving_default": half,
        "regress_x_to_y": regress,
        "classify_x_to_y": classify,
        "regress_x2_to_y3": regress_x2,
        "classify_x2_to_y3": classify_x2,
    }


def counter() -> tuple[Signatures, Any]:
    """Returns the signatures of a counter and its variable; `push` appends a digit, so that order can be seen."""
    count = tf.Variable(0.0, name="count")

    def taking_nothing(change: Callable[[], Any]) -> Any:
        return tf.function(lambda: {"output": change()}, input_signature=[])

    def taking_delta(change: Callable[[Any], Any]) -> Any:
        return tf.function(
            lambda delta: {"output": change(tf.reduce_sum(delta))}, input_signature=[spec(tf.float32, "delta")]
        )

    return {
        "get_counter": taking_nothing(count.read_value),
        "incr_counter": taking_nothing(lambda: count.assign_add(1.0)),
        "reset_counter": taking_nothing(lambda: count.assign(0.0)),
        "incr_counter_by": taking_delta(count.assign_add),
        "push": taking_delta(lambda delta: count.assign(count * 10 + delta)),
    }, count


def echo(inputs: Mapping[str, Any]) -> Any:
    """Returns a function that returns its inputs; floats as doubles, which REST writes with all their digits."""

    def same(**values: Any) -> dict[str, Any]:
        return {
            name: tf.cast(value, tf.float64) if value.dtype == tf.float32 else tf.identity(value)
            for name, value in values.items()
        }

    specs = {name: spec(dtype, name) for name, dtype in inputs.items()}
    return tf.function(same).get_concrete_function(**specs)


def constant(outputs: Mapping[str, Any]) -> Any:
    """Returns a function that ignores its input `x` and returns these constants."""
    return tf.function(
        lambda x: {name: tf.identity(value) for name, value in outputs.items()},
        input_signature=[spec(tf.float32, "x")],
    )


def slow() -> Any:
    """Returns a function that takes as many seconds as the largest `x` says."""

    def wait(x: Any) -> dict[str, Any]:
        end = tf.timestamp() + tf.cast(tf.reduce_max(x), tf.float64)
        last = tf.while_loop(lambda now: now < end, lambda now: [tf.maximum(now, tf.timestamp())], [tf.timestamp()])
        with tf.control_dependencies(last):
            return {"y": tf.identity(x)}

    return tf.function(wait, input_signature=[spec(tf.float32, "x")])


def until_file() -> Any:
    """Returns a function that creates the file `begun`, and runs until the file `end` exists."""

    def wait(begun: Any, end: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.io.write_file(begun[0], "")]):
            exists = tf.while_loop(
                lambda exists: tf.logical_not(exists),
                lambda exists: [tf.size(tf.io.matching_files(end[0])) > 0],
                [tf.constant(False)],
            )
        with tf.control_dependencies(exists):
            return {"end": tf.identity(end)}

    return tf.function(wait, input_signature=[spec(tf.string, "begun"), spec(tf.string, "end")])


def sizes() -> Any:
    """Returns a function that returns for each row how many rows were run together."""
    return tf.function(
        lambda x: {"size": tf.fill(tf.shape(x)[:1], tf.shape(x)[0]), "y": tf.identity(x)},
        input_signature=[spec(tf.float32, "x", [None])],
    )


def positions() -> Any:
    """Returns a function that returns `x`, each row's position among the rows that ran together, and their sum.

    Negative numbers fail the run.
    """

    def locate(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x >= 0), ["a number is negative"])]):
            rows = tf.shape(x)[0]
            return {"y": tf.identity(x), "row": tf.range(rows), "total": tf.fill([rows], tf.reduce_sum(x))}

    return tf.function(locate, input_signature=[spec(tf.float32, "x")])


def misfits() -> Signatures:
    """Returns classify and regress signatures whose outputs do not have the required shapes or types."""
    texts = spec(tf.string, "inputs", [None])

    def returning(**outputs: Callable[[Any], Any]) -> Any:
        return tf.function(
            lambda inputs: {name: output(tf.size(inputs)) for name, output in outputs.items()}, input_signature=[texts]
        )

    def numbers(columns: int) -> Callable[[Any], Any]:
        return lambda count: tf.zeros([count, columns])

    return {
        "serving_default": returning(outputs=numbers(2)),
        "doubles": returning(outputs=lambda count: tf.zeros([count], tf.float64)),
        "single": returning(outputs=lambda count: tf.zeros([tf.minimum(count, 1)])),
        "uneven": returning(classes=lambda count: tf.fill([count, 2], "a"), scores=numbers(3)),
        "numbered": returning(classes=lambda count: tf.zeros([count, 2], tf.int32), scores=numbers(2)),
        "flat": returning(scores=lambda count: tf.zeros([count])),
        "three": returning(classes=lambda count: tf.fill([count, 2], "a"), scores=numbers(2), more=numbers(2)),
    }


def total() -> Any:
    """Returns a function whose output has no batch dimension."""
    return tf.function(lambda x: {"y": tf.reduce_sum(x)}, input_signature=[spec(tf.float32, "x", [None])])


def failing() -> Any:
    """Returns a function whose every run fails."""

    def fail(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_sum(x) != tf.reduce_sum(x), ["never runs"])]):
            return {"y": tf.identity(x)}

    return tf.function(fail, input_signature=[spec(tf.float32, "x")])


def sum_with_default() -> Any:
    """Returns a function a + b, whose b gets a default value in the file."""
    inputs = [spec(tf.float32, "a"), spec(tf.float32, "b")]
    return tf.function(lambda a, b: {"y": a + b}, input_signature=inputs)


def merged_examples() -> Any:
    """Returns a classifier whose class is its serialized example, so that a client can read it."""
    return tf.function(
        lambda inputs: {
            "classes": tf.io.encode_base64(inputs)[:, tf.newaxis],
            "scores": tf.zeros([tf.size(inputs), 1]),
        },
        input_signature=[spec(tf.string, "inputs", [None])],
    )


def failing_with() -> Any:
    """Returns a function that fails with the status code that its input names, by an operation that does."""

    def end(status: Any) -> dict[str, Any]:
        name = tf.reshape(status, [-1])[0]
        codes = tf.constant(["CANCELLED", "OUT_OF_RANGE", *FAILURES])
        chosen = tf.argmax(tf.cast(tf.equal(codes, name), tf.int32), output_type=tf.int32)
        branches = [_enqueue_closed, _read_past_the_end, *(lambda f=f: f(name) for f in FAILURES.values())]
        return {"status": tf.reshape(tf.switch_case(chosen, branches), [1])}

    return tf.function(end, input_signature=[spec(tf.string, "status")])


def _enqueue_closed() -> Any:
    queue = tf.raw_ops.FIFOQueueV2(**QUEUE)
    with tf.control_dependencies([tf.raw_ops.QueueCloseV2(handle=queue)]):
        put = tf.raw_ops.QueueEnqueueV2(handle=queue, components=[1.0])
    with tf.control_dependencies([put]):
        return tf.constant("never")


def _read_past_the_end() -> Any:
    return tf.strings.as_string(iter(tf.data.Dataset.range(0)).get_next())


def _write_protected(name: Any) -> Any:
    # The kernel itself refuses it, to root too, and inside a container.
    with tf.control_dependencies([tf.io.write_file("/proc/sys/kernel/ostype", name)]):
        return tf.constant("never")


def _allocate(name: Any) -> Any:
    size = tf.cast(tf.minimum(tf.strings.length(name), 1), tf.int64) * HUGE
    return tf.strings.as_string(tf.reduce_sum(tf.fill([size], 1.0)))


FAILURES: dict[str, Callable[[Any], Any]] = {
    "NOT_FOUND": lambda name: tf.io.read_file(tf.strings.join(["/nonexistent/", name])),
    # Reading a directory: "Is a directory".
    "FAILED_PRECONDITION": lambda name: tf.io.read_file(tf.strings.substr(tf.strings.join(["/", name]), 0, 1)),
    "PERMISSION_DENIED": _write_protected,
    "RESOURCE_EXHAUSTED": _allocate,
}
