"""Clones of ART classifiers: they share the model, and nothing done to one shows on the other."""

import inspect
import types
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any


def clone(estimator: Any, kind: Any = None) -> Any:
    """Return another ART classifier of the same model and settings.

    :param estimator: an ART classifier.
    :param kind: a subclass of its class, for the clone; None takes the class.
    """
    # Not copy.copy: ART's classifiers write their weights to a file when copied.
    other: Any = object.__new__(kind or type(estimator))
    vars(other).update(vars(estimator))
    for slot in _slots(type(estimator)):
        with suppress(AttributeError):  # not every slot holds something
            slot.__set__(other, slot.__get__(estimator))
    # ART changes this list in place when defences are set. A class may refuse to have it set.
    vars(other)["preprocessing_operations"] = list(estimator.preprocessing_operations)
    return other


def _slots(kind: type) -> Iterator[Any]:
    """Yield the `__slots__` of a class and its bases: attributes that `vars` does not have."""
    for base in kind.__mro__:
        yield from (value for value in vars(base).values() if inspect.ismemberdescriptor(value))


def clone_with(mixin: type, estimator: Any) -> Any:
    """Return a clone of a subclass of the estimator's class, which goes by the same name.

    :param mixin: what comes before the estimator's class; a clone that has it is returned as it is.
    :param estimator: an ART classifier.
    """
    given: Any = type(estimator)
    return estimator if issubclass(given, mixin) else clone(estimator, _mixed(mixin, given))


def made_of(kind: Any) -> tuple[tuple[type, ...], Any]:
    """Return the mixins of a class of clones, the first one first, and the class behind them."""
    found: tuple[tuple[type, ...], Any] = vars(kind).get("_made_of", ((), kind))
    return found


@cache
def _mixed(mixin: Any, given: Any) -> Any:
    mixins, base = made_of(given)
    all_of_it = ((mixin, *mixins), base)

    def reduced(self: Any, protocol: Any) -> tuple[Any, ...]:
        # By its name pickle would find the class that it is made from.
        return _blank, all_of_it, *base.__reduce_ex__(self, protocol)[2:]

    names = {
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
        "__reduce_ex__": reduced,
        "_made_of": all_of_it,
    }
    return types.new_class(given.__name__, (mixin, given), {}, lambda body: body.update(names))


def _blank(mixins: tuple[type, ...], base: type) -> Any:
    kind = base
    for mixin in reversed(mixins):
        kind = _mixed(mixin, kind)
    return object.__new__(kind)


def defended(estimator: Any, defence: Any, in_front: bool = False) -> Any:
    """Return a clone with one more preprocessing defence.

    :param estimator: an ART classifier.
    :param defence: an ART preprocessor.
    :param in_front: of the defences that the estimator has, or behind them.
    :raises ValueError: if ART cannot chain the defence with the others.
    """
    other = clone(estimator)
    defences = list(estimator.preprocessing_defences or [])
    defences.insert(0 if in_front else len(defences), defence)
    other.set_params(preprocessing_defences=defences)
    if len(defences) > 1 and not getattr(other, "all_framework_preprocessing", True):
        raise ValueError(
            f"ART cannot chain NumPy and framework defences on one {type(estimator).__name__}, and "
            f"this one has {', '.join(type(each).__name__ for each in defences)}. Use "
            "their PyTorch or TensorFlowV2 classes, or apply the NumPy ones to the images "
            "beforehand."
        )
    return other
