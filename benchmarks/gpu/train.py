"""How fast does training go, in single precision and in bfloat16?"""

from functools import partial

import numpy as np

from art_nip.zoo import training
from benchmarks.gpu.bench import Bench, Figures, Rows


def rows(bench: Bench) -> Rows:
    for name in ("lenet5", "resnet20", "vgg19"):
        for half in (False, True):
            what = f"{name}, {'bfloat16' if half else 'float32'}"
            yield what, partial(_epoch, bench, name, half)


def _epoch(bench: Bench, name: str, half: bool) -> Figures:
    classifier = bench.classifier(name, 32)
    x = bench.noise(bench.size(6400, 128), (3, 32, 32))
    y = np.arange(len(x)) % 10
    recipe = training.Recipe(epochs=1, batch_size=128, bfloat16=half)
    seconds = bench.median(lambda: training.train(classifier.model, x, y, recipe, verbose=False), 2)
    return {"images_per_second": len(x) / seconds}
