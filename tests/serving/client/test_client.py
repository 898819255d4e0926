"""Tests of serving.client: with a test server that misbehaves, and with the embedded server."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.taxonomy import Taxonomy
from serving.client import (
    Client,
    ClientError,
    DeadlineExceeded,
    Failure,
    ImagesFailed,
    NotFound,
    Prediction,
    Unreachable,
)
from serving.engines.engine import BATCHING, MONITORING, Embedded, Flags, free_port
from serving.engines.server_process import ServerProcess
from serving.versions import push
from tests.serving.exports import TWO_GROUPS, export_small
from tests.serving.images.test_encoding import encoded
from tests.serving.web import Answer, Request, Web, web
from tests.waiting import wait_until

TAXONOMY = Taxonomy.load()
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
PNG = encoded(Image.fromarray(PIXELS[0]), "PNG")


def row(confidence: float = 0.9) -> dict[str, Any]:
    """Returns the outputs for one image."""
    return {
        "group": TAXONOMY.groups[0],
        "group_probabilities": [confidence, 0.025, 0.025, 0.025, 0.025],
        "garment": TAXONOMY.garments[0],
        "garment_probabilities": [0.91] + [0.01] * 9,
        "confidence": confidence,
        "prediction_set": [True, False, False, False, False],
        "abstain": False,
    }


def described(taxonomy: Taxonomy, indices: list[int]) -> Answer:
    """Returns the answer of the signature `taxonomy`."""
    groups = [taxonomy.group_of[index] for index in indices]
    rows = [
        {
            "garment": taxonomy.garments[index],
            "group_index": group,
            "group": taxonomy.groups[group],
            "colour": taxonomy.colours[group],
        }
        for index, group in zip(indices, groups, strict=True)
    ]
    return Answer(body=json.dumps({"predictions": rows}).encode())


def answered(request: Request) -> Answer:
    """Answers every image with the same outputs, and names the groups and garments."""
    body = json.loads(request.body)
    if body["signature_name"] == "taxonomy":
        return described(TAXONOMY, body["instances"])
    return Answer(body=json.dumps({"predictions": [row() for _ in body["instances"]]}).encode())


def of_images(server: Web) -> list[Request]:
    """Returns the requests for predictions, without those for names."""
    return [request for request in server.requests if b'"signature_name":"taxonomy"' not in request.body]


def refused(status: int, message: str = "no", **headers: str) -> Answer:
    """Returns an error in TensorFlow Serving's format."""
    return Answer(status, json.dumps({"error": message}).encode(), headers)


def first(*answers: Answer) -> Callable[[Request], Answer]:
    """Returns a server that gives these answers once each, and then predicts."""
    waiting = list(answers)
    return lambda request: waiting.pop(0) if waiting else answered(request)


def test_pixels_are_sent_in_tf_servings_format() -> None:
    """The request follows the documentation, the result is typed, and names come from the taxonomy."""
    with web(answered) as server, Client(server.url) as client:
        assert client.predict(PIXELS[:1]) == [
            Prediction(
                source="image 1",
                group=TAXONOMY.groups[0],
                confidence=0.9,
                abstain=False,
                group_probabilities=dict(zip(TAXONOMY.groups, row()["group_probabilities"], strict=True)),
                garment=TAXONOMY.garments[0],
                garment_probabilities=dict(zip(TAXONOMY.garments, row()["garment_probabilities"], strict=True)),
                prediction_set=(TAXONOMY.groups[0],),
            )
        ]
        assert server.requests[0].path == "/v1/models/fashion:predict"
        assert json.loads(server.requests[0].body) == {
            "signature_name": "serving_default",
            "instances": PIXELS[:1].tolist(),
        }


