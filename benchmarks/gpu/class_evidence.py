"""What do "class" retrieval and the attack made for it cost, on a model that was trained?"""

from functools import partial
from typing import Any

import numpy as np

from art_nip import NIPPreprocessor
from art_nip.attacks import SteeringAttack
from art_nip.estimators.pass_counting import counting
from art_nip.zoo import training
from benchmarks.gpu.bench import Bench, Figures, Rows

CLASSES = 10


def rows(bench: Bench) -> Rows:
    x, y = _pictures(bench, seed=0)
    classifier = bench.classifier("resnet20", 32)
    batch = bench.size(50, 20)
    recipe = training.Recipe(epochs=bench.size(5, 1), batch_size=batch)
    training.train(classifier.model, x, y, recipe, verbose=False)
    nip = NIPPreprocessor.for_estimator(classifier, retrieval="class", verbose=False)
    nip.fit(x)
    defended = nip.attach(classifier)
    benign = _pictures(bench, seed=1)[0][: bench.size(256, 16)]
    noise = bench.noise(bench.size(256, 4), classifier.input_shape, seed=2)
    for what, images in (("benign images", benign), ("noise", noise)):
        yield (
            f"class: defended / undefended on {what}",
            partial(_class, bench, defended, classifier, images),
        )
        yield (
            f"class: waits of the host on {what}",
            partial(bench.waits, partial(defended.predict, images)),
        )
    yield "steering: 5 steps", partial(_steering, bench, defended, benign[:128])


def _pictures(bench: Bench, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of classes that can be learned: each its own pattern under noise."""
    n = bench.size(100, 8)
    patterns = bench.noise(CLASSES, (3, 32, 32), seed=100)
    x = bench.noise(CLASSES * n, (3, 32, 32), seed) + np.tile(patterns, (n, 1, 1, 1))
    return x / 2, np.tile(np.arange(CLASSES), n)


def _class(bench: Bench, defended: Any, classifier: Any, x: np.ndarray) -> Figures:
    with counting(classifier) as passes:
        defended.predict(x)
    found = bench.compare(lambda: defended.predict(x), lambda: classifier.predict(x), 5)
    return {**found, "forward_equivalents": (passes.forward + 2 * passes.backward) / len(x)}


def _steering(bench: Bench, defended: Any, x: np.ndarray) -> Figures:
    steps = bench.size(5, 2)
    attack = SteeringAttack(defended, max_iter=steps, targets=1, verbose=False)
    seconds = bench.once(lambda: attack.generate(x))
    return {"milliseconds_per_image_and_step": 1e3 * seconds / len(x) / steps}
