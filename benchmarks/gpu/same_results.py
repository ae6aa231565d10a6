"""Are results the same as on the CPU, the same twice, and where does the host wait?"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from art_nip import NIPPreprocessor, zoo
from benchmarks.gpu.bench import Bench, Figures, Rows


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let the GPU round factors to 10 bits in convolutions and matrix products, or not."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, was in zip(backends, before, strict=True):
            backend.allow_tf32 = was


def rows(bench: Bench) -> Rows:
    here = bench.classifier("resnet20", 32)
    host = bench.classifier("resnet20", 32, device_type="cpu")
    zoo.copy_weights(here.model, host.model)
    x = bench.noise(bench.size(512, 16), (3, 32, 32), seed=1)
    labels = np.eye(10, dtype=np.float32)[np.arange(len(x)) % 10]
    for retrieval in ("similarity", "nearest", "class"):
        on_host = bench.fitted(host, 2000, retrieval=_retrieval(retrieval))
        moved = on_host.attach(here).preprocessing_defences[-1]
        for allowed in (False, True):
            name = f"{retrieval} against the CPU, TF32 {'on' if allowed else 'off'}"
            yield name, partial(_against, on_host, moved, host, here, x, labels, allowed)
        yield (
            f"{retrieval}: waits of the host in predict, a batch of 128",
            partial(_waits, bench, moved.attach(here), x[:128]),
        )
    nip = bench.fitted(here, 2000)
    yield "δ of images one by one against together", partial(_one_by_one, nip, x[:64])
    defended = nip.attach(here)
    yield "two loss gradients of the same images", partial(_twice, defended, x, labels)


def _retrieval(name: str) -> Any:
    # Random weights tell no class early, so the evidence is of a view.
    view = {"name": "SpatialSmoothing", "window_size": 2}
    evidence = {"name": "views", "defences": [view]}
    return {"name": "class", "evidence": evidence, "steps": 5} if name == "class" else name


def _against(
    on_host: NIPPreprocessor, moved: NIPPreprocessor, host: Any, here: Any,
    x: np.ndarray, labels: np.ndarray, allowed: bool,
) -> Figures:  # fmt: skip
    with tf32(allowed):
        delta = np.abs(moved.similarity(x) - on_host.similarity(x))
        gradient = moved.attach(here).loss_gradient(x, labels)
        exact = on_host.attach(host).loss_gradient(x, labels)
        cosines = (gradient * exact).sum((1, 2, 3)) / (_norm(gradient) * _norm(exact) + 1e-30)
        return {
            "delta_median_error": float(np.median(delta)),
            "delta_worst_error": float(delta.max()),
            "same_candidate": float((moved.retrieve(x) == on_host.retrieve(x)).mean()),
            "image_worst_error": float(np.abs(moved(x)[0] - on_host(x)[0]).max()),
            "gradient_cosine_median": float(np.median(cosines)),
            "gradient_cosine_worst": float(cosines.min()),
        }


def _norm(images: np.ndarray) -> np.ndarray:
    return np.sqrt((images.astype(np.float64) ** 2).sum((1, 2, 3)))


def _waits(bench: Bench, defended: Any, x: np.ndarray) -> Figures:
    return bench.waits(lambda: defended.predict(x))


def _one_by_one(nip: NIPPreprocessor, x: np.ndarray) -> Figures:
    together = nip.similarity(x)
    alone = np.concatenate([nip.similarity(x[place : place + 1]) for place in range(len(x))])
    return {"worst": float(np.abs(alone - together).max())}


def _twice(defended: Any, x: np.ndarray, labels: np.ndarray) -> Figures:
    one, other = (defended.loss_gradient(x, labels) for _ in range(2))
    return {
        "equal_to_the_last_bit": bool(np.array_equal(one, other)),
        "worst": float(np.abs(one - other).max()),
        "largest": float(np.abs(one).max()),
    }
