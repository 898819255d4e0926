"""A server under test: its process, its ports, and the models and configuration that it reads from disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 300.0
STOP_SECONDS = 30.0
WARM_UP = Path("assets.extra/tf_serving_warmup_requests")


@dataclass(frozen=True)
class Entry:
    """A model in a `model_config_file`.

    Attributes:
        base_path: The directory of its versions.
        policy: The content of `model_version_policy`, such as "all {}"; empty for none.
        labels: Versions by label.
        platform: The `model_platform`.
        more: Further text for the entry.
    """

    base_path: Path
    policy: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = "tensorflow"
    more: str = ""


@dataclass
class Server:
    """A server that the suite started, or one that was running before.

    Attributes:
        url: The URL of its REST interface.
        grpc: The address of its gRPC interface, as host:port.
        folder: The folder of its own models and configuration, if the suite started it.
        log: The file with its output, if the suite started it.
        process: Its process, if the suite started it.
        entries: The models in its configuration file, by name.
    """

    url: str
    grpc: str
    folder: Path = Path()
    log: Path = Path()
    process: subprocess.Popen[bytes] | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    def output(self) -> str:
        """Returns its output so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_listening(self) -> bool:
        """Returns whether both ports are open; asserts that the process still runs."""
        assert self.process and self.process.poll() is None, self.output()[-4000:]
        return all(_is_open(address) for address in (self.url.removeprefix("http://"), self.grpc))

    def is_closed(self) -> bool:
        """Returns whether both ports are closed."""
        return not any(_is_open(address) for address in (self.url.removeprefix("http://"), self.grpc))

    def wait_for_exit(self) -> int:
        """Waits until the process ends by itself, and returns its exit status."""
        assert self.process
        return self.process.wait(READY_SECONDS)

    def stop(self) -> None:
        """Terminates the process, and kills it when it does not end."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def add_versions(
    models: Path, server: Server, model: str, versions: Iterable[str], source: str = "half_plus_two"
) -> Path:
    """Copies versions of a model into a server's folder.

    Args:
        models: The folder of the suite's models, see `models.py`.
        server: The server.
        model: The name of the folder that receives the versions.
        versions: The names of the versions.
        source: The model to copy.

    Returns:
        The base path.
    """
    base = server.folder / model
    base.mkdir(exist_ok=True)
    (original,) = list((models / source).iterdir())
    for version in versions:
        # The server must not take an unfinished copy for a version.
        unfinished = server.folder / f"{model}.{version}.unfinished"
        shutil.copytree(original, unfinished)
        unfinished.rename(base / version)
    return base


def add_warm_up_file(file: Path, version: Path) -> None:
    """Copies `file` to the path of a version's warm-up file."""
    (version / WARM_UP).parent.mkdir(exist_ok=True)
    shutil.copyfile(file, version / WARM_UP)


def configuration_text(entries: Mapping[str, Entry]) -> str:
    """Returns the text of a ModelServerConfig."""
    return "model_config_list {\n" + "".join(_entry_text(*item) for item in entries.items()) + "}\n"


def write_configuration(folder: Path, entries: Mapping[str, Entry]) -> Path:
    """Writes the ModelServerConfig `models.config` into a folder and returns its path."""
    # The server must never read half of it.
    path, unfinished = folder / "models.config", folder / "models.config.unfinished"
    unfinished.write_text(configuration_text(entries), encoding="utf-8")
    return unfinished.replace(path)


def _is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def _entry_text(name: str, entry: Entry) -> str:
    lines = [f'name: "{name}"', f'base_path: "{entry.base_path}"', f'model_platform: "{entry.platform}"']
    if entry.policy:
        lines.append(f"model_version_policy {{ {entry.policy} }}")
    lines += [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in entry.labels.items()]
    return "  config {\n    " + "\n    ".join([*lines, *filter(None, [entry.more])]) + "\n  }\n"
