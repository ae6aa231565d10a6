"""Time per image of the defences, beside ART's SpatialSmoothing and TotalVarMin in the same run.

    OMP_NUM_THREADS=1 python benchmarks/defences.py [--images 256] [--repeat 5] [--device cpu|gpu]

Crops of 32×32×3 of the photographs that scikit-learn carries; medians over repetitions, in which
all take their turn. TotalVarMin runs on fewer images, channels last, as it must be.
"""

import argparse
import statistics
import time

import numpy as np
from art.defences.preprocessor import SpatialSmoothing, TotalVarMin
from sklearn.datasets import load_sample_images

from art_nip import defences

PAPER = {"prob": 0.5, "lamb": 0.1}
ART_IMAGES = 4


def crops(n: int) -> np.ndarray:
    rng, images = np.random.default_rng(0), load_sample_images().images
    corners = zip(rng.integers(0, 395, n), rng.integers(0, 608, n), strict=True)
    cut = [images[k % 2][i : i + 32, j : j + 32] for k, (i, j) in enumerate(corners)]
    return np.stack(cut).astype(np.float32) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    options = parser.parse_args()
    x, torch_only = crops(options.images), {"device_type": options.device}
    runs = {
        "ART TotalVarMin": (TotalVarMin(**PAPER), x[:ART_IMAGES]),
        "ART SpatialSmoothing": (SpatialSmoothing(window_size=2), x),
    }
    for family, parameters in (
        ("FeatureDistillation", {"clip_values": (0, 1)}),
        ("TotalVarianceMinimization", PAPER),
        ("TotalVarianceMinimization", {**PAPER, "max_iter": 10}),
        # Learned in no time: how well does not change how fast.
        ("SparseTransformation", {"n_crops": 64, "verbose": False}),
        ("SuperResolution", {"clip_values": (0, 1), "steps": 2, "verbose": False}),
    ):
        for suffix, extra in (("", {}), ("PyTorch", torch_only), ("TensorFlowV2", {})):
            given = {**parameters, **extra}
            if options.device == "gpu":
                given["batch_size"] = options.images
            label = f"{family}{suffix}" + (", max_iter=10" if "max_iter" in given else "")
            defence = getattr(defences, family + suffix)(**given)
            defence.fit(x)
            runs[label] = (defence, x)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(options.repeat + 1):
        for name, (defence, images) in runs.items():
            start = time.perf_counter()
            defence(images)
            if turn:  # The first does not count.
                times[name].append((time.perf_counter() - start) / len(images) * 1000)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"{'':<54}{'ms/image':>10}{'smoothing/it':>14}{'TotalVarMin/it':>16}")
    for name, value in median.items():
        ratios = [median[f"ART {other}"] / value for other in ("SpatialSmoothing", "TotalVarMin")]
        print(f"{name:<54}{value:>10.3f}{ratios[0]:>14.2f}{ratios[1]:>16.1f}")


if __name__ == "__main__":
    main()
