"""Trainer: trains the best recipe on all training examples, calibrates it on validation, and exports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from components.text_learning import learn_words, read_texts, weigh_words
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, HyperParameters, Model
from pipeline.contract.component import Input, Logs, Output, Scratch, component
from pipeline.contract.files import write_json
from pipeline.contract.progress import Progress

if TYPE_CHECKING:
    from keras.callbacks import Callback

    from models.training import Task


@component
def trainer(
    examples: Input[Examples],
    hyperparameters: Input[HyperParameters],
    model: Output[Model],
    scratch: Scratch,
    logs: Logs,
    progress: Progress,
    *,
    taxonomy: Taxonomy,
    seed: int,
    epochs: Annotated[
        int,
        Field(
            ge=1, le=1000, description="Passes over the training examples; as many as in the experiment `full_length`."
        ),
    ] = 20,
    batch_size: Annotated[
        int, Field(ge=8, le=8192, description="Images a step; the experiment `recipe` found 128 and 512 no better.")
    ] = 256,
    augmentation: Annotated[
        Literal["none", "flip", "flip_and_shift", "flip_shift_erase", "flip_shift_mixup"],
        Field(description="What is done to the training images; chosen by the experiment `full_length`."),
    ] = "flip_shift_mixup",
    precision: Annotated[
        Literal["auto", "float32", "mixed_bfloat16"],
        Field(
            description='"auto" is bfloat16 where the processor multiplies in it, else float32; '
            "the experiment `recipe` could not tell them apart."
        ),
    ] = "auto",
    mirror: Annotated[
        bool,
        Field(
            description="Whether the exported model averages its answers for an image and its mirror image; "
            "in the experiment `recipe` it is 0.12 points ahead so, within chance."
        ),
    ] = True,
    coverage: Annotated[
        float,
        Field(
            gt=0.5,
            lt=1,
            description="Share of each group's prediction sets that shall hold it; the experiments `calibration` and "
            "`calibration_again` say what it costs.",
        ),
    ] = 0.99,
    texts: Annotated[
        bool,
        Field(
            description="Whether the exported model also has `serving_text`, which reads a description with the image; "
            "the experiment `text` says when that helps."
        ),
    ] = False,
    pictures_every: Annotated[
        int, Field(ge=1, description="Epochs between two pictures of mistakes and confusion in TensorBoard.")
    ] = 1,
    projected_examples: Annotated[
        int, Field(ge=0, le=10_000, description="Validation examples in TensorBoard's projector; 0 for none.")
    ] = 1000,
    profile_batches: Annotated[
        tuple[int, int] | None, Field(description="First and last batch to profile for TensorBoard; none by default.")
    ] = None,
) -> None:
    """Trains the best recipe, calibrates it on validation, and exports it with its signatures."""
    from keras.callbacks import TensorBoard

    from analysis.training.logs import Pictures, write_projector
    from models.augmentation import AUGMENTATIONS
    from models.calibration import calibrate
    from models.export import export_model
    from models.mirrored import mirrored
    from models.recipe import Recipe
    from models.scores import group_confusion, macro_f1
    from models.training import PREDICT_BATCH, Plan, train

    recipe = Recipe.from_values(hyperparameters.best())
    task = _read_task(examples, taxonomy)
    # Before the images: what is wrong with the texts is said at once.
    described = read_texts(examples) if texts else None
    words = learn_words(described["train"], task) if described else None
    plan = Plan(epochs, batch_size, seed, AUGMENTATIONS[augmentation], precision)
    scalars = TensorBoard(log_dir=str(logs), write_graph=True, profile_batch=profile_batches or 0)
    callbacks = [scalars, _progress(progress, epochs, len(task.images) // batch_size)]
    pictures = Pictures(logs, task, taxonomy, pictures_every)
    trained = train(recipe, task, plan, scratch / "epoch.npz", callbacks, pictures)
    write_projector(logs, trained.model, task, taxonomy, projected_examples)

    network = mirrored(trained.model) if mirror else trained.model
    logits = network.predict(task.validation_images, batch_size=PREDICT_BATCH, verbose=0)
    calibration = calibrate(logits, task.validation_garments, task.membership, coverage)
    garments = calibration.garment_probabilities(logits)
    evidence = weigh_words(words, described["validation"], task, garments, model) if described else None
    export_model(network, calibration, taxonomy, model.saved_model, evidence)
    network.save(model.keras_file)
    write_json(model.calibration_file, calibration.to_json())
    write_json(model.training_file, {"recipe": recipe.to_values(), "history": trained.history})
    model.properties["parameters"] = network.count_params()
    confusion = group_confusion(garments @ task.membership, task.validation_groups)
    model.properties["validation_macro_f1"] = round(macro_f1(confusion), 4)


def _read_task(examples: Examples, taxonomy: Taxonomy) -> Task:
    import numpy as np

    from analysis.data.examples import read_arrays
    from models.training import Task

    train, validation = (read_arrays(examples.split(s), ("image", "garment")) for s in ("train", "validation"))
    membership = np.array(taxonomy.membership())
    return Task(train["image"], train["garment"], validation["image"], validation["garment"], membership)


def _progress(progress: Progress, epochs: int, steps: int) -> Callback:
    from keras.callbacks import LambdaCallback

    done, score = 0, ""

    def begin(epoch: int, logs: object) -> None:
        nonlocal done
        done = epoch

    def batch(index: int, logs: dict[str, float]) -> None:
        if index % 10 == 0:
            progress(done, epochs, "epochs", f"step {index + 1}/{steps}, loss {logs['loss']:.3f}{score}")

    def end(epoch: int, logs: dict[str, float]) -> None:
        nonlocal score
        score = f", validation macro F1 {logs['val_group_macro_f1']:.4f}"
        progress(epoch + 1, epochs, "epochs", score.removeprefix(", "))

    return LambdaCallback(on_epoch_begin=begin, on_train_batch_end=batch, on_epoch_end=end)
