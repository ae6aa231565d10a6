"""How fast NIP is, beside what it must be compared with; ratios taken side by side in one run.

    python benchmarks/speed.py [--framework pytorch|tensorflow] [--json results/speed.json]
                               [--only one-image batches bank memory] [--one-thread]
                               [--large-bank 50000]

`--one-thread` measures processor time, which other work on the machine disturbs less. Any part of
the table can be had alone: `--only one-image` takes half a minute. `--large-bank` adds what a bank
takes that does not fit into memory, see `large_bank.py`.

Each ratio is the median over pairs of runs, one of each kind right after the other. Models have
random weights and images are noise: neither changes the time. On a machine with a GPU it is used.
`cells.py` beside it measures the benchmark itself, and `gpu/` what only a GPU can answer.

What was tried, in PyTorch on two CPU cores (medians of ratios, 2026-11-23):

- No graph below the layer when looking (the forward pass runs without gradients up to the hook,
  with them from there on): a graph of the whole takes 1.29 (ResNet-20) and 1.08 (VGG-19) times
  as long. What is left is 1.01 and 1.09 forward passes; VGG-19 pays for the backward pass through
  its dense part of 19 million weights.
- One graph for fitting: the backward pass to the image goes on where that to the neurons ended, so
  that fitting is one pass each way (1.00 and 1.04).
- Ranks by two stable argsorts: 10 ms for 256 images of 512 neurons, of 1,300 for VGG-19, and 0.02
  for one image of 84. A threshold on sorted values, with ties counted, takes two thirds of that for
  many images and three times as much for one, for which decision-based attacks ask (2026-11-26).
- One image: most of looking at it is calls of small operations. `floor.py` makes the same passes
  and nothing else: no change here goes below that. Layers are visited once for their device,
  precision and mode; a candidate is one search among the borders between similarities; TensorFlow
  looks and finds in one graph.
- Candidates found by bisection in sorted similarities, so that a thousand times as many cost
  nothing that can be seen; they are decoded after they are fetched.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import large_bank
import numpy as np
from art.defences.preprocessor import JpegCompression, SpatialSmoothing

from art_nip import NIPPreprocessor, zoo
from art_nip.zoo.classifiers import as_classifier

BATCH = 256
CANDIDATES = 1000
IMAGES = {"pytorch": (3, 32, 32), "tensorflow": (32, 32, 3)}
PARTS = ("one-image", "batches", "bank", "memory")
SMALL_IMAGES = {"pytorch": (1, 12, 12), "tensorflow": (12, 12, 1)}

clock: Callable[[], float] = time.perf_counter


def noise(n: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


def zoo_classifier(framework: str, name: str) -> Any:
    shape = IMAGES[framework]
    model = zoo.create(name, framework=framework, input_shape=shape, nb_classes=10)
    return as_classifier(model, framework, shape, 10)


def small_model(framework: str) -> Any:
    """Return the model of the large bank: so small that looking a candidate up would show."""
    if framework == "pytorch":
        from torch import nn

        layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 10)]
        return nn.Sequential(*layers)
    import keras

    return keras.Sequential(
        [
            keras.Input(SMALL_IMAGES[framework]),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )


def forward_and_backward(framework: str, estimator: Any) -> Callable[[np.ndarray], object]:
    """Return the least that fitting must do: the outputs, and their gradient to the images."""
    model = estimator.model
    if framework == "pytorch":
        import torch

        device = estimator.device
        model.eval()

        def run(x: np.ndarray) -> object:
            images = torch.from_numpy(x).to(device).requires_grad_()
            (gradient,) = torch.autograd.grad(model(images).amax(1).sum(), images)
            return gradient.cpu().numpy()

        return run
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, *estimator.input_shape], tf.float32)])
    def gradient(images: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            score = tf.reduce_max(model(images, training=False), axis=1)
        return tape.gradient(score, images)

    return lambda x: gradient(tf.convert_to_tensor(x)).numpy()


def seconds(run: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(times):
        run()
    return (clock() - start) / times


def compare(
    what: str,
    run: Callable[[], object],
    base: Callable[[], object],
    repeat: int,
    times: int = 1,
) -> dict:
    """Time two runs alternately, after one of each that does not count.

    :param repeat: the number of pairs.
    :param times: how often a run of a pair is made.
    """
    run(), base()
    gc.collect()
    pairs = [(seconds(run, times, clock), seconds(base, times, clock)) for _ in range(repeat)]
    row = {
        "what": what,
        "seconds": statistics.median(a for a, _ in pairs),
        "base_seconds": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
    }
    print(f"{what:<66}{row['ratio']:>9.3f}{row['seconds']:>11.4f}{row['base_seconds']:>11.4f}")
    return row


def fitted(estimator: Any, n: int = CANDIDATES, **parameters: Any) -> NIPPreprocessor:
    nip = NIPPreprocessor.for_estimator(estimator, verbose=False, **parameters)
    nip.fit(noise(n, estimator.input_shape))
    return nip


def defence_rows(framework: str, name: str, repeat: int) -> list[dict]:
    estimator = zoo_classifier(framework, name)
    nip, x = fitted(estimator), noise(BATCH, estimator.input_shape)
    defended = nip.attach(estimator)
    rows = [
        compare(
            f"{name}: predict defended / undefended",
            lambda: defended.predict(x, batch_size=BATCH),
            lambda: estimator.predict(x, batch_size=BATCH),
            repeat,
        )
    ]
    one_pass = forward_and_backward(framework, estimator)
    many = noise(4 * 128, estimator.input_shape)
    fresh = NIPPreprocessor.for_estimator(estimator, verbose=False)
    # The first fit traces graphs, the second is what a user of many images pays.
    rows.append(
        compare(
            f"{name}: fit / one forward and backward pass",
            lambda: fresh.fit(many),
            lambda: [one_pass(many[i : i + 128]) for i in range(0, len(many), 128)],
            repeat,
        )
    )
    if name == "vgg19":
        channels_first = framework == "pytorch"
        for other in (
            SpatialSmoothing(2, channels_first=channels_first),
            JpegCompression((0, 1), quality=80, channels_first=channels_first),
        ):
            what = f"{name}: nip(x) / ART {type(other).__name__}"
            rows.append(compare(what, lambda: nip(x), lambda other=other: other(x), repeat))
    return rows


def single_image_rows(framework: str, repeat: int) -> list[dict]:
    """Compare predictions of one image, which decision-based attacks ask for by the thousand."""
    rows = []
    for name in ("lenet5", "resnet20"):
        estimator = zoo_classifier(framework, name)
        x = noise(1, estimator.input_shape)
        for retrieval in ("similarity", "nearest", "class"):
            defended = fitted(estimator, 512, retrieval=retrieval).attach(estimator)
            what = f"{name}, {retrieval}: predict one image defended / undefended"
            runs = [partial(each.predict, x) for each in (defended, estimator)]
            rows.append(compare(what, *runs, 10 * repeat, times=5))
        if framework == "pytorch":
            import floor

            nip = fitted(estimator, 512)
            runs[0] = partial(floor.by_hand(nip, estimator), x)
            np.testing.assert_allclose(runs[0](), nip.attach(estimator).predict(x), atol=1e-5)
            what = f"{name}, similarity: predict one image by hand / undefended"
            rows.append(compare(what, *runs, 10 * repeat, times=5))
    return rows


def bank_row(framework: str, repeat: int, candidates: int) -> dict:
    shape = SMALL_IMAGES[framework]
    estimator = as_classifier(small_model(framework), framework, shape, 10)
    few = fitted(estimator, 1000, bank_dtype="uint8", batch_size=1000)
    many = fitted(estimator, candidates, bank_dtype="uint8", batch_size=1000)
    x = noise(BATCH, shape)
    what = f"small images: nip(x) with {candidates:,} candidates / with 1,000"
    return compare(what, lambda: many(x), lambda: few(x), 10 * repeat)


def peak_memory(framework: str, n: int) -> int:
    """Return the bytes that fitting on n images needs at its peak, beyond images and bank."""

    def status(key: str) -> int:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if key in x)
        return int(line.split()[1]) * 1024

    estimator = zoo_classifier(framework, "resnet20")
    nip = fitted(estimator, 512, bank_dtype="uint8")
    x = noise(n, estimator.input_shape)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    nip.fit(x)
    return status("VmHWM") - before - nip.candidates.nbytes


def memory_rows(framework: str, sizes: tuple[int, ...]) -> list[dict]:
    rows = []
    for n in sizes:
        command = [sys.executable, __file__, "--framework", framework, "--memory-of", str(n)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        row = {"what": f"fit on {n:,} images: peak memory", "bytes": int(result.stdout.split()[-1])}
        print(f"{row['what']:<66}{row['bytes'] / 2**20:>9.1f} MiB")
        rows.append(row)
    return rows


def keep_to_one_thread(framework: str) -> None:
    """Compute in one thread, and measure what it takes of a processor."""
    global clock
    clock = time.process_time
    if framework == "pytorch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def device(framework: str) -> str:
    if framework == "pytorch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
        return f"{torch.get_num_threads()} CPU threads"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return ", ".join(gpu.name for gpu in gpus)
    return f"{tf.config.threading.get_intra_op_parallelism_threads() or 'all'} CPU threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=IMAGES, default="pytorch")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these rows alone")
    parser.add_argument("--one-thread", action="store_true", help="processor time of one thread")
    parser.add_argument("--candidates", type=int, default=1_000_000, help="size of the large bank")
    parser.add_argument("--large-bank", type=int, metavar="N", help="images of a bank in a file")
    parser.add_argument("--json", type=Path, help="write the table here too")
    parser.add_argument("--memory-of", type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    framework = options.framework
    if options.memory_of:
        print(peak_memory(framework, options.memory_of))
        return

    if options.one_thread:
        keep_to_one_thread(framework)
    print(f"{framework}, {device(framework)}, {platform.machine()}, {date.today()}")
    print(f"{'what':<66}{'ratio':>9}{'seconds':>11}{'base':>11}")
    rows = []
    if "one-image" in options.only:
        rows += single_image_rows(framework, options.repeat)
    if "batches" in options.only:
        for name in ("resnet20", "vgg19"):
            rows += defence_rows(framework, name, options.repeat)
    if "bank" in options.only:
        rows.append(bank_row(framework, options.repeat, options.candidates))
    if "memory" in options.only and sys.platform == "linux":
        rows += memory_rows(framework, (1000, 10_000))
        if options.large_bank:
            rows += large_bank.rows(framework, options.large_bank, Path())
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "framework": framework,
            "device": device(framework),
            "date": str(date.today()),
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
