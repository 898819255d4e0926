"""A loaded version of a model: its graph in a TensorFlow session, with variables as constants, run by signature.

A session, not `tf.saved_model.load`: a callable of a session costs less from Python, takes tensors of any shape as
TensorFlow Serving does, and returns all its memory when it is closed. The callable has its tensors looked up in
advance, which TensorFlow's public `make_callable` repeats at every run: with the default network on two cores, one
image takes 1.13 ms of CPU instead of 1.41.

With constants, TensorFlow prepares the weights once and not at every run. Measured on two cores with the default
network: one image in 1.15 ms instead of 1.44, 32 in 9.1 instead of 10.2. The answers move by less than 2e-7, as between
any two machines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from grpc import StatusCode
from numpy.typing import NDArray
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

from serving.embedded.config_files import Batching
from serving.embedded.errors import ServingError, invalid
from serving.embedded.signatures import Signature, Tensors, TensorSpec
from serving.embedded.tensor_protos import type_name

CODES = {code.value[0]: code for code in StatusCode}
STATELESS = frozenset(
    {"Assert", "If", "PartitionedCall", "Placeholder", "StatefulPartitionedCall", "VarHandleOp", "While"}
)
"""Operations that TensorFlow calls stateful, although they keep no state between two runs."""
READ_VARIABLE = "ReadVariableOp"


class Servable:
    """A loaded version of a model.

    Attributes:
        model: The model's name.
        version: The version's number.
        path: The directory of its SavedModel.
        signature_defs: TensorFlow's SignatureDefs, by name.
        signatures: The same as `Signature`s, by name.
        batching: The batching parameters; None to run requests one by one.
        check_methods: Whether a signature's method has to fit the request; TensorFlow Serving's default is no.
    """

    def __init__(self, model: str, version: int, path: Path, tags: Collection[str] = ("serve",), config: Any = None):
        """Loads the version.

        Args:
            model: The model's name.
            version: The version's number.
            path: The directory of the SavedModel.
            tags: The tags of the graph to load.
            config: TensorFlow's ConfigProto for the session. Defaults to TensorFlow's defaults.

        Raises:
            ServingError: The SavedModel cannot be loaded.
        """
        self.model, self.version, self.path = model, version, path
        self.batching: Batching | None = None
        self.check_methods = False
        self._users = 0
        self._closing = self._closed = False
        self._idle = threading.Condition()
        self._callables: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Callable[..., Any]] = {}
        try:
            self._session, loaded = load(path, tags, config)
        except Exception as error:  # TensorFlow raises errors of any kind for a damaged file
            raise as_serving_error(error) from None
        self.signature_defs: Mapping[str, Any] = dict(loaded.signature_def)
        self.signatures = {name: _signature(name, item) for name, item in self.signature_defs.items()}

    def __enter__(self) -> Servable:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, again: bool = False) -> bool:
        """Registers a user of the version; every True needs a `release`.

        Args:
            again: For a request that has acquired the version before: it may continue while the version drains.

        Returns:
            Whether the version may be used; False when it is being unloaded.
        """
        with self._idle:
            allowed = not (self._closed if again else self._closing)
            self._users += allowed
            return allowed

    def release(self) -> None:
        """Unregisters a user of the version."""
        with self._idle:
            self._users -= 1
            if not self._users:
                self._idle.notify_all()

    def close(self, drain_seconds: float) -> bool:
        """Refuses new users, waits for the present ones, and frees the memory.

        Args:
            drain_seconds: The longest wait for users, in seconds.

        Returns:
            Whether all users had released the version.
        """
        with self._idle:
            self._closing = True
            drained = self._idle.wait_for(lambda: not self._users, drain_seconds)
            self._closed = True
        self._callables.clear()
        self._session.close()
        return drained

    def run(self, signature: Signature, inputs: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs a signature; may be called by several threads at once.

        Raises:
            ServingError: The graph refuses the inputs.
        """
        names = tuple(inputs)
        key = (signature.name, names, tuple(outputs))
        call = self._callables.get(key) or self._callables.setdefault(key, self._callable(signature, names, outputs))
        try:
            # A scalar string comes as bytes, everything else as an array.
            arrays = (np.array(each, object) if isinstance(each, bytes) else each for each in call(*inputs.values()))
            return dict(zip(outputs, arrays, strict=True))
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError) as error:
            raise _with_shape(as_serving_error(error), signature, inputs) from None

    def _callable(self, signature: Signature, names: Sequence[str], outputs: Sequence[str]) -> Callable[..., Any]:
        options = CallableOptions(
            feed=[signature.inputs[name].tensor for name in names],
            fetch=[signature.outputs[name].tensor for name in outputs],
        )
        # Not the public `make_callable`; the module says why.
        call: Callable[..., Any] = self._session._make_callable_from_options(options)
        return call


