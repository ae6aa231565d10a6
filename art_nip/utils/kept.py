"""What is costly to make, or to bring to a device, and so is kept from one batch to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar, cast

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by what they were made for, the few that were asked for last.

    They belong to this process and its devices: a copy is empty, pickled or not.

    :param most: the number of values that are kept.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._values: dict[Hashable, Value] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made anew if it is not kept.

        :param key: all that the value depends on.
        :param make: function that makes the value.
        """
        with self._lock:
            if key in self._values:
                self._values[key] = self._values.pop(key)  # the last to make room from now on
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._most:
                del self._values[next(iter(self._values))]
        return value

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._values.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return cast(type, Kept), (self._most,)
