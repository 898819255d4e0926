"""The model_config_file of a server of the suite, written so that a reader never sees half of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

WARM_UP = Path("assets.extra/tf_serving_warmup_requests")


@dataclass(frozen=True)
class Entry:
    """A model of the file.

    Attributes:
        base_path: The directory of its versions.
        policy: What stands in `model_version_policy`, such as "all {}"; empty for none.
        labels: Versions by label.
        platform: The `model_platform`.
        more: Further text.
    """

    base_path: Path
    policy: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = "tensorflow"
    more: str = ""


def configuration_text(entries: Mapping[str, Entry]) -> str:
    """Returns the text of a ModelServerConfig."""
    return "model_config_list {\n" + "".join(_entry_text(*item) for item in entries.items()) + "}\n"


def write_configuration(folder: Path, entries: Mapping[str, Entry]) -> Path:
    """Writes `models.config` into a folder and returns its path."""
    path, growing = folder / "models.config", folder / "models.config.growing"
    growing.write_text(configuration_text(entries), encoding="utf-8")
    return growing.replace(path)


def put_warm_up(file: Path, version: Path) -> None:
    """Makes `file` the warm-up file of a version."""
    (version / WARM_UP).parent.mkdir(exist_ok=True)
    shutil.copyfile(file, version / WARM_UP)


def _entry_text(name: str, entry: Entry) -> str:
    lines = [f'name: "{name}"', f'base_path: "{entry.base_path}"', f'model_platform: "{entry.platform}"']
    if entry.policy:
        lines.append(f"model_version_policy {{ {entry.policy} }}")
    lines += [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in entry.labels.items()]
    return "  config {\n    " + "\n    ".join([*lines, *filter(None, [entry.more])]) + "\n  }\n"
