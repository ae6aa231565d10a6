"""Ask all questions in turn, the most important first."""

import argparse
from pathlib import Path

from benchmarks import gpu
from benchmarks.gpu import (
    banks,
    class_evidence,
    fitting,
    numpy_defences,
    predict,
    same_results,
    torch_defences,
    train,
)
from benchmarks.gpu.bench import Bench

QUESTIONS = {
    "same": same_results.rows,
    "predict": predict.rows,
    "numpy": numpy_defences.rows,
    "fit": fitting.rows,
    "class": class_evidence.rows,
    "bank": banks.rows,
    "defences": torch_defences.rows,
    "train": train.rows,
    "compile": predict.compiled_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=gpu.__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="the rows are written here, one by one")
    parser.add_argument("--seconds", type=float, default=540, help="no row begins after these")
    parser.add_argument("--only", default=",".join(QUESTIONS), help="questions, by commas")
    parser.add_argument("--tiny", action="store_true", help="as small as can be, for a test")
    options = parser.parse_args()
    bench = Bench(options.seconds, options.tiny, options.json)
    print(bench.machine(), flush=True)
    for name in options.only.split(","):
        if name not in QUESTIONS:
            parser.error(f"there is no question {name!r}; there are {', '.join(QUESTIONS)}")
        bench.answer(name, QUESTIONS[name](bench))


if __name__ == "__main__":
    main()
