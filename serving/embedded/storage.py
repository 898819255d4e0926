"""What a base directory holds: which versions a model's policy wants served, as TensorFlow Serving polls for them."""

from __future__ import annotations

from pathlib import Path

from grpc import StatusCode

from serving.embedded.config_files import ALL, SPECIFIC, ModelSource
from serving.embedded.errors import ServingError

MOST = 2**63 - 1


def aspired_versions(source: ModelSource) -> dict[int, Path]:
    """Returns the directories of the versions that are to be served, by number.

    Raises:
        ServingError: The base directory is missing; what is served stays.
    """
    try:
        children = list(source.base_path.iterdir())
    except OSError:
        raise ServingError(
            StatusCode.NOT_FOUND, f"Could not find base path {source.base_path} for servable {source.name}"
        ) from None
    found = {number: path for path in sorted(children) if (number := _number(path.name)) is not None}
    if source.policy == ALL:
        return found
    if source.policy == SPECIFIC:
        return {number: found[number] for number in source.numbers if number in found}
    return {number: found[number] for number in sorted(found)[-source.count :]}


def _number(name: str) -> int | None:
    """The version that a directory's name means; leading zeros are fine, anything but digits is no version."""
    if not (name.isascii() and name.isdecimal()):
        return None
    return number if (number := int(name)) <= MOST else None
