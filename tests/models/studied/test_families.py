"""Every family, shipped or studied, builds, learns, is saved, and computes the same on every installed backend."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models import families as shipped
from models.studied import EXPERIMENT_OF_FAMILY
from models.studied.families import FAMILIES, build, whitening_kernel
from models.studied.tutorial_networks import TUTORIALS
from tests.synthetic import images_and_garments

ROOT = Path(__file__).resolve().parents[3]
STUDIES = ROOT / "analysis" / "experiments" / "studies"
WIDTH, SEED = 16, 0
INSTALLED = [backend for backend in ("tensorflow", "jax", "torch") if find_spec(backend)]
# Keras's numpy backend convolves with JAX.
OTHERS = [b for b in (*INSTALLED, *(["numpy"] if "jax" in INSTALLED else [])) if b != keras.backend.backend()]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Sixteen synthetic garments, uint8 [16, 28, 28]."""
    return images_and_garments(16, 0)[0]


@pytest.fixture(scope="module")
def before() -> dict[str, list[np.ndarray]]:
    """A dictionary for the initial weights of every family."""
    return {}


@pytest.fixture(scope="module")
def trained(before: dict[str, list[np.ndarray]]) -> dict[str, keras.Model]:
    """Every family after one step of Adam."""
    return {family: _trained(family, before) for family in FAMILIES}


def _trained(family: str, before: dict[str, list[np.ndarray]]) -> keras.Model:
    # A squeeze-and-excite block has 2 hidden units here; with this seed they are not both dead.
    keras.utils.set_random_seed(SEED)
    model = build(family, 10, width=WIDTH, dropout=0.1)
    # Tracing a graph for a single step takes longer than running without one.
    eagerly = keras.backend.backend() != "jax"
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(True), run_eagerly=eagerly)
    before[family] = [np.asarray(v).copy() for v in model.trainable_variables]
    assert np.isfinite(model.train_on_batch(*images_and_garments(32, 1))).all()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_network_has_the_layers_that_other_modules_use(family: str) -> None:
    """The features are a vector an image, and the logits are computed from them in float32 whatever the policy."""
    model = build(family, 7, width=8, dropout=0.5)
    assert len(model.get_layer("features").output.shape) == 2
    assert model.output is model.get_layer("logits").output and model.output_shape == (None, 7)
    assert model.get_layer("logits").dtype_policy.name == "float32" and model.input.dtype == "uint8"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_step_trains_every_weight(
    family: str, trained: dict[str, keras.Model], before: dict[str, list[np.ndarray]]
) -> None:
    """A gradient reaches every trainable variable: without weight decay nothing else changes them."""
    after = [np.asarray(v).copy() for v in trained[family].trainable_variables]
    for variable, old, new in zip(trained[family].trainable_variables, before[family], after, strict=True):
        assert (old != new).any(), variable.path


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_network_predicts_the_same(
    family: str, trained: dict[str, keras.Model], images: np.ndarray, tmp_path: Path
) -> None:
    """A .keras file holds the whole network."""
    trained[family].save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    assert np.array_equal(predict(again, images), predict(trained[family], images))


@pytest.mark.parametrize("family", FAMILIES)
def test_wider_network_has_more_weights(family: str, trained: dict[str, keras.Model]) -> None:
    """Any multiple of 8 is a width, and the number of weights grows with it."""
    assert build(family, 10, width=WIDTH + 8, dropout=0).count_params() > trained[family].count_params()


@pytest.mark.skipif(not OTHERS, reason="only one backend is installed")
@pytest.mark.parametrize("backend", OTHERS)
def test_other_backend_gives_the_same_logits(
    backend: str, others: dict[str, subprocess.Popen[str]], trained: dict[str, keras.Model], images: np.ndarray
) -> None:
    """The weights of one backend give the logits of that backend on another, up to rounding."""
    output, errors = others[backend].communicate()
    assert others[backend].returncode == 0, errors
    with np.load(output.strip()) as logits:
        for family, model in trained.items():
            np.testing.assert_allclose(logits[family], predict(model, images), rtol=1e-3, atol=1e-4, err_msg=family)


