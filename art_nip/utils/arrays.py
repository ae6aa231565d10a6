"""One array namespace for NumPy, PyTorch and TensorFlow, so that the paper's maths is written once.

NumPy and PyTorch come through array-api-compat; TensorFlow, which follows no array standard,
through the small namespace of `art_nip.utils.tensorflow`. No framework is imported unless the
caller already has.
"""

from typing import Any

import array_api_compat

from art_nip.utils.frameworks import Framework, code_of, framework_of

Array = Any
"""A NumPy array, a PyTorch tensor or a TensorFlow tensor."""


def namespace(array: Array) -> Any:
    """Return the array namespace of an array, spelled as in the Python array API standard.

    :param array: a NumPy array, a PyTorch tensor or an eager or symbolic TensorFlow tensor.
    """
    # Asked many times for each image, and the same for all arrays of a class.
    kind = type(array)
    if kind not in _namespaces:
        _namespaces[kind] = _namespace(array)
    return _namespaces[kind]


_namespaces: dict[type, Any] = {}


def _namespace(array: Array) -> Any:
    if framework_of(array) is Framework.TENSORFLOW:
        return code_of("art_nip.utils", Framework.TENSORFLOW).namespace()
    return array_api_compat.array_namespace(array)


def to_numpy(x: Any) -> Any:
    """Return a tensor of any framework, on any device, as a NumPy array; all else as it is.

    :param x: anything. bfloat16, which NumPy lacks, becomes float32.
    """
    framework = framework_of(x)
    if framework in (Framework.PYTORCH, Framework.TENSORFLOW):
        return code_of("art_nip.utils", framework).to_numpy(x)
    return x
