"""Copies of a preprocessor work as it does."""

import copy
import pickle

from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.testing.assertions import Array, as_check, output, require_same


@as_check
def check_params(preprocessor: Preprocessor, x: Array) -> None:
    """Every name in `params` is an attribute, and `set_params` accepts the values they have."""
    expected = output(preprocessor, x)
    preprocessor.set_params(
        **{name: getattr(preprocessor, name) for name in type(preprocessor).params}
    )
    result = output(preprocessor, x)
    require_same(result, expected, "the output after set_params with the values it has")


@as_check
def check_deepcopy(preprocessor: Preprocessor, x: Array) -> None:
    """A deep copy works as the original does."""
    expected = output(preprocessor, x)
    require_same(output(copy.deepcopy(preprocessor), x), expected, "the output of a deep copy")


@as_check
def check_pickle(preprocessor: Preprocessor, x: Array) -> None:
    """Out of a pickle it works as before."""
    restored = pickle.loads(pickle.dumps(preprocessor))
    expected = output(preprocessor, x)
    require_same(output(restored, x), expected, "the output after pickling")


CHECKS = (check_params, check_deepcopy, check_pickle)
