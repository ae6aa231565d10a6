"""The checks look at every object there is: as few as may be."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _few_objects() -> Iterator[None]:
    """Put what the imports made out of sight of `check_no_trace`: half a million objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
