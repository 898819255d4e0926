"""Limits of the batch scheduler, without a graph."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from serving.embedded.batching import QUEUE_FULL, BatchScheduler
from serving.embedded.config_files import Batching
from serving.embedded.errors import ServingError
from serving.embedded.signatures import Signature


def test_a_huge_number_of_empty_rows_is_refused() -> None:
    """A request may state any number of empty rows; it is refused before the split if it does not fit."""
    scheduler = BatchScheduler(1)
    nowhere: Any = None
    signature = Signature("serving_default", "", {}, {}, {})
    inputs = {"image": np.zeros((2**62, 0), np.uint8)}
    splitting = Batching(enable_large_batch_splitting=True)
    deadline = time.monotonic() + 60
    with pytest.raises(ServingError, match=QUEUE_FULL):
        asyncio.run(scheduler.run(nowhere, signature, inputs, ["group"], deadline, splitting))
    scheduler.close()
