"""Warnings that point at the line of the user, whatever is called in between."""

import sys
import warnings

BETWEEN = {"art", "art_nip", "tqdm"}
"""Packages whose code is not the user's."""


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Give a warning at the line from which this package was called, or ART that calls it.

    :param text: what it says.
    :param category: its class.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