@pytest.mark.parametrize(
    ("options", "path"), [({"version": 7}, "/versions/7"), ({"label": "canary"}, "/labels/canary"), ({}, "")]
)
def test_versions_and_labels_are_part_of_the_path(options: dict[str, Any], path: str) -> None:
    """A requested version is also in the result."""
    with web(answered) as server, Client(server.url, model="m", **options) as client:
        assert client.predict(PNG)[0].version == options.get("version")
        assert server.requests[0].path == f"/v1/models/m{path}:predict"


def test_images_are_sent_in_batches_over_one_connection() -> None:
    """Five images with two a request are three requests over one connection; the order stays."""
    with web(answered) as server, Client(server.url, batch_size=2) as client:
        assert [p.source for p in client.predict(PIXELS)] == [f"image {n}" for n in range(1, 6)]
        assert [len(json.loads(request.body)["instances"]) for request in of_images(server)] == [2, 2, 1]
        assert len({request.client for request in server.requests}) == 1


def test_large_files_do_not_share_a_request() -> None:
    """A request does not exceed the server's limit, however large the files are."""
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    file = encoded(Image.fromarray(noise), "PNG", compress_level=0)
    with web(answered) as server, Client(server.url) as client:
        assert len(client.predict([file] * 3)) == 3
        assert [len(json.loads(request.body)["instances"]) for request in of_images(server)] == [2, 1]


def test_a_version_and_a_label_exclude_each_other() -> None:
    """The error names both; version 0 is a version."""
    with pytest.raises(ValueError, match="Received: 0 and 'canary'"):
        Client("http://127.0.0.1:1", version=0, label="canary")


def test_the_outputs_of_a_signature_without_names() -> None:
    """REST leaves out the name of a single output; strings come as bytes, also below other lists."""
    with web(lambda _: Answer(body=b'{"predictions": [["a", "b"], [{"b64": "/w=="}, "d"]]}')) as server:
        with Client(server.url) as client:
            outputs = client.call("any", {"x": np.array([[b"\xff"]], object)})
        assert json.loads(server.requests[0].body) == {"signature_name": "any", "instances": [[{"b64": "/w=="}]]}
    assert outputs["output"].tolist() == [[b"a", b"b"], [b"\xff", b"d"]] and set(outputs) == {"output"}


def test_a_server_that_answers_nothing_is_given_up() -> None:
    """After three requests in time-out the error ends the call; one answer shows that the server is there."""
    hold = threading.Event()
    with web(lambda _: Answer(body=b"{}", hold=hold)) as server:
        try:
            with Client(server.url, timeout_seconds=0.3, batch_size=1) as client:
                with pytest.raises(DeadlineExceeded):
                    client.predict_each(PIXELS)
                wait_until(lambda: len(server.requests) == 3, "three requests")
        finally:
            hold.set()


def test_large_images_have_requests_of_their_own_after_the_small_ones() -> None:
    """A request has at most 12.5 million pixels, or one larger image; the results have the order of the images."""

    def grey(width: int, height: int) -> bytes:
        return encoded(Image.new("L", (width, height), 7), "PNG")

    images = [grey(3600, 3600), grey(2500, 2000), PNG, grey(2500, 2000), grey(2500, 2000)]
    with web(answered) as server, Client(server.url, timeout_seconds=60) as client:
        assert [p.source for p in client.predict(images)] == [f"image {n}" for n in range(1, 6)]
        bodies = [json.loads(request.body)["instances"] for request in of_images(server)]
    sent = [[images.index(base64.b64decode(instance["b64"])) for instance in body] for body in bodies]
    assert sent == [[2, 1, 1], [1], [0]]  # the three of the same size have the same content


