"""ART's preprocessors by name, as views of images: what a model is shown instead of them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences import preprocessor as art_preprocessors

from art_nip.estimators.base import EstimatorAdapter
from art_nip.utils.arrays import Array
from art_nip.utils.validation import check_choice, clip_range

FOLLOWED = ("channels_first", "clip_values")
"""Parameters that preprocessors take from the model."""


def check_entries(name: str, entries: Any) -> tuple[dict[str, Any], ...]:
    """Return preprocessors as they are written down: their names and parameters.

    :param name: of the parameter that they are given as, for errors.
    :param entries: such as `[{"name": "SpatialSmoothing", "window_size": 3}]`; at least one.
    :raises TypeError: if they are not of this form.
    :raises ValueError: if ART has no preprocessor of that name, or it has no such parameter.
    """
    listed = isinstance(entries, (list, tuple)) and all(isinstance(e, Mapping) for e in entries)
    if not listed or not entries:
        raise TypeError(
            f"{name}={entries!r}; give a sequence of mappings with the name and the parameters of "
            'an ART preprocessor, such as [{"name": "SpatialSmoothing", "window_size": 3}].'
        )
    for entry in entries:
        _check_entry(entry)
    return tuple(map(dict, entries))


def _check_entry(entry: Mapping[str, Any]) -> None:
    known = [each for each in vars(art_preprocessors) if each[0].isupper()]
    check_choice("ART preprocessor", entry.get("name", ""), known)
    kind = getattr(art_preprocessors, entry["name"])
    allowed = [each for each in kind.params if each not in FOLLOWED]
    for parameter in set(entry) - {"name"}:
        check_choice(f"parameter of {entry['name']}", parameter, allowed)


class Preprocessors:
    """ART's preprocessors, made for a model.

    :param entries: as `check_entries` returns them.
    :param adapter: the model.
    :param clip_values: range (min, max) of the images, numbers or nested lists.
    :raises ValueError: if one refuses a parameter.
    """

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        adapter: EstimatorAdapter,
        clip_values: tuple[Any, Any],
    ) -> None:
        self._adapter = adapter
        self._low, self._high = (np.asarray(bound, np.float32) for bound in clip_values)
        told = {
            "channels_first": adapter.channels_first,
            "clip_values": clip_range(clip_values),
        }
        self._made = []
        for entry in entries:
            kind = getattr(art_preprocessors, entry["name"])
            takes = inspect.signature(kind).parameters
            parameters = {name: value for name, value in entry.items() if name != "name"}
            follows = {each: told[each] for each in FOLLOWED if each in takes}
            self._made.append(kind(**follows, **parameters))

    def __len__(self) -> int:
        return len(self._made)

    def images(self, x: Array) -> npt.NDArray[np.float32]:
        """Return images as preprocessors take them; attacks may leave the range, which some refuse.

        :param x: images, shape (N, *input_shape).
        """
        clipped: npt.NDArray[np.float32] = np.clip(self._adapter.numpy(x), self._low, self._high)
        return clipped

    def view(self, place: int, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return images behind one of the preprocessors, which leaves those given as they are.

        :param place: of the preprocessor.
        :param images: as of :meth:`images`.
        """
        return np.asarray(self._made[place](images.copy())[0], np.float32)
