"""TensorFlow's error messages, made readable."""

from __future__ import annotations

import re


def readable_reason(message: str) -> str:
    """Returns the first line of a TensorFlow error without the names of graph nodes and operations around it."""
    first = message.strip().splitlines()[0] if message.strip() else "no message"
    return re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:.*|\s*\[\[.*", "", first).strip()
