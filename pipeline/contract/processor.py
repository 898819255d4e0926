"""What this machine's processor can do."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})


def has_bfloat16(cpuinfo: Path = CPUINFO) -> bool | None:
    """Returns whether the processor multiplies in bfloat16; None where its flags cannot be read.

    Args:
        cpuinfo: The file with the processor's flags, as Linux writes it. Defaults to this machine's.
    """
    try:
        words = cpuinfo.read_text(encoding="utf-8").split()
    except OSError:
        return None
    return not BFLOAT16.isdisjoint(words)
