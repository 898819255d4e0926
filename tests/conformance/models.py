"""Writes the models that the cases are about: `python -m tests.conformance.models DIR`.

Beside them stand `models.config` and `monitoring.config`, so that any TensorFlow Serving can serve them; the command
prints how. `warm-up/` holds the warm-up files that the cases put into versions of their own.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.conformance import graphs, warm_up
from tests.conformance.case import load_cases
from tests.conformance.configuration import put_warm_up
from tests.conformance.saved import METHOD, SignatureDefs, copy_with, edit, save, set_shape

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
    """Writes all models and the two configurations; `models.config` last, as the sign that all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_half_plus(folder)
    _write_versions(folder)
    _write_codec_models(folder)
    _write_special_models(folder)
    warm_up.write_files(folder / "warm-up")
    warmed = folder / "warmed" / "1"
    shutil.copytree(folder / "half_plus_two" / "123", warmed)
    put_warm_up(folder / "warm-up" / "every_kind", warmed)
    (folder / "monitoring.config").write_text(MONITORING)
    (folder / "models.config").write_text(_configuration(folder), encoding="utf-8")


def _write_half_plus(folder: Path) -> None:
    for number, name in ((2, "half_plus_two"), (3, "saved_model_half_plus_three")):
        save(folder / name / "123", graphs.half_plus(number))
        edit(folder / name / "123", _as_the_original)
    for name in ("default", "odd_name"):
        shutil.copytree(folder / "half_plus_two", folder / name)


def _as_the_original(definitions: SignatureDefs) -> None:
    """States what TensorFlow Serving's test model states: columns for x and y, though its graph takes any shape."""
    set_shape(definitions["serving_default"].inputs["x"], (-1, 1))
    set_shape(definitions["serving_default"].outputs["y"], (-1, 1))
    definitions["regress_x_to_y"].method_name = METHOD + "regress"
    definitions["classify_x_to_y"].method_name = METHOD + "classify"


def _write_versions(folder: Path) -> None:
    for version in ("123", "124"):
        shutil.copytree(folder / "half_plus_two" / "123", folder / "two_versions" / version)
    # They answer differently, so that a predict shows which one a path has led to.
    shutil.copytree(folder / "half_plus_two" / "123", folder / "modelname" / "98")
    shutil.copytree(folder / "saved_model_half_plus_three" / "123", folder / "modelname" / "99")


def _write_codec_models(folder: Path) -> None:
    """Writes the models that answer what they read, and those that answer what the case says."""
    given = {case.given["model"]: case.given for case in load_cases() if case.kind == "rest" and "model" in case.given}
    signatures: dict[str, Any] = {}
    for name, what in given.items():
        if "inputs" in what:
            signatures[name] = graphs.echo({key: _dtype(text) for key, text in what["inputs"].items()})
        elif "outputs" in what:
            signatures[name] = graphs.answering({key: _constant(item) for key, item in what["outputs"].items()})
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
    signatures, count = graphs.counter()
    save(folder / "counter" / "1", signatures, count)
    save(folder / "slow" / "1", {"serving_default": graphs.slow()})
    save(folder / "sizes" / "1", {"serving_default": graphs.sizes()})
    save(folder / "total" / "1", {"serving_default": graphs.total()})
    save(folder / "refusing" / "1", {"serving_default": graphs.refusing()})
    save(folder / "statuses" / "1", {"serving_default": graphs.ending_with_status()})
    two_out = {"a": tf.zeros([2, 3]), "b": tf.zeros([1, 3])}
    save(folder / "two_out" / "1", {"serving_default": graphs.answering(two_out)})
    _write_classifiers(folder)
    _write_default(folder / "with_default" / "1")


def _write_classifiers(folder: Path) -> None:
    def always(inputs: Any) -> dict[str, Any]:
        return {name: tf.identity(tf.constant(value)) for name, value in CLASSES.items()}

    texts = [tf.TensorSpec([None], tf.string, "inputs")]
    save(folder / "classifying" / "1", {"serving_default": tf.function(always, input_signature=texts)})
    save(folder / "merging" / "1", {"custom_signture": graphs.merged_examples()})

    def classify(definitions: SignatureDefs) -> None:
        for name in ("serving_default", "custom_signture"):
            if name in definitions:
                definitions[name].method_name = METHOD + "classify"

    for name in ("classifying", "merging"):
        edit(folder / name / "1", classify)


def _write_default(path: Path) -> None:
    save(path, {"serving_default": graphs.sum_with_default()})
    default = tf.make_tensor_proto([10.0])
    edit(path, lambda definitions: definitions["serving_default"].defaults["b"].CopyFrom(default))


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
    place = folder.resolve()
    flags = f"--model_config_file={place}/models.config --monitoring_config_file={place}/monitoring.config"
    return (
        f"docker run --rm -p 8500:8500 -p 8501:8501 -v {place}:{place}:ro tensorflow/serving \\\n"
        f"    {flags} \\\n    --enable_grpc_healthcheck_service=true"
    )


def main(arguments: Iterable[str]) -> None:
    """Writes the models into the one argument and prints how to serve them."""
    folder = Path(next(iter(arguments)))
    write_models(folder)
    print(f"{len(list(folder.glob('*/*/saved_model.pb')))} versions written. Serve them:\n{_docker_line(folder)}")
    print("Then: make conformance URL=http://127.0.0.1:8501 GRPC=127.0.0.1:8500")


if __name__ == "__main__":
    main(sys.argv[1:])
