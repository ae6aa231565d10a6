"""What does the defence cost in predict, where does the time go, and what makes it less?"""

from functools import partial
from typing import Any

import numpy as np
import torch

from art_nip import NIPPreprocessor
from art_nip.zoo.classifiers import as_classifier
from benchmarks.gpu.bench import Bench, Figures, Rows

SETTINGS = (
    ("resnet20", 32, (1, 256, 1024)),
    ("vgg19", 32, (1, 256, 1024)),
    ("mobilenet", 224, (64, 256)),
)


def rows(bench: Bench) -> Rows:
    for name, side, batches in SETTINGS:
        side = bench.size(side, 32)
        classifier = bench.classifier(name, side)
        nip = bench.fitted(classifier, batch_size=max(batches))
        for full in batches:
            what = f"{name} {side}×{side}, batch {full}"
            x = bench.noise(bench.size(full, 2), classifier.input_shape, seed=1)
            yield (
                f"{what}: defended / undefended",
                partial(_through_art, bench, nip.attach(classifier), classifier, x),
            )
            yield f"{what}: parts", partial(_parts, bench, nip, classifier, x)
            for look in ("bfloat16", "float16"):
                yield (
                    f"{what}: look in {look}",
                    partial(_look, bench, nip, classifier, x, look),
                )
            yield f"{what}: channels_last", partial(_channels_last, bench, nip, classifier, x)


def compiled_rows(bench: Bench) -> Rows:
    """Yield what `torch.compile` makes of it: asked last, as compiling takes long."""
    for name, side, batches in SETTINGS:
        side = bench.size(side, 32)
        classifier = bench.classifier(name, side)
        x = bench.noise(bench.size(batches[-2], 2), classifier.input_shape, seed=1)
        what = f"{name} {side}×{side}, batch {batches[-2]}"
        yield what, partial(_compiled, bench, classifier, x)


def _through_art(bench: Bench, defended: Any, classifier: Any, x: np.ndarray) -> Figures:
    return bench.compare(
        lambda: defended.predict(x, batch_size=len(x)),
        lambda: classifier.predict(x, batch_size=len(x)),
    )


def _model(classifier: Any, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return classifier.model(images)


def _parts(bench: Bench, nip: NIPPreprocessor, classifier: Any, x: np.ndarray) -> Figures:
    images, adapter = bench.on_device(x), nip._adapter
    drawn = torch.arange(len(x), device=images.device) % len(nip.candidates)
    at_work = nip._ready()
    reader = at_work.reader
    return {
        "model": bench.median(lambda: _model(classifier, images)),
        "nip_forward": bench.median(lambda: nip.forward(images)),
        "look": bench.median(lambda: adapter.influence(images)),
        "retrieve": bench.median(lambda: reader.candidate(images)),
        "add": bench.median(lambda: at_work.added(images, reader._stored(drawn))),
        "upload": bench.median(lambda: bench.on_device(x)),
    }


def _look(bench: Bench, nip: NIPPreprocessor, classifier: Any, x: np.ndarray, look: str) -> Figures:
    images, exact = bench.on_device(x), nip._adapter
    half, before = exact.in_precision(look), nip.retrieve(x)
    looked = bench.compare(lambda: half.influence(images), lambda: exact.influence(images))
    nip.set_params(look=look)
    try:
        same = float((nip.retrieve(x) == before).mean())
        through_art = _through_art(bench, nip.attach(classifier), classifier, x)
    finally:
        nip.set_params(look="float32")
    return {
        "look_ratio": looked["ratio"],
        "look_seconds": looked["seconds"],
        "defended_ratio": through_art["ratio"],
        "same_candidate": same,
    }


def _channels_last(bench: Bench, nip: NIPPreprocessor, classifier: Any, x: np.ndarray) -> Figures:
    images, model = bench.on_device(x), classifier.model
    first = bench.median(lambda: _model(classifier, images))
    look = bench.median(lambda: nip._adapter.influence(images))
    last = images.to(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)
    try:
        return {
            "model_ratio": bench.median(lambda: _model(classifier, last)) / first,
            "look_ratio": bench.median(lambda: nip._adapter.influence(last)) / look,
            "defended_ratio": _through_art(bench, nip.attach(classifier), classifier, x)["ratio"],
        }
    finally:
        model.to(memory_format=torch.contiguous_format)


def _compiled(bench: Bench, classifier: Any, x: np.ndarray) -> Figures:
    if bench.tiny:
        return {"skipped": "compiling takes too long for a test"}
    images = bench.on_device(x)
    plain = bench.median(lambda: _model(classifier, images))
    model = torch.compile(classifier.model)
    compiled = as_classifier(model, "pytorch", classifier.input_shape, 10)
    first = bench.once(lambda: _model(compiled, images))
    alone = bench.median(lambda: _model(compiled, images))
    defended = bench.fitted(compiled, batch_size=len(x)).attach(compiled)
    return {
        "first_seconds": first,
        "model_ratio": alone / plain,
        "defended_ratio": _through_art(bench, defended, compiled, x)["ratio"],
    }
