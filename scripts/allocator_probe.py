"""Runs the embedded server and writes samples of its memory to a file, one JSON object a line.

`python -m scripts.allocator_probe FILE SECONDS FLAGS...` passes the flags to `python -m serving.embedded`. The samples
are taken inside the process, because only the process knows how much of its memory the allocator holds as free blocks.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Final

MEBIBYTE: Final = 2**20


class Mallinfo(ctypes.Structure):
    """The structure that glibc's `mallinfo2` returns; the sums are over all arenas."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def sample(library: ctypes.CDLL) -> dict[str, float]:
    """Returns the memory of this process in MiB, and the number of threads and of Python's memory blocks."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    info = library.mallinfo2()
    return {
        "resident": int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024,
        "resident_anonymous": int(re.findall(r"RssAnon:\s+(\d+)", status)[0]) / 1024,
        "allocated": (info.uordblks + info.hblkhd) / MEBIBYTE,
        "free": info.fordblks / MEBIBYTE,
        "python_blocks": sys.getallocatedblocks(),
        "threads": threading.active_count(),
        "native_threads": len(list(Path("/proc/self/task").iterdir())),
        "processor_seconds": time.process_time(),
    }


def write_samples(file: Path, seconds: float) -> None:
    """Appends a sample at an interval until the process ends.

    Args:
        file: The file for the samples.
        seconds: The interval. A file `FILE.trim` beside it makes the allocator return its free pages once.
    """
    library = ctypes.CDLL("libc.so.6")
    library.mallinfo2.restype = Mallinfo
    trim = file.with_suffix(".trim")
    start = time.monotonic()
    with file.open("a", encoding="utf-8") as output:
        while True:
            if trimmed := trim.exists():
                library.malloc_trim(0)
                trim.unlink()
            print(json.dumps({"seconds": time.monotonic() - start, "trimmed": trimmed} | sample(library)), file=output)
            output.flush()
            time.sleep(seconds)


def main() -> int:
    """Starts the sampling and the server; returns the server's exit status."""
    file, seconds = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv[1:3] = []
    threading.Thread(target=write_samples, args=(file, seconds), daemon=True).start()
    from serving.embedded.__main__ import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
