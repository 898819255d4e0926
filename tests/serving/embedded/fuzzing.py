"""Fuzzing: `make fuzz` sends 100,000 random requests to an embedded server.

They are broken JSON, JSON of wrong shapes and types, damaged images, random paths and methods, and some valid requests.
The server may refuse them but must not fail: no answer of 500, no exit, no growing memory.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from serving.engines.server_process import ServerProcess

FAILURES = {500, 502, 505}
MAX_GROWTH_MEBIBYTES = 20
Request = tuple[str, str, bytes]
PREDICT = "/v1/models/fashion:predict"


def random_requests(seed: int, count: int) -> list[Request]:
    """Returns `count` requests as method, path and body; the same for the same seed."""
    chance = random.Random(seed)
    kinds: list[Callable[[random.Random], Request]] = [_bytes, _json, _pixels, _image, _path, _valid]
    return [chance.choice(kinds)(chance) for _ in range(count)]


def send_all(server: ServerProcess, requests: list[Request]) -> tuple[Counter[int], list[str]]:
    """Sends requests one after the other; returns the count of each status, and the failed requests."""
    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    statuses: Counter[int] = Counter()
    failed = []
    for method, path, body in requests:
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            failed.append(f"{method} {path} {body[:200]!r}: {error!r}")
            connection.close()
            continue
        statuses[answer.status] += 1
        if answer.status in FAILURES:
            failed.append(f"{method} {path} {body[:200]!r}: {text[:300]!r}")
    connection.close()
    return statuses, failed


def _valid(chance: random.Random) -> Request:
    return "POST", PREDICT, json.dumps({"instances": [_picture(chance).tolist()]}).encode()


def _bytes(chance: random.Random) -> Request:
    body = bytearray(_valid(chance)[2][: chance.choice([0, 10, 100, 5000])])
    for _ in range(chance.randrange(1, 6)):
        body[chance.randrange(len(body) + 1) :][:1] = bytes([chance.randrange(256)])
        if body:
            body[chance.randrange(len(body))] = chance.randrange(256)
    return "POST", PREDICT, bytes(body)


def _json(chance: random.Random) -> Request:
    document = {chance.choice(["instances", "inputs", "signature_name", "x", "examples"]): _value(chance, 4)}
    if chance.random() < 0.5:
        document["signature_name"] = chance.choice(["serving_default", "serving_bytes", "serving_examples", "", "no"])
    api = chance.choice(["predict", "predict", "predict", "classify", "regress"])
    return "POST", f"/v1/models/fashion:{api}", json.dumps(document).encode()


def _value(chance: random.Random, depth: int) -> object:
    kind = chance.randrange(9 if depth else 7)
    if kind == 7:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == 8:
        keys = ["b64", "image", "image_bytes", "examples", "", "\u0000"]
        return {chance.choice(keys): _value(chance, depth - 1) for _ in range(chance.randrange(3))}
    simple = [None, True, -1, 2**70, 1.5, float("nan"), "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(5))]
    return simple[kind]


def _pixels(chance: random.Random) -> Request:
    shape = tuple(chance.choice([0, 1, 2, 27, 28, 29]) for _ in range(chance.randrange(1, 4)))
    values = np.full(shape, chance.choice([0, 255, 256, -1])).tolist()
    form = chance.choice(["instances", "inputs"])
    return "POST", PREDICT, json.dumps({form: values}).encode()


def _image(chance: random.Random) -> Request:
    file = BytesIO()
    Image.fromarray(_picture(chance)).save(file, chance.choice(["png", "jpeg", "gif", "bmp"]))
    data = bytearray(file.getvalue())
    for _ in range(chance.choice([0, 1, 3, 30])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    data = data[: chance.choice([len(data), len(data) // 2, 20, 0])]
    signature = chance.choice(["serving_bytes", "serving_bytes", "serving_examples"])
    instance = {"b64": base64.b64encode(data).decode()}
    return "POST", PREDICT, json.dumps({"signature_name": signature, "instances": [instance]}).encode()


def _path(chance: random.Random) -> Request:
    parts = [
        "/v1",
        "/models",
        "/fashion",
        "/versions",
        "/1",
        "/99999999999999999999",
        "/labels",
        "/x",
        ":predict",
        "%00",
    ]
    path = "".join(chance.choice(parts) for _ in range(chance.randrange(1, 7)))
    path = path if path.startswith("/") else f"/{path}"
    return chance.choice(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "TRACE"]), path, b""


def _picture(chance: random.Random) -> np.ndarray:
    return np.frombuffer(chance.randbytes(784), np.uint8).reshape(28, 28)


def resident_mebibytes(process: int) -> float:
    """Returns the resident memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def main() -> int:
    """Runs the fuzzing and prints the results; returns 1 if anything failed."""
    from serving.engines.engine import BATCHING, MONITORING, Embedded, Flags, free_port
    from serving.versions import push
    from tests.serving.exports import export_small

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fashion-fuzz-") as name:
        folder = Path(name)
        push(export_small(folder / "model").saved_model, folder / "fashion")
        flags = Flags(folder / "fashion", "fashion", free_port(), free_port(), BATCHING, MONITORING)
        with Embedded().start(flags, folder / "log") as server:
            server.wait_until_ready(120)
            statuses: Counter[int] = Counter()
            memory = []
            for start in range(0, options.requests, 10_000):
                part, failures = send_all(
                    server, random_requests(options.seed + start, min(10_000, options.requests - start))
                )
                statuses += part
                failed += failures
                memory.append(resident_mebibytes(server.process.pid))
                print(f"{statuses.total():>7,} answers, {memory[-1]:,.0f} MiB", flush=True)
            alive = server.process.poll() is None
    # The first part allocates memory that every server needs: threads, arenas, the graph's pools.
    growth = memory[-1] - memory[0]
    print(f"statuses {dict(sorted(statuses.items()))}, failed {len(failed)}, server {'alive' if alive else 'gone'}")
    print(f"growth after the first part {growth:,.0f} MiB, at most {MAX_GROWTH_MEBIBYTES}")
    print("\n".join(failed[:10]))
    return 1 if failed or not alive or growth > MAX_GROWTH_MEBIBYTES else 0


if __name__ == "__main__":
    sys.exit(main())