def test_one_image_need_not_be_in_a_list(tmp_path: Path) -> None:
    """A path, bytes and an array are one image, also in colour; an array of 28 x 28 pixels and a generator are many."""
    (tmp_path / "a.png").write_bytes(PNG)
    colour = np.zeros((28, 28, 3), np.uint8)
    with web(answered) as server, Client(server.url) as client:
        for images in (str(tmp_path / "a.png"), tmp_path / "a.png", PNG, PIXELS[0], colour, Image.fromarray(colour)):
            assert len(client.predict(images)) == 1
        for images in (PIXELS[:3], [PNG] * 3, (PNG, PIXELS[0], PNG), (image for image in PIXELS[:3])):
            assert len(client.predict(images)) == 3
        assert client.predict([]) == []
        assert client.predict(tmp_path / "a.png")[0].source == str(tmp_path / "a.png")


def test_no_server() -> None:
    """The error says that the server cannot be reached."""
    with Client(f"http://127.0.0.1:{free_port()}", retries=1) as client, pytest.raises(Unreachable, match="reached"):
        client.predict(PNG)


def test_a_bad_image_fails_alone(tmp_path: Path) -> None:
    """Unreadable and rejected images are reported one by one; all others are predicted, in order."""
    bad = encoded(Image.new("L", (3, 3)), "PNG")

    def picky(request: Request) -> Answer:
        instances = json.loads(request.body)["instances"]
        if any(isinstance(i, dict) and base64.b64decode(i["b64"]) == bad for i in instances):
            return refused(400, "Cannot decode")
        return answered(request)

    images = [PNG, b"junk", bad, PIXELS[0], PNG, tmp_path / "none.png", PNG]
    with web(picky) as server, Client(server.url) as client:
        answers = client.predict_each(images)
        with pytest.raises(ImagesFailed, match="3 of 7 images failed. image 2 is no image") as caught:
            client.predict(images)
    assert [isinstance(a, Failure) for a in answers] == [False, True, True, False, False, True, False]
    assert isinstance(answers[2], Failure) and answers[2].reason == "The server rejects image 3: Cannot decode"
    assert [p.source for p in caught.value.predictions] == ["image 1", "image 4", "image 5", "image 7"]


class Model:
    """A server whose model can be replaced, and that may lack the signature `taxonomy`."""

    def __init__(self, taxonomy: Taxonomy, winner: int = 0, named: bool = True) -> None:
        self.taxonomy, self.winner, self.named = taxonomy, winner, named

    def __call__(self, request: Request) -> Answer:
        body, taxonomy, group = json.loads(request.body), self.taxonomy, self.taxonomy.group_of[self.winner]
        if body["signature_name"] == "taxonomy":
            if self.named:
                return described(taxonomy, body["instances"])
            return refused(400, 'Serving signature name: "taxonomy" not found in signature def')
        outputs = row() | {
            "group": taxonomy.groups[group],
            "group_probabilities": [0.9 if index == group else 0.1 for index in range(len(taxonomy.groups))],
            "garment": taxonomy.garments[self.winner],
            "garment_probabilities": [
                0.82 if index == self.winner else 0.02 for index in range(len(taxonomy.garments))
            ],
            "prediction_set": [True] * len(taxonomy.groups),
        }
        return Answer(body=json.dumps({"predictions": [outputs] * len(body["instances"])}).encode())


@pytest.mark.parametrize("options", [{}, {"version": 3}, {"label": "canary"}])
def test_names_come_from_the_served_model(options: dict[str, Any]) -> None:
    """Whatever the client's own taxonomy, every probability has the name and the order that the model gives it."""
    with web(Model(TWO_GROUPS)) as server, Client(server.url, **options) as client:
        answer = client.predict(PNG)[0]
    assert answer.group_probabilities == {"Shoes & bags": 0.1, "Röcke, Hosen": 0.9} and answer.group == "Röcke, Hosen"
    assert answer.prediction_set == ("Shoes & bags", "Röcke, Hosen")
    assert answer.garment_probabilities == {
        name: 0.82 if index == 0 else 0.02 for index, name in enumerate(TWO_GROUPS.garments)
    }
    described = [json.loads(request.body) for request in server.requests if request not in of_images(server)]
    assert described == [{"signature_name": "taxonomy", "instances": list(range(10))}]
    assert len({request.path for request in server.requests}) == 1


