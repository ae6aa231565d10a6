"""What all questions share: the device, models and images, clocks, and the file of rows."""

import json
import platform
import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from art_nip import NIPPreprocessor, zoo
from art_nip.zoo.classifiers import as_classifier
from art_nip.zoo.training import seed_weights

Run = Callable[[], object]
Figures = Mapping[str, Any]
Row = tuple[str, Callable[[], Figures]]
Rows = Iterator[Row]

NO_GPU = {"skipped": "there is no GPU"}
LONGEST = 4.0
"""Seconds after which no run is repeated."""
LEAST_LEFT = 15.0
"""Seconds that must be left for a row to begin."""


@dataclass
class Bench:
    """The machine, and what was found on it.

    :param seconds: the budget.
    :param tiny: whether sizes and models are as small as can be, for a test of the form.
    :param path: the JSON file; None writes none.
    """

    seconds: float
    tiny: bool = False
    path: Path | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @cached_property
    def device(self) -> torch.device:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.started)

    def size(self, size: int, tiny: int) -> int:
        """Return a size, or the one for tests."""
        return tiny if self.tiny else size

    # The file

    def answer(self, question: str, rows: Rows) -> None:
        """Measure the rows of a question; an error ends a row, not the others."""
        try:
            for name, measure in rows:
                self._keep(question, name, self._measured(measure))
                if self.on_gpu:
                    torch.cuda.empty_cache()
        except Exception:
            self._keep(question, "what its rows need", _error())

    def _measured(self, measure: Callable[[], Figures]) -> Figures:
        if self.left < LEAST_LEFT:
            return {"skipped": "no time was left"}
        try:
            return measure()
        except Exception:
            return _error()

    def _keep(self, question: str, name: str, figures: Figures) -> None:
        at = round(time.perf_counter() - self.started, 1)
        self.rows.append({"question": question, "row": name, **figures, "at": at})
        shown = {key: value for key, value in figures.items() if key != "traceback"}
        print(f"{at:6.1f}  {question}: {name}: {_short(shown)}", flush=True)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({**self.machine(), "rows": self.rows}, indent=1))

    def machine(self) -> dict[str, Any]:
        """Return what the figures are of."""
        gpu = torch.cuda.get_device_properties(0) if self.on_gpu else None
        return {
            "device": gpu.name if gpu else f"{torch.get_num_threads()} CPU threads",
            "memory": gpu.total_memory if gpu else None,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "tf32": {
                "cudnn": torch.backends.cudnn.allow_tf32,
                "matmul": torch.backends.cuda.matmul.allow_tf32,
            },
            "date": date.today().isoformat(),
            "tiny": self.tiny,
        }

    # Models and images

    def noise(self, n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).random((n, *shape), dtype=np.float32)

    def on_device(self, x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).to(self.device)

    def classifier(self, name: str, side: int, **keywords: Any) -> Any:
        """Return an ART classifier of a model with random weights, the same each time.

        For tests all are LeNet-5: larger ones take long on a CPU, float16 above all.
        """
        seed_weights("pytorch", 0)
        shape = (3, side, side)
        model = zoo.create("lenet5" if self.tiny else name, input_shape=shape, nb_classes=10).eval()
        return as_classifier(model, "pytorch", shape, 10, **keywords)

    def fitted(self, classifier: Any, n: int = 1000, **parameters: Any) -> NIPPreprocessor:
        nip = NIPPreprocessor.for_estimator(classifier, verbose=False, **parameters)
        nip.fit(self.noise(self.size(n, 60), classifier.input_shape))
        return nip

    # Clocks

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def once(self, run: Run) -> float:
        """Return the seconds of one run, until the GPU has done it."""
        self.wait()
        started = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - started

    def median(self, run: Run, repeat: int = 7) -> float:
        """Return the median seconds of runs, after one that does not count."""
        run()
        found: list[float] = []
        repeat = self.size(repeat, 1)
        while len(found) < repeat and sum(found) < LONGEST:
            found.append(self.once(run))
        return statistics.median(found)

    def compare(self, run: Run, base: Run, repeat: int = 7) -> dict[str, float]:
        """Time two runs alternately; the ratio is the median over pairs."""
        run(), base()
        pairs: list[tuple[float, float]] = []
        repeat = self.size(repeat, 1)
        while len(pairs) < repeat and sum(map(sum, pairs)) < LONGEST:
            pairs.append((self.once(run), self.once(base)))
        return {
            "seconds": statistics.median(a for a, _ in pairs),
            "base_seconds": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(a / b for a, b in pairs),
        }

    def waits(self, run: Run) -> dict[str, Any]:
        """Return how often the host waits for the GPU in a run, and at which lines most."""
        if not self.on_gpu:
            return dict(NO_GPU)
        run()
        self.wait()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        lines = Counter(
            f"{'/'.join(Path(found.filename).parts[-2:])}:{found.lineno}"
            for found in seen
            if "called a synchronizing" in str(found.message)
        )
        return {"waits": sum(lines.values()), "lines": dict(lines.most_common(10))}


def _error() -> dict[str, str]:
    text = traceback.format_exc().strip()
    return {"error": text.splitlines()[-1][:500], "traceback": text[-2000:]}


def _short(figures: Figures) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )
