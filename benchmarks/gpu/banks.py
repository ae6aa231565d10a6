"""What do many candidates cost, on the device and on the host?"""

from functools import partial
from typing import Any

import numpy as np
import torch

from art_nip import NIPPreprocessor
from art_nip.nip.bank import CandidateBank
from art_nip.nip.retrieval.neighbour import most_similar
from benchmarks.gpu.bench import NO_GPU, Bench, Figures, Rows

WIDTH = 4096
"""Neurons of the layer by which "nearest" looks."""


def rows(bench: Bench) -> Rows:
    classifier = bench.classifier("resnet20", 32)
    nip = bench.fitted(classifier, 100)
    x = bench.on_device(bench.noise(bench.size(256, 4), classifier.input_shape, seed=1))
    yield "100 candidates", partial(_of_bank, bench, nip, x, None)
    for full, tiny in ((10**5, 200), (10**6, 400)):
        n = bench.size(full, tiny)
        for dtype in ("uint8", "float16", "float32"):
            what = f"{full:,} candidates in {dtype}"
            if dtype != "float32" or full < 10**6:
                yield f"{what}, on the device", partial(_large, bench, nip, x, n, dtype, False)
            if dtype == "uint8":
                yield f"{what}, on the host", partial(_large, bench, nip, x, n, dtype, True)
    for bits in (22, 25, 28):
        what = f'"nearest" of 100,000 vectors of {WIDTH}, 2^{bits} values at once'
        yield what, partial(_nearest, bench, bits)


def _large(
    bench: Bench, nip: NIPPreprocessor, x: torch.Tensor, n: int, dtype: str, on_host: bool
) -> Figures:
    shape = tuple(x.shape[1:])
    needed = n * int(np.prod(shape)) * np.dtype(dtype).itemsize
    if bench.on_gpu and not on_host and 2 * needed > torch.cuda.mem_get_info()[0]:
        return {"skipped": f"it takes {needed / 2**30:.1f} GiB, over half of what is free"}
    rng = np.random.default_rng(0)
    bank = CandidateBank(
        rng.random(n, dtype=np.float32),
        np.zeros(n, np.int64),
        np.zeros((n, *shape), dtype),
        np.zeros(n, np.float32),
    )
    before, adapter = nip._fitted, nip._adapter
    nip._adopt(before._replace(bank=bank))
    try:
        if on_host and not bench.on_gpu:
            return dict(NO_GPU)
        if on_host:
            vars(adapter)["held"] = torch.from_numpy
        return _of_bank(bench, nip, x, needed)
    finally:
        vars(adapter).pop("held", None)
        nip._adopt(before)


def _of_bank(bench: Bench, nip: NIPPreprocessor, x: torch.Tensor, size: int | None) -> Figures:
    first = bench.once(lambda: nip.forward(x))
    figures: dict[str, Any] = {
        "first_seconds": first,
        "seconds": bench.median(lambda: nip.forward(x)),
        "bytes": size,
    }
    if bench.on_gpu:
        figures["allocated"] = torch.cuda.memory_allocated()
    return figures


def _nearest(bench: Bench, bits: int) -> Figures:
    n = bench.size(10**5, 500)
    vectors = torch.nn.functional.normalize(torch.rand(bench.size(256, 4), WIDTH), dim=1)
    vectors = vectors.to(bench.device)
    stored = torch.rand(n, WIDTH, device=bench.device).half()

    def tensor(chunk: torch.Tensor) -> torch.Tensor:
        return chunk.to(bench.device, torch.float32)

    return {
        "seconds": bench.median(
            lambda: most_similar(vectors, stored, max(1, 2**bits // WIDTH), tensor), 3
        )
    }
