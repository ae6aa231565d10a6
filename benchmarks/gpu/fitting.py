"""What does fitting cost beside one forward and one backward pass, and how much memory?"""

from functools import partial
from typing import Any

import numpy as np
import torch

from art_nip import NIPPreprocessor
from benchmarks.gpu.bench import NO_GPU, Bench, Figures, Rows


def rows(bench: Bench) -> Rows:
    for name, side, n in (("resnet20", 32, 4096), ("vgg19", 32, 4096), ("mobilenet", 224, 512)):
        side = bench.size(side, 32)
        classifier = bench.classifier(name, side)
        x = bench.noise(bench.size(n, 16), classifier.input_shape)
        for batch in (128, 512):
            nip = NIPPreprocessor.for_estimator(classifier, verbose=False, batch_size=batch)
            what = f"{name} {side}×{side}, batch {batch}: fit"
            yield f"{what} / passes", partial(_fit, bench, nip, classifier, x, batch)
            if batch == 128:
                some = x[:batch]
                yield (
                    f"{what}: waits of the host",
                    partial(bench.waits, partial(nip.fit, some)),
                )
    side = bench.size(224, 32)
    classifier = bench.classifier("mobilenet", side)
    defended = bench.fitted(classifier, 256).attach(classifier)
    x = bench.noise(bench.size(2000, 8), classifier.input_shape)
    for what, estimator in (("undefended", classifier), ("defended", defended)):
        yield f"peak memory of predicting 2,000 images, {what}", partial(_peak, bench, estimator, x)


def _fit(bench: Bench, nip: NIPPreprocessor, classifier: Any, x: np.ndarray, batch: int) -> Figures:
    def passes() -> None:
        for start in range(0, len(x), batch):
            images = bench.on_device(x[start : start + batch]).requires_grad_()
            scores = classifier.model(images).amax(1).sum()
            torch.autograd.grad(scores, images)[0].cpu()

    found = bench.compare(lambda: nip.fit(x), passes, 3)
    return {**found, "images_per_second": len(x) / found["seconds"]}


def _peak(bench: Bench, estimator: Any, x: np.ndarray) -> Figures:
    if not bench.on_gpu:
        return dict(NO_GPU)
    estimator.predict(x[:256])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    estimator.predict(x)
    return {"mib": torch.cuda.max_memory_allocated() / 2**20, "images_mib": x.nbytes / 2**20}
