"""ART's preprocessors by name, which make views: images that a model sees instead of the originals.

They work on images in [0, 1], whatever the user's range: some preprocessors refuse other ranges,
and others round to other levels there.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences import preprocessor as art_preprocessors

from art_nip.nip.retrieval.context import Context
from art_nip.utils.arrays import Array
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import check_choice, plain

RESERVED_PARAMETERS = ("channels_first", "clip_values")
"""Parameters that are set here; users must not give them."""

LEVEL_TOLERANCE = 2e-4
"""How far a value may be from one of 256 levels to count as it, as a share of their distance."""


def check_entries(name: str, entries: Any) -> tuple[dict[str, Any], ...]:
    """Return preprocessors as mappings of their names and parameters.

    :param name: name of the parameter that holds them, for errors.
    :param entries: the preprocessors, such as `[{"name": "SpatialSmoothing", "window_size": 3}]`;
        at least one.
    :raises TypeError: if they are not of this form.
    :raises ValueError: if ART has no preprocessor of that name, or it has no such parameter.
    """
    is_sequence = isinstance(entries, (list, tuple)) and bool(entries)
    if not is_sequence or not all(isinstance(entry, Mapping) for entry in entries):
        raise TypeError(
            f"{name}={entries!r}; give a sequence of mappings with the name and the parameters of "
            'an ART preprocessor, such as [{"name": "SpatialSmoothing", "window_size": 3}].'
        )
    for entry in entries:
        _check_entry(entry)
    return tuple(plain(dict(entry)) for entry in entries)


def _check_entry(entry: Mapping[str, Any]) -> None:
    known = [name for name in vars(art_preprocessors) if name[0].isupper()]
    check_choice("ART preprocessor", entry.get("name", ""), known)
    kind = getattr(art_preprocessors, entry["name"])
    allowed = [name for name in kind.params if name not in RESERVED_PARAMETERS]
    for parameter in set(entry) - {"name"}:
        check_choice(f"parameter of {entry['name']}", parameter, allowed)


class Preprocessors:
    """ART's preprocessors, made for a model.

    :param entries: as `check_entries` returns them.
    :param context: the model, and the range of the images.
    :raises ValueError: if one refuses a parameter.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], context: Context) -> None:
        self._adapter = context.adapter
        self._pixels = PixelRange.of(context.clip_values)
        told = {"channels_first": context.adapter.channels_first, "clip_values": (0.0, 1.0)}
        self._made = []
        for entry in entries:
            kind = getattr(art_preprocessors, entry["name"])
            takes = inspect.signature(kind).parameters
            parameters = {name: value for name, value in entry.items() if name != "name"}
            follows = {name: told[name] for name in RESERVED_PARAMETERS if name in takes}
            made = kind(**follows, **parameters)
            if not made.apply_predict:
                raise ValueError(
                    f"{entry['name']} changes images in training only, and a view is of images "
                    "that are classified. Take another preprocessor."
                )
            self._made.append(made)

    def __len__(self) -> int:
        return len(self._made)

    def images(self, x: Array) -> npt.NDArray[np.float32]:
        """Return images as preprocessors take them, in [0, 1].

        Attacks may leave the range, which some preprocessors refuse. A value that differs from one
        of 256 levels only by rounding becomes exactly this level: JPEG drops fractions, and a level
        in one range must not become the level below it in another.

        :param x: images, shape (N, *input_shape).
        """
        unit = np.clip(self._pixels.unit(self._adapter.numpy(x)), 0, 1).astype(np.float32)
        levels = np.rint(unit * 255)
        of_level: npt.NDArray[np.float32] = np.where(
            np.abs(unit * 255 - levels) < LEVEL_TOLERANCE, levels / np.float32(255), unit
        )
        return of_level

    def view(self, place: int, images: npt.NDArray[np.float32]) -> Array:
        """Return images behind one of the preprocessors, as the model takes them.

        :param place: index of the preprocessor.
        :param images: see :meth:`images`; they are left as they are.
        :return: a tensor of images in their own range.
        """
        seen = np.asarray(self._made[place](images.copy())[0], np.float32)
        return self._adapter.tensor(self._pixels.pixels(seen))
