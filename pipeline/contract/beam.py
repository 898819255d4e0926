"""The Beam pipeline that components and the bulk inference run: in one process, without downloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.contract.errors import UserError

if TYPE_CHECKING:
    import apache_beam as beam

RUNNER = "FnApiRunner"
"""By name: plain DirectRunner first tries to download Prism from the internet, with no timeout."""


@contextmanager
def beam_pipeline() -> Iterator[beam.Pipeline]:
    """Yields a pipeline that runs at the end of the `with` block.

    Raises:
        UserError: A transform raised it; it comes out without the exceptions that Beam wraps around it.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        # Without flags of its own Beam would parse the flags of `fashion run`.
        with beam.Pipeline(runner=RUNNER, options=PipelineOptions([])) as pipeline:
            yield pipeline
    except Exception as error:
        if (original := _original_user_error(error)) is not None:
            raise original from None
        raise


def _original_user_error(error: BaseException | None) -> UserError | None:
    """Returns the innermost UserError of the chain: Beam raises a copy that has lost all but the headline."""
    found = None
    while error is not None:
        found = error if isinstance(error, UserError) else found
        error = error.__cause__ or error.__context__
    return found
