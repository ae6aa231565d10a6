"""Which operations TensorFlow has kernels for on a GPU, as data: its wheel for the CPU has few.

The file beside this one is of `tensorflow==2.21.0`, not `tensorflow-cpu`. Where that is installed,
with a GPU or without,

    python -m tests.device.gpu_kernels OPERATION …

adds operations to it.
"""

import json
import math
import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from tensorflow.dtypes import as_dtype
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

FILE = Path(__file__).with_name("gpu_kernels.json")

DTYPES = {
    "bool", "uint8", "int32", "int64", "bfloat16", "float16", "float32", "float64", "complex64",
    "resource", "variant",
}  # fmt: skip
"""What the file tells of; kernels for other dtypes are left out."""


class Kernel(NamedTuple):
    """Kernels of an operation that differ in dtypes only.

    :param dtypes: those taken, by attributes of the operation; an attribute that is not here may
        have any.
    :param host: inputs and outputs that lie in the memory of the host.
    """

    dtypes: dict[str, list[str]]
    host: list[str]


def known() -> dict[str, list[Kernel]]:
    """Return the kernels by operation; an operation without any has an empty list."""
    entries = json.loads(FILE.read_text())
    return {name: [Kernel(*kernel) for kernel in kernels] for name, kernels in entries.items()}


def registered(operation: str) -> list[Kernel]:
    """Return the kernels that the TensorFlow which is installed has for GPUs."""
    kernels = [
        Kernel(
            {
                of.name: sorted({*map(_name, of.allowed_values.list.type)} & DTYPES)
                for of in sorted(each.constraint, key=lambda of: of.name)
            },
            sorted(each.host_memory_arg),
        )
        for each in get_registered_kernels_for_op(operation).kernel
        # DEFAULT serves all devices.
        if each.device_type in ("GPU", "DEFAULT")
    ]
    kernels = [kernel for kernel in kernels if all(kernel.dtypes.values())]
    groups = groupby(sorted(kernels, key=_kind), _kind)
    return [merged for _, group in groups for merged in _merged(list(group))]


def _name(dtype: int) -> str:
    name: str = as_dtype(dtype).name
    return name


def _kind(kernel: Kernel) -> tuple[list[str], list[str]]:
    return list(kernel.dtypes), kernel.host


def _merged(kernels: list[Kernel]) -> list[Kernel]:
    """Return one kernel in place of those for all combinations of some dtypes."""
    different = {json.dumps(kernel): kernel for kernel in kernels}
    dtypes = {
        name: sorted({dtype for kernel in kernels for dtype in kernel.dtypes[name]})
        for name in kernels[0].dtypes
    }
    if len(different) == math.prod(map(len, dtypes.values())):
        return [Kernel(dtypes, kernels[0].host)]
    return list(different.values())


def main(operations: list[str]) -> None:
    """Write the file anew, with more operations."""
    names = sorted({*known(), *operations}) if FILE.exists() else sorted(operations)
    lines = [f"{json.dumps(name)}: {json.dumps(registered(name))}" for name in names]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