def test_a_replaced_model_has_its_own_names() -> None:
    """Without a version in the answers, the names are read again for each call, even if the predicted group stays."""
    renamed = Taxonomy(TWO_GROUPS.garments, ("Other", "Röcke, Hosen"), TWO_GROUPS.group_of, TWO_GROUPS.colours)
    model = Model(TWO_GROUPS)
    with web(model) as server, Client(server.url) as client, Client(server.url, version=1) as pinned:
        assert set(client.predict(PNG)[0].group_probabilities) == {"Shoes & bags", "Röcke, Hosen"}
        model.taxonomy = renamed
        assert set(client.predict(PNG)[0].group_probabilities) == {"Other", "Röcke, Hosen"}
        for _ in range(2):
            pinned.predict(PNG)
        assert sum("versions/1" in r.path and r not in of_images(server) for r in server.requests) == 1


def test_a_model_without_names_has_numbers(caplog: pytest.LogCaptureFixture) -> None:
    """An older model names only its most likely group and garment; a warning says so, once."""
    with web(Model(TWO_GROUPS, winner=9, named=False)) as server, Client(server.url) as client:
        for _ in range(2):
            answer = client.predict(PNG)[0]
    assert answer.group_probabilities == {"Shoes & bags": 0.9, "group 1": 0.1}
    assert answer.prediction_set == ("Shoes & bags", "group 1")
    assert list(answer.garment_probabilities) == [f"garment {index}" for index in range(9)] + ["Ankle boot"]
    assert [record.message for record in caplog.records if "no signature `taxonomy`" in record.message] == [
        record.message for record in caplog.records
    ] and len(caplog.records) == 1


@pytest.mark.parametrize(
    ("groups", "garments"),
    [
        (TWO_GROUPS.groups, TWO_GROUPS.garments),
        (tuple("abcde"), TAXONOMY.garments),
        (TAXONOMY.groups, tuple("abcdefghij")),
        (TAXONOMY.groups[::-1], TAXONOMY.garments),
        (TAXONOMY.groups, TAXONOMY.garments[::-1]),
    ],
)
def test_names_that_contradict_the_answer_are_not_used(groups: tuple[str, ...], garments: tuple[str, ...]) -> None:
    """Where a server exchanges the model between the two requests, numbers replace the names of the other model."""
    of_garment = TAXONOMY.group_of if len(groups) == 5 else TWO_GROUPS.group_of
    model = Model(Taxonomy(garments, groups, of_garment, ("#000000",) * 5))

    def exchanged(request: Request) -> Answer:
        return model(request) if request not in of_images(server) else answered(request)

    with web(exchanged) as server, Client(server.url) as client:
        answer = client.predict(PNG)[0]
    assert list(answer.group_probabilities) == ["Upper part", "group 1", "group 2", "group 3", "group 4"]
    assert answer.prediction_set == ("Upper part",)


def test_numbers_that_json_does_not_define() -> None:
    """NaN and infinity, which the real server writes without quotes, are read."""
    body = b'{"outputs": {"x": [NaN, Infinity, -Infinity], "s": [{"b64": "/wA="}, "y", "z"]}}'
    with web(lambda _: Answer(body=body)) as server, Client(server.url) as client:
        outputs = client.call("any", {"a": np.array(1.0), "b": np.array([1, 2])})
        assert json.loads(server.requests[0].body)["inputs"] == {"a": 1.0, "b": [1, 2]}
    assert np.isnan(outputs["x"][0]) and outputs["x"][1:].tolist() == [np.inf, -np.inf]
    assert outputs["s"].tolist() == [b"\xff\x00", b"y", b"z"]


@pytest.mark.parametrize("url", ["127.0.0.1:8501", "ftp://x", "http://", "/x", ""])
def test_other_urls_are_refused(url: str) -> None:
    """A URL that names no server is an error before anything is sent."""
    with pytest.raises(ClientError, match="is not the URL of a server.\nExpected: "):
        Client(url)


