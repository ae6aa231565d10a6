"""How does NIP compare with ART's defences for NumPy, which work on the host?"""

from functools import partial
from typing import Any

from art.defences.preprocessor import JpegCompression, SpatialSmoothing

from benchmarks.gpu.bench import Bench, Figures, Rows


def rows(bench: Bench) -> Rows:
    for name, side, batch in (
        ("resnet20", 32, 256),
        ("resnet20", 32, 1024),
        ("mobilenet", 224, 64),
    ):
        side = bench.size(side, 32)
        classifier = bench.classifier(name, side)
        nip = bench.fitted(classifier, 500, batch_size=batch)
        x = bench.noise(bench.size(batch, 2), classifier.input_shape, seed=1)
        for other in (
            SpatialSmoothing(2, channels_first=True),
            JpegCompression((0, 1), quality=80, channels_first=True),
        ):
            what = f"{name} {side}×{side}, batch {batch}: nip(x) / ART {type(other).__name__}"
            # They take as long for an image of many as for one of few.
            some = x[:32]
            yield what, partial(_per_image, bench, nip, other, x, some)


def _per_image(bench: Bench, nip: Any, other: Any, x: Any, some: Any) -> Figures:
    found = bench.compare(lambda: nip(x), lambda: other(some), 5)
    microseconds = {
        "nip_microseconds": 1e6 * found["seconds"] / len(x),
        "other_microseconds": 1e6 * found["base_seconds"] / len(some),
    }
    ratio = microseconds["nip_microseconds"] / microseconds["other_microseconds"]
    return {**microseconds, "ratio": ratio}
