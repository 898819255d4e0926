"""Starts the server: `python -m serving.embedded --model_name=fashion --model_base_path=DIR --rest_api_port=8501`."""

from __future__ import annotations

import logging
import os
import sys


def main() -> int:
    """Serves until a signal ends it; returns the exit status.

    Errors that the user can act on are one line on stderr: the engines report the last line of a server's log.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr)
    # At every load, TensorFlow's loader recommends another loader; servable.py says why it is not used here.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from pipeline.contract.errors import UserError
    from serving.embedded.flags import FlagError, parse_flags

    try:
        flags = parse_flags(sys.argv[1:])
    except FlagError as error:
        print(error.one_line, file=sys.stderr)
        return 2
    # Like the stock image: on the processor. And `import tensorflow` need not import Keras as well.
    for name, value in (("CUDA_VISIBLE_DEVICES", "-1"), ("TF_USE_LEGACY_KERAS", "1"), ("TF_CPP_MIN_LOG_LEVEL", "3")):
        os.environ.setdefault(name, value)
    from serving.embedded.errors import ServingError
    from serving.embedded.server import Server

    try:
        Server(flags).run()
    except UserError as error:
        print(error.one_line, file=sys.stderr)
        return 1
    except (ServingError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
