"""`python -m serving.embedded --model_name=fashion --model_base_path=DIR --rest_api_port=8501`: see `flags.py`."""

from __future__ import annotations

import logging
import os
import sys


def main() -> int:
    """Serves; returns the exit status, and says a mistake in a sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr)
    # Its loader advises every time to use another one; servable.py says why this one.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from serving.embedded.flags import FlagError, parse_flags

    try:
        flags = parse_flags(sys.argv[1:])
    except FlagError as error:
        print(error, file=sys.stderr)
        return 2
    # Like the stock image: on the processor. And `import tensorflow` need not import Keras as well.
    for name, value in (("CUDA_VISIBLE_DEVICES", "-1"), ("TF_USE_LEGACY_KERAS", "1"), ("TF_CPP_MIN_LOG_LEVEL", "3")):
        os.environ.setdefault(name, value)
    from serving.embedded.server import Server
    from serving.embedded.errors import ServingError

    try:
        Server(flags).run()
    except (ServingError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
