"""What the adaptive suite and its checklist make of defences that are known to be broken.

    python -m experiments.broken
    python -m experiments.broken 0.2 "early exit"

LeNet-5 on the digits that this package brings along, ε (0.3), and the defences of the tests, all or
those named. Prints the tables of docs/results/broken.md; results are kept in `results/broken-EPS`.
"""

import sys

from art_nip import zoo
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.analysis.checklist import checklist
from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.analysis.worst_case import outcomes
from art_nip.benchmark.schema.words import Status
from art_nip.data import mnist, split
from art_nip.zoo import classifiers, training
from tests.benchmark.broken_defences import NAMES, alone, broken

IMAGES = 40
STEPS = {"max_iter": 10, "queries": 100}
OF_ALL = {"an attack was made for this defence"}
"""Items that fail for whatever offers no surrogate losses, and so tell nothing apart."""


def main(eps: float = 0.3, *names: str) -> None:
    """Run the suite, and print what it leaves."""
    train, _, (x, y) = split(*mnist(), sizes=(3000, 600, 200))
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    recipe = training.Recipe(epochs=3, batch_size=64, bfloat16=False)
    training.train(model, *train, recipe, verbose=False)
    benchmark = Benchmark(
        classifiers.as_classifier(model.eval(), "pytorch", (1, 28, 28), 10),
        [Attack("adaptive", parameters={"eps": eps, **STEPS}, limit=IMAGES)],
        {name: broken(name, "pytorch", model, *train) for name in names or NAMES},
        threats=["adaptive"],
        store=f"results/broken-{eps:g}",
    )
    benchmark.run(x[:IMAGES], y[:IMAGES])
    print("| defence | benign | FGSM and PGD | suite | what fails with FGSM and PGD alone |")
    print("|---|---:|---:|---:|---|")
    with benchmark._grid(x[:IMAGES], y[:IMAGES], None) as grid:
        results = GridResults(grid, benchmark._store)
        for outcome in outcomes(results):
            simple = alone(outcome)
            failed = [
                f"{item.item}: {item.evidence}"
                for item in checklist(results, [simple])
                if item.status is Status.FAILED and item.item not in OF_ALL
            ]
            shares = [~outcome.benign_wrong, simple.robust, outcome.robust]
            cells = [f"{share.mean():.2f}" for share in shares]
            if outcome.repeated is not None:
                cells[-1] += f" (one draw {outcome.robust_once.mean():.2f})"
            print(f"| {' | '.join([outcome.defence, *cells, '; '.join(failed)])} |")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *sys.argv[2:])
