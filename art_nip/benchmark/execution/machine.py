"""The machine on which results were computed, for their record."""

from __future__ import annotations

import os
import platform

from art_nip.utils.frameworks import loaded_code_of


def machine() -> str:
    """Return what this machine is: its processor and, as the loaded frameworks see them, its GPUs.

    With these stand the versions of CUDA and cuDNN, and whether TF32 is on: in it, convolutions
    keep three digits, and the paper's retrieval finds other candidates.
    """
    parts = [platform.machine(), f"{os.cpu_count()} CPU cores"]
    for code in loaded_code_of("art_nip.utils"):
        parts += [part for part in code.hardware() if part not in parts]
    return ", ".join(parts)
