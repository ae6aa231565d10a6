"""What do the other defences of art-nip cost per image?"""

from functools import partial
from typing import Any

from art_nip import defences
from benchmarks.gpu.bench import Bench, Figures, Rows


def rows(bench: Bench) -> Rows:
    learned = {
        "stl": {"n_crops": bench.size(200, 16), "n_filters": bench.size(64, 8)},
        "sr": {"steps": bench.size(50, 2)},
    }
    for name, side, batch in (("resnet20", 32, 256), ("mobilenet", 224, 64)):
        side = bench.size(side, 32)
        classifier = bench.classifier(name, side)
        x = bench.noise(bench.size(batch, 2), classifier.input_shape, seed=1)
        for defence in ("fdistill", "tvm", "stl", "sr", "anti-adversary"):
            what = f"{defence} {side}×{side}, batch {batch}, before {name}"
            yield what, partial(_defence, bench, classifier, defence, learned.get(defence), x)
            what = f"{what}: waits of the host"
            yield what, partial(_waits, bench, classifier, defence, learned.get(defence), x)


def _made(bench: Bench, classifier: Any, name: str, learned: Any, x: Any) -> tuple[Any, float]:
    # How well it learned does not change how fast it is.
    defence = defences.get(name).create(classifier, **(learned or {}), batch_size=len(x))
    fit = bench.once(lambda: defence.fit(x)) if learned else 0.0
    return defence, fit


def _defence(bench: Bench, classifier: Any, name: str, learned: Any, x: Any) -> Figures:
    defence, fit = _made(bench, classifier, name, learned, x)
    images = bench.on_device(x)
    seconds = bench.median(lambda: defence.forward(images), 3)
    return {"milliseconds_per_image": 1e3 * seconds / len(x), "fit_seconds": fit}


def _waits(bench: Bench, classifier: Any, name: str, learned: Any, x: Any) -> Figures:
    if not bench.on_gpu:
        return bench.waits(lambda: None)
    defence, _ = _made(bench, classifier, name, learned, x)
    images = bench.on_device(x)
    return bench.waits(lambda: defence.forward(images))
