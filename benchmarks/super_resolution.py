"""How well SuperResolution's network restores images it was not trained on, and its time per image.

    OMP_NUM_THREADS=2 python benchmarks/super_resolution.py FOLDER [--data gtsrb] [--images 1000]
        [--steps 1500] [--save network.safetensors]

FOLDER holds local image sets as of `art_nip.data.load`. The network is trained on the first images
of the training part, and measured on the first 500 of the test part, other tracks on GTSRB. Times
are medians over repetitions, in which all take their turn; ART's SpatialSmoothing is one of them.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from art.defences.preprocessor import SpatialSmoothing

from art_nip.data import load
from art_nip.defences import (
    SuperResolution,
    SuperResolutionPyTorch,
    SuperResolutionTensorFlowV2,
    edsr,
)
from art_nip.defences.edsr import training
from art_nip.utils.files import reading

TESTED, TIMED, REPETITIONS = 500, 64, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--data", default="gtsrb")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    x, _, _ = load(options.data, "train", folder=options.folder, limit=options.images)
    test, _, _ = load(options.data, "test", folder=options.folder, limit=TESTED)
    common = {"clip_values": (0, 1), "channels_first": True}
    path = options.save or Path(tempfile.mkdtemp()) / "network.safetensors"

    defence = SuperResolution(steps=options.steps, seed=0, **common)
    seconds, of_processors = time.perf_counter(), time.process_time()
    defence.fit(x)
    seconds, of_processors = time.perf_counter() - seconds, time.process_time() - of_processors
    print(f"fit: {seconds:.0f} s, {of_processors:.0f} s of processors")
    print(f"of the training part: {defence.reached}")
    defence.save(path)
    with reading(path, "") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    print(f"of the test part: {training.measured(weights, test, edsr.in_framework(test[:1]))}")

    runs = {"ART SpatialSmoothing": SpatialSmoothing(window_size=2, channels_first=True)}
    for kind in (SuperResolution, SuperResolutionPyTorch, SuperResolutionTensorFlowV2):
        on = {"device_type": "cpu"} if kind is SuperResolutionPyTorch else {}
        runs[kind.__name__] = kind(weights=path, **common, **on)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(REPETITIONS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(test[:TIMED])
            if turn:  # The first does not count.
                times[name].append((time.perf_counter() - start) / TIMED * 1000)
    for name, values in times.items():
        print(f"{name:<32}{statistics.median(values):8.3f} ms/image")


if __name__ == "__main__":
    main()