def test_rest_needs_no_tensorflow() -> None:
    """The client starts without TensorFlow, gRPC and Pillow being imported."""
    code = (
        "import sys; from serving.client import Client; Client('http://127.0.0.1:1');"
        "print({'tensorflow', 'grpc', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The embedded server with one version of a small model."""
    folder = tmp_path_factory.mktemp("served")
    push(export_small(folder / "model").saved_model, folder / "fashion")
    flags = Flags(folder / "fashion", "fashion", free_port(), free_port(), None, MONITORING)
    with Embedded().start(flags, folder / "server.log") as running:
        running.wait_until_ready(120)
        yield running


def test_rest_and_grpc_agree(embedded: ServerProcess) -> None:
    """Both transports give the same predictions for pixels and files; gRPC reports the version."""
    images = [*PIXELS, PNG, Image.fromarray(np.dstack([PIXELS[1]] * 3)).resize((90, 60))]
    with Client(embedded.rest_url) as rest, Client(f"grpc://{embedded.grpc_address}", batch_size=3) as by_grpc:
        for one, other in zip(rest.predict(images), by_grpc.predict(images), strict=True):
            assert (one.source, one.group, one.abstain) == (other.source, other.group, other.abstain)
            assert one.group_probabilities == pytest.approx(other.group_probabilities, abs=1e-6)
            assert (one.version, other.version) == (None, 1)
            assert list(one.group_probabilities) == list(other.group_probabilities) == list(TAXONOMY.groups)
            assert list(one.garment_probabilities) == list(other.garment_probabilities) == list(TAXONOMY.garments)
        assert rest.status() == by_grpc.status() == [(1, "AVAILABLE", "")]
        outputs = [set(c.metadata()["serving_bytes"]["outputs"]) for c in (rest, by_grpc)]
        assert outputs[0] == outputs[1] == set(row())


def test_a_real_server_names_the_groups_of_its_model(tmp_path: Path) -> None:
    """Over REST and gRPC, and with requests in batches; the next version, with other groups, has other names."""
    push(export_small(tmp_path / "two", taxonomy=TWO_GROUPS).saved_model, tmp_path / "fashion")
    flags = Flags(tmp_path / "fashion", "fashion", free_port(), free_port(), BATCHING, MONITORING)
    with Embedded().start(flags, tmp_path / "server.log") as running:
        running.wait_until_ready(120)
        with Client(running.rest_url) as rest, Client(f"grpc://{running.grpc_address}") as by_grpc:
            for client in (rest, by_grpc):
                assert {tuple(answer.group_probabilities) for answer in client.predict(PIXELS)} == {TWO_GROUPS.groups}
            push(export_small(tmp_path / "five").saved_model, tmp_path / "fashion")
            wait_until(lambda: {(2, "AVAILABLE", ""), (1, "END", "")} <= set(rest.status()), "version 2 replaces 1")
            for client in (rest, by_grpc):
                assert {tuple(answer.group_probabilities) for answer in client.predict(PIXELS)} == {TAXONOMY.groups}


def test_an_image_that_the_server_cannot_decode_is_named(embedded: ServerProcess) -> None:
    """A file that only the graph rejects fails alone, over REST and gRPC."""
    spoiled = bytearray(encoded(Image.fromarray(PIXELS[0]), "PNG"))
    # The check sum of the last chunk, which Pillow does not look at.
    spoiled[-1] ^= 0xFF
    for url in (embedded.rest_url, f"grpc://{embedded.grpc_address}"):
        with Client(url) as client:
            answers = client.predict_each([PNG, bytes(spoiled), PNG])
            assert isinstance(answers[0], Prediction) and isinstance(answers[2], Prediction)
        with Client(url, model="none") as client, pytest.raises(NotFound):
            client.predict(PNG)
