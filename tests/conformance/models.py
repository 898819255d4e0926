"""Writes the models that the cases need: `python -m tests.conformance.models DIR`.

Beside them, `models.config` and `monitoring.config` let any TensorFlow Serving serve them; the command prints how.
`warm-up/` holds the warm-up files that cases copy into versions of their own.

TensorFlow's writer gives every signature the method "predict" and the shapes of the graph. Other facts (classify,
regress, defaults, shapes narrower than the graph's) need an edit of the written file.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tests.conformance import model_graphs, warm_up_files
from tests.conformance.cases import load_cases
from tests.conformance.server import add_warm_up_file

METHOD = "tensorflow/serving/"
SignatureDefs = Any
"""The map of the file: a `SignatureDef` by the signature's key."""

ODD = "!#$%&'()*+,/:;=?@[]"
LABELS = {
    "half_plus_two": {"Version_Label": 123},
    "two_versions": {"A": 123, "B": 124, "canary-1.0 (é)": 123},
    "modelname": {"latest": 98},
    f"modelname{ODD}": {f"latest{ODD}": 123},
}
DIRECTORIES = {f"modelname{ODD}": "odd_name"}
MONITORING = 'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }\n'
CLASSES = {"classes": [["car", "bike", "bus"]] * 2, "scores": [[0.2, 0.7, 0.1], [0.7, 0.1, 0.2]]}
TYPES = {"float": tf.float32, "double": tf.float64, "half": tf.float16}


def write_models(folder: Path) -> None:
    """Writes all models and the two configurations; `models.config` last, as the sign that all is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_half_plus(folder)
    _write_versions(folder)
    _write_codec_models(folder)
    _write_special_models(folder)
    warm_up_files.write_files(folder / "warm-up")
    warmed = folder / "warmed" / "1"
    shutil.copytree(folder / "half_plus_two" / "123", warmed)
    add_warm_up_file(folder / "warm-up" / "every_kind", warmed)
    (folder / "monitoring.config").write_text(MONITORING)
    (folder / "models.config").write_text(_configuration(folder), encoding="utf-8")


def _write_half_plus(folder: Path) -> None:
    for number, name in ((2, "half_plus_two"), (3, "saved_model_half_plus_three")):
        save(folder / name / "123", model_graphs.half_plus(number))
        edit(folder / name / "123", _as_the_original)
    for name in ("default", "odd_name", "odd_method"):
        shutil.copytree(folder / "half_plus_two", folder / name)
    edit(folder / "odd_method" / "123", _with_an_odd_method)


def _as_the_original(definitions: SignatureDefs) -> None:
    """Sets shapes and methods as in TensorFlow Serving's test model, whose graph takes more shapes than it states."""
    set_shape(definitions["serving_default"].inputs["x"], (-1, 1))
    set_shape(definitions["serving_default"].outputs["y"], (-1, 1))
    definitions["regress_x_to_y"].method_name = METHOD + "regress"
    definitions["classify_x_to_y"].method_name = METHOD + "classify"


def _with_an_odd_method(definitions: SignatureDefs) -> None:
    definitions["serving_default"].method_name = "odd"


def _write_versions(folder: Path) -> None:
    for version in ("123", "124"):
        shutil.copytree(folder / "half_plus_two" / "123", folder / "two_versions" / version)
    # They answer differently, so that a predict shows which one a path has led to.
    shutil.copytree(folder / "half_plus_two" / "123", folder / "modelname" / "98")
    shutil.copytree(folder / "saved_model_half_plus_three" / "123", folder / "modelname" / "99")


def _write_codec_models(folder: Path) -> None:
    """Writes the models that return their inputs, and those that return the constants of a case."""
    setups = {case.setup["model"]: case.setup for case in load_cases() if case.kind == "rest" and "model" in case.setup}
    signatures: dict[str, Any] = {}
    for name, setup in setups.items():
        if "inputs" in setup:
            signatures[name] = model_graphs.echo({key: _dtype(text) for key, text in setup["inputs"].items()})
        elif "outputs" in setup:
            signatures[name] = model_graphs.constant({key: _constant(item) for key, item in setup["outputs"].items()})
    everything = folder / "everything.tmp"
    save(everything, signatures)
    for name in signatures:
        copy_with(everything, folder / name / "1", {"serving_default": name})
    shutil.rmtree(everything)


def _dtype(text: str) -> Any:
    return TYPES.get(text) or tf.dtypes.as_dtype(text)


def _constant(item: dict[str, Any]) -> Any:
    values = [float(Fraction(value)) if value == "1/3" else value for value in item.get("values", [])]
    return tf.constant(values, _dtype(item["dtype"]), item["shape"])