@pytest.fixture(scope="module")
def others(
    trained: dict[str, keras.Model], images: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """One process a backend, all running at the same time; each prints the file of its logits."""
    folder = tmp_path_factory.mktemp("weights")
    np.save(folder / "images.npy", images)
    for family, model in trained.items():
        model.save_weights(folder / f"{family}.weights.h5")
    started = {backend: _start(backend, folder) for backend in OTHERS}
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def _start(backend: str, folder: Path) -> subprocess.Popen[str]:
    code = f"from tests.models.studied.test_families import predict_all; predict_all({str(folder)!r})"
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    # Each network runs once: JAX takes several times as long to optimise it as to run it.
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("family", shipped.FAMILIES)
def test_shipped_families_have_one_builder(family: str) -> None:
    """An experiment trains exactly the network that a pipeline ships."""
    assert FAMILIES[family] is shipped.FAMILIES[family]


def test_every_studied_family_names_an_experiment_that_trains_it() -> None:
    """The table has all studied families, and each experiment's declaration has an arm of the family."""
    assert set(EXPERIMENT_OF_FAMILY) == set(FAMILIES) - set(shipped.FAMILIES)
    for family, experiment in EXPERIMENT_OF_FAMILY.items():
        declared = tomllib.loads((STUDIES / f"{experiment}.toml").read_text(encoding="utf-8"))
        assert family in _values_of("family", declared)


def _values_of(key: str, table: Any) -> set[Any]:
    if isinstance(table, list):
        return {value for member in table for value in _values_of(key, member)}
    if not isinstance(table, dict):
        return set()
    return {table[key]} if key in table else _values_of(key, list(table.values()))


@pytest.mark.parametrize(("name", "parameters"), [("tensorflow_tutorial", 101_770), ("keras_convnet", 34_826)])
def test_tutorial_has_the_size_of_its_page_and_learns(name: str, parameters: int) -> None:
    """The weights are as many as the page's summary says, and training on pixels lowers the loss."""
    keras.utils.set_random_seed(0)
    model = TUTORIALS[name].build(10)
    assert model.count_params() == parameters
    model.run_eagerly = keras.backend.backend() != "jax"
    pixels, garments = images_and_garments(32, 2)
    logits = model(pixels).numpy()
    rows = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(32), garments]
    assert float(model.loss(garments, logits)) == pytest.approx(rows.mean(), rel=1e-5), "cross-entropy of the logits"
    losses = [model.train_on_batch(pixels, garments)[0] for _ in range(4)]
    assert losses[-1] < losses[0] and model(pixels).shape == (32, 10)


def test_whitened_outputs_are_uncorrelated_with_unit_variance() -> None:
    """On the patches that the filters come from, the covariance of their outputs is the identity."""
    images, _ = images_and_garments(200, 0)
    filters = whitening_kernel(images, 3, 12).reshape(9, 12)
    windows = np.lib.stride_tricks.sliding_window_view(images / 127.5 - 1, (3, 3), axis=(1, 2))
    covariance = np.cov(windows.reshape(-1, 9) @ filters[:, :6], rowvar=False)
    # The smallest eigenvalue reduces the variance of the last filters a little.
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.05)


def test_second_half_of_a_whitening_kernel_is_the_negative_of_the_first() -> None:
    """Each filter has a partner that is active where it is not."""
    images, _ = images_and_garments(50, 0)
    kernel = whitening_kernel(images, 5, 32)
    assert kernel.shape == (5, 5, 1, 32) and kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel[..., :16], -kernel[..., 16:])


@pytest.mark.parametrize("channels", [7, 20])
def test_impossible_numbers_of_filters_are_rejected(channels: int) -> None:
    """The number must be even, and at most twice the pixels of a patch."""
    with pytest.raises(ValueError, match=r"even number of channels, at most 18. Received"):
        whitening_kernel(np.zeros((10, 28, 28), np.uint8), 3, channels)


def predict_all(folder: str) -> None:
    """Writes the logits of every family's network for the images of a folder, and prints the name of the file."""
    images, logits = np.load(f"{folder}/images.npy"), {}
    for family in FAMILIES:
        model = build(family, 10, width=WIDTH, dropout=0.1)
        model.load_weights(f"{folder}/{family}.weights.h5")
        logits[family] = model.predict_on_batch(images)
    file = f"{folder}/{keras.backend.backend()}.npz"
    np.savez(file, **logits)
    print(file)


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns the logits, float32 [N, garments], all of them finite."""
    logits = keras.ops.convert_to_numpy(model(images, training=False))
    assert logits.dtype == np.float32 and np.isfinite(logits).all()
    return logits
