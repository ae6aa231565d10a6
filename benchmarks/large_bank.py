"""What a bank takes that does not fit into memory: fitting it into a file, and looking up in it.

    python benchmarks/large_bank.py [--framework pytorch|tensorflow] [--images 50000] [--folder .]

The images, bytes of noise of 224×224×3, come in batches as from a loader, and the bank goes to a
file in the folder: 7.5 GB for 50,000. The model is tiny. Each part is a process of its own. Memory
is what Linux counts as resident for the process at its peak: Python, framework and pages of mapped
files included. For the look-up the file is not in the system's memory, and what is read from the
disk is counted: the candidates that are found, and what the system reads ahead behind each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from art_nip import NIPPreprocessor
from art_nip.zoo.classifiers import as_classifier

SHAPES = {"pytorch": (3, 224, 224), "tensorflow": (224, 224, 3)}
ASKED = 32


def classifier(framework: str) -> Any:
    """Return the classifier of a model that takes next to no time, always of the same weights."""
    shape = SHAPES[framework]
    if framework == "pytorch":
        import torch
        from torch import nn

        torch.manual_seed(0)
        model: Any = nn.Sequential(
            nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(196, 10)
        )
    else:
        import keras

        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Conv2D(4, 8, 8, activation="relu"),
                keras.layers.MaxPooling2D(4),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
    return as_classifier(model, framework, shape, 10, clip_values=(0, 255))


def batches(n: int, shape: tuple[int, ...], size: int = 100) -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    for start in range(0, n, size):
        yield random.integers(0, 256, (min(size, n - start), *shape), np.uint8)


def peak() -> int:
    """Return the bytes of memory that this process had at its peak."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def read_from_disk() -> int:
    """Return the bytes that this process has had read from a disk."""
    counts = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in counts if line.startswith("read_bytes")).split()[1])


def forget(path: Path) -> None:
    """Have the system drop a file from its memory, so that what is asked of it is read anew."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fit(framework: str, n: int, path: Path) -> dict:
    estimator = classifier(framework)
    nip = NIPPreprocessor.for_estimator(estimator, verbose=False, bank_dtype="uint8", batch_size=64)
    started = time.perf_counter()
    nip.fit(batches(n, estimator.input_shape), bank=path)
    return {
        "candidates": len(nip.candidates),
        "file": path.stat().st_size,
        "peak": peak(),
        "seconds": time.perf_counter() - started,
    }


def look_up(framework: str, path: Path) -> dict:
    estimator = classifier(framework)
    nip = NIPPreprocessor.load(path, estimator)
    x = np.random.default_rng(1).integers(0, 256, (ASKED, *estimator.input_shape), np.uint8)
    found = nip.retrieve(x)  # without their ρ, so that what the model takes is there
    nip(x[:1])
    forget(path)
    before = read_from_disk()
    nip(x)
    return {
        "used": len(np.unique(found)) * nip.candidates.codes[0].nbytes,
        "from_file": read_from_disk() - before,
        "peak": peak(),
    }


def rows(framework: str, n: int, folder: Path) -> list[dict]:
    """Measure both parts, print them, and return them as rows of `speed.py`."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "bank.safetensors"
        fitted, asked = (
            _in_process(framework, n, path, part) for part in ("--fit-into", "--look-up-in")
        )
    found = [
        (f"fit on {n:,} images of 224×224 into a file: peak memory", fitted["peak"]),
        ("  the file", fitted["file"]),
        (f"look-up of {ASKED} images in it: peak memory", asked["peak"]),
        ("  read from the disk for it", asked["from_file"]),
        ("  the candidates that it found", asked["used"]),
    ]
    for what, size in found:
        print(f"{what:<66}{size / 2**20:>9.1f} MiB")
    print(f"{'  fitting took':<66}{fitted['seconds']:>9.1f} s")
    return [{"what": what.strip(), "bytes": size} for what, size in found]


def _in_process(framework: str, n: int, path: Path, part: str) -> dict:
    command = [sys.executable, __file__, "--framework", framework, "--images", str(n), part, path]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found: dict = json.loads(result.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=SHAPES, default="pytorch")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the bank's file is")
    parser.add_argument("--fit-into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--look-up-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit_into:
        print(json.dumps(fit(options.framework, options.images, options.fit_into)))
    elif options.look_up_in:
        print(json.dumps(look_up(options.framework, options.look_up_in)))
    else:
        rows(options.framework, options.images, options.folder)


if __name__ == "__main__":
    main()