def _write_special_models(folder: Path) -> None:
    signatures, count = model_graphs.counter()
    save(folder / "counter" / "1", signatures, count)
    save(folder / "slow" / "1", {"serving_default": model_graphs.slow(), "until_file": model_graphs.until_file()})
    save(folder / "sizes" / "1", {"serving_default": model_graphs.sizes()})
    save(folder / "total" / "1", {"serving_default": model_graphs.total()})
    save(folder / "positions" / "1", {"serving_default": model_graphs.positions()})
    save(folder / "misfits" / "1", model_graphs.misfits())
    save(folder / "refusing" / "1", {"serving_default": model_graphs.failing()})
    save(folder / "statuses" / "1", {"serving_default": model_graphs.failing_with()})
    two_out = {"a": tf.zeros([2, 3]), "b": tf.zeros([1, 3])}
    save(folder / "two_out" / "1", {"serving_default": model_graphs.constant(two_out)})
    _write_classifiers(folder)
    _write_default(folder / "with_default" / "1")


def _write_classifiers(folder: Path) -> None:
    def always(inputs: Any) -> dict[str, Any]:
        return {name: tf.identity(tf.constant(value)) for name, value in CLASSES.items()}

    texts = [tf.TensorSpec([None], tf.string, "inputs")]
    save(folder / "classifying" / "1", {"serving_default": tf.function(always, input_signature=texts)})
    save(folder / "merging" / "1", {"custom_signture": model_graphs.merged_examples()})

    def classify(definitions: SignatureDefs) -> None:
        for name in ("serving_default", "custom_signture"):
            if name in definitions:
                definitions[name].method_name = METHOD + "classify"

    for name in ("classifying", "merging"):
        edit(folder / name / "1", classify)


def _write_default(path: Path) -> None:
    save(path, {"serving_default": model_graphs.sum_with_default()})
    default = tf.make_tensor_proto([10.0])
    edit(path, lambda definitions: definitions["serving_default"].defaults["b"].CopyFrom(default))


def save(path: Path, signatures: Mapping[str, Any], *tracked: Any) -> None:
    """Writes a SavedModel.

    Args:
        path: The directory of the version.
        signatures: Functions by the signature's key.
        tracked: Their variables.
    """
    module = tf.Module()
    module.tracked = list(tracked)
    tf.saved_model.save(module, str(path), signatures=dict(signatures))
    (path / "fingerprint.pb").unlink(missing_ok=True)


def edit(path: Path, change: Callable[[SignatureDefs], None]) -> None:
    """Applies `change` to the signatures of a SavedModel, in place."""
    file = path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0].signature_def)
    file.write_bytes(model.SerializeToString())


def copy_with(source: Path, target: Path, chosen: Mapping[str, str]) -> None:
    """Copies a SavedModel with some of its signatures, under other keys.

    Args:
        source: The version to copy.
        target: The directory of the copy.
        chosen: The key in the source by the key in the copy.
    """
    shutil.copytree(source, target)

    def change(definitions: SignatureDefs) -> None:
        copies = {}
        for new, old in chosen.items():
            copies[new] = meta_graph_pb2.SignatureDef()
            copies[new].CopyFrom(definitions[old])
        for key in [key for key in definitions if not key.startswith("__")]:
            del definitions[key]
        for key, definition in copies.items():
            definitions[key].CopyFrom(definition)

    edit(target, change)


def set_shape(info: Any, shape: Sequence[int]) -> None:
    """Sets the stated shape of an input or output, -1 for any size; the graph stays the same."""
    info.tensor_shape.Clear()
    for size in shape:
        info.tensor_shape.dim.add(size=size)


def _configuration(folder: Path) -> str:
    """Returns the text of a `model_config_list` with every model of the folder."""
    served = {path.name for path in folder.iterdir() if path.is_dir()} - {"warm-up", *DIRECTORIES.values()}
    config = model_server_config_pb2.ModelServerConfig()
    for name in sorted(served | DIRECTORIES.keys()):
        model = config.model_config_list.config.add(name=name, model_platform="tensorflow")
        model.base_path = str(folder.resolve() / DIRECTORIES.get(name, name))
        if len(list(Path(model.base_path).iterdir())) > 1:
            model.model_version_policy.all.SetInParent()
        for label, version in LABELS.get(name, {}).items():
            model.version_labels[label] = version
    return text_format.MessageToString(config, as_utf8=True)


def _docker_line(folder: Path) -> str:
    path = folder.resolve()
    flags = f"--model_config_file={path}/models.config --monitoring_config_file={path}/monitoring.config"
    return (
        f"docker run --rm -p 8500:8500 -p 8501:8501 -v {path}:{path}:ro tensorflow/serving \\\n"
        f"    {flags} \\\n    --enable_grpc_healthcheck_service=true --allow_version_labels_for_unavailable_models=true"
    )


def main(arguments: Iterable[str]) -> None:
    """Writes the models into the one argument and prints how to serve them."""
    folder = Path(next(iter(arguments)))
    write_models(folder)
    print(f"{len(list(folder.glob('*/*/saved_model.pb')))} versions written. Serve them:\n{_docker_line(folder)}")
    print("Then: make conformance URL=http://127.0.0.1:8501 GRPC=127.0.0.1:8500")


if __name__ == "__main__":
    main(sys.argv[1:])
