"""`python -m pipeline.local_runner` does what `fashion run` does."""

from __future__ import annotations

import sys

from pipeline.commands.entry import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
