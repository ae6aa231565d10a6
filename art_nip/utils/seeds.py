"""Randomness that can be repeated, in ART's way: from the global states of NumPy and the framework.

ART's attacks and defences draw from these, so whoever wants the same result twice sets them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from art_nip.utils.frameworks import loaded_code_of


def generator(seed: int | None) -> np.random.Generator:
    """Return a generator for one call.

    :param seed: same seed, same draws; None seeds it from NumPy's global state, as ART's attacks
        and defences draw from that.
    """
    if seed is None:
        seed = int(np.random.randint(2**32, dtype=np.uint32))  # noqa: NPY002
    return np.random.default_rng(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set all global states of randomness, and give those of Python, NumPy and PyTorch back.

    TensorFlow's cannot be read, and so is set and not given back.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        with ExitStack() as stack:
            for code in loaded_code_of("art_nip.utils"):
                stack.enter_context(code.seeded(seed))
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