def as_serving_error(error: BaseException) -> ServingError:
    """Returns an error of TensorFlow with its code and message; most others become INTERNAL."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        return ServingError(CODES.get(error.error_code, StatusCode.UNKNOWN), str(error.message).strip())
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow quotes the request's bytes in its message, which its Python binding then cannot decode.
        return invalid(error.object.decode(errors="replace").strip())
    if isinstance(error, MemoryError):
        return ServingError(StatusCode.RESOURCE_EXHAUSTED, "There is not enough memory.")
    code = StatusCode.NOT_FOUND if isinstance(error, FileNotFoundError) else StatusCode.INTERNAL
    text = str(error).strip()
    # For a directory without a graph, tf.compat.v1's loader raises an OSError without a number.
    if isinstance(error, OSError) and "does not exist" in text:
        code = StatusCode.NOT_FOUND
    return ServingError(code, text or type(error).__name__)


def _signature(name: str, definition: Any) -> Signature:
    return Signature(
        name=name,
        method=definition.method_name,
        inputs={key: _spec(info) for key, info in sorted(definition.inputs.items())},
        outputs={key: _spec(info) for key, info in sorted(definition.outputs.items()) if info.dtype},
        optional={key: tf.make_ndarray(value) for key, value in definition.defaults.items()},
    )


def _spec(info: Any) -> TensorSpec:
    unknown = info.tensor_shape.unknown_rank
    shape = None if unknown else tuple(dimension.size for dimension in info.tensor_shape.dim)
    return TensorSpec(type_name(info.dtype), shape, info.name)


def _with_shape(error: ServingError, signature: Signature, inputs: Tensors) -> ServingError:
    """Puts a wrong shape before the graph's message, which names some operation deep inside."""
    if error.code not in (StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL):
        return error
    wrong = [name for name, value in inputs.items() if not _fits(value.shape, signature.inputs[name].shape)]
    if not wrong:
        return error
    first = wrong[0]
    expected, received = signature.inputs[first].shape, list(inputs[first].shape)
    return invalid(
        f"Input {first} has the wrong shape. Expected: {list(expected or ())}. Received: {received}. {error.message}"
    )


def _fits(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        wanted in (-1, size) for size, wanted in zip(shape, expected, strict=True)
    )


def load(path: Path, tags: Collection[str], config: Any = None) -> tuple[Any, Any]:
    """Loads a SavedModel, with its variables as constants unless its graph keeps state.

    Args:
        path: The SavedModel's directory.
        tags: The tags of the graph to load.
        config: TensorFlow's ConfigProto for the session. Defaults to TensorFlow's defaults.

    Returns:
        The session, and the MetaGraphDef with the signatures.

    Raises:
        Exception: TensorFlow cannot load the files.
    """
    session, loaded = _load_session(path, tags, _without_optimiser(config))
    definition = _reachable_graph(session.graph.as_graph_def(), _output_operations(loaded))
    if any(_keeps_state(op) for op in _operations(definition)):
        session.close()
        return _load_session(path, tags, config)
    try:
        constant = convert_variables_to_constants_from_session_graph(session, definition, _output_operations(loaded))
    finally:
        session.close()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(constant, name="")
    return tf.compat.v1.Session(graph=graph, config=config), loaded


def _load_session(path: Path, tags: Collection[str], config: Any) -> tuple[Any, Any]:
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config)
    try:
        with graph.as_default():
            return session, tf.compat.v1.saved_model.loader.load(session, list(tags), str(path))
    except Exception:
        session.close()
        raise


def _without_optimiser(config: Any) -> Any:
    """Returns the config of the session that only restores variables, for which an optimiser would not pay off."""
    changed = tf.compat.v1.ConfigProto()
    if config is not None:
        changed.CopyFrom(config)
    changed.graph_options.rewrite_options.disable_meta_optimizer = True
    return changed


def _output_operations(loaded: Any) -> list[str]:
    tensors = [info.name for each in loaded.signature_def.values() for info in each.outputs.values() if info.dtype]
    return sorted({name.partition(":")[0] for name in tensors})


def _keeps_state(op: str) -> bool:
    known = op_def_registry.get(op)
    return known is None or (known.is_stateful and op not in STATELESS and op != READ_VARIABLE)


def _reachable_graph(definition: Any, outputs: list[str]) -> Any:
    """Returns the part of a graph that the outputs need, and only the library functions that it reaches.

    A SavedModel's library has every function that was ever traced, and the conversion reads all of them, twice.
    """
    needed = tf.compat.v1.graph_util.extract_sub_graph(definition, outputs)
    functions = {function.signature.name: function for function in definition.library.function}
    reached: dict[str, Any] = {}
    waiting = list(needed.node)
    while waiting:
        for name in _called_functions(waiting.pop()):
            if name in functions and name not in reached:
                reached[name] = functions[name]
                waiting.extend(functions[name].node_def)
    needed.library.ClearField("function")
    needed.library.function.extend(reached.values())
    return needed


def _operations(definition: Any) -> Iterator[str]:
    yield from (node.op for node in definition.node)
    yield from (node.op for function in definition.library.function for node in function.node_def)


def _called_functions(node: Any) -> Iterable[str]:
    for value in node.attr.values():
        if value.WhichOneof("value") == "func":
            yield value.func.name
        yield from (each.name for each in value.list.func)
