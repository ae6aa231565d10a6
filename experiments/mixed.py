"""Mixed evidence on adversarially trained models: its choice, and what gradient attacks leave.

    OMP_NUM_THREADS=1 python experiments/mixed.py gtsrb-lenet5 choose \
        --data data --weights weights
    … benign …, … pgd … --images 2000, … suite … --images 1000
    python experiments/mixed.py gtsrb-lenet5 table --of pgd

GTSRB: the fit is on the whole train file, weights are chosen on the last 1,000 images of the test
file, and all else is measured on the first ones. CIFAR-10: the model learned from the first 48,000
images of the train file, evidence learns from the first 20,000 of these, and weights are chosen on
the others. `pgd` follows the mixture, the model and the evidence, alone and together, with 40 steps
that fall in size, and ends with APGD as the adaptive suite has it; `suite` runs gradient attacks of
the suite with its full steps, and `steering` with those given. An attack meets only images that are
still right, so that what is left is the worst case. It is kept in a folder, some images at a time,
and a run that was stopped goes on.
"""

import argparse
import platform
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from class_evidence import tracks

from art_nip import NIPPreprocessor, as_module, attacks, data
from art_nip.benchmark import choose_mixture
from art_nip.benchmark.analysis.paired import PairedDifference
from art_nip.benchmark.plan import suite
from art_nip.benchmark.schema.words import Role
from art_nip.data import parquet
from art_nip.nip.retrieval import MixedEvidence, ShallowEvidence
from art_nip.utils.seeds import seeded
from art_nip.zoo.classifiers import load

EPS = 8 / 255
VALIDATION = 1000
"""How many images of GTSRB's test file are kept for choices."""
LEARNED = 48_000
"""How many images of CIFAR-10's train file the model learned from; the others are for choices."""
FITTED = 20_000
"""How many images of a train file evidence learns from at most: of GTSRB's, all."""
AFTER_PGD = (Role.APGD_CE, Role.APGD_TARGETED)
ROLES = (Role.PGD_LONGER, Role.APGD_CE, Role.APGD_TARGETED, Role.STEERING)
PGD_OF_BASE = [
    *((["model"], None, 0), (["model"], None, 1)),
    *((["model"], rank, 0) for rank in range(4)),
    *((["model"], rank, 1) for rank in range(4)),
]
"""Parts that are followed, the rank of the target (None: away from the class), and the start."""
PGD = [
    *((["verdict"], None, 0), (["verdict"], None, 1), (["verdict"], 0, 0)),
    *((["model"], 0, 0), (["evidence"], 0, 0)),
    *((["model", "evidence"], rank, 0) for rank in range(4)),
    # The model's gradient counts twice.
    *((["model", "model", "evidence"], rank, 1) for rank in range(4)),
]
CHOSEN = {
    "gtsrb-lenet5": MixedEvidence(ShallowEvidence(layers=("features.4",)), weight=0.2),
    "gtsrb-resnet20": MixedEvidence(
        ShallowEvidence(layers=tuple(f"features.{k}.body.0:input" for k in (3, 7, 9, 11))),
        weight=0.3,
    ),
    "cifar10-resnet20": MixedEvidence(
        ShallowEvidence(layers=("features.12", "features.16", "features.20")),
        weight=0.1,
    ),
}
"""The evidence, and the weight that `choose` found; it found none on CIFAR-10: the least tried."""


class Subject:
    """A model, the NIP fitted for it, and its images."""

    def __init__(
        self, name: str, folder: Path, weights: Path, store: Path, weight: float | None
    ) -> None:
        retrieval = CHOSEN[name] if weight is None else replace(CHOSEN[name], weight=weight)
        self.classifier = load(weights / f"{name}-adversarial.safetensors", "pytorch")
        for weight in self.classifier.model.parameters():
            weight.requires_grad_(False)
        # In this order in memory, convolutions compute faster.
        self.classifier.model.to(memory_format=torch.channels_last)
        of = name.partition("-")[0]
        train = folder / f"{of}-train.parquet"
        file = store / "nip.safetensors"
        if not file.exists():
            x, y, _ = parquet(train, limit=FITTED)
            rows = np.argsort(tracks(train)[: len(x)], kind="stable")
            nip = NIPPreprocessor.for_estimator(self.classifier, retrieval=retrieval, verbose=False)
            store.mkdir(parents=True, exist_ok=True)
            nip.fit(x[rows], y[rows], bank=file)
        self.nip = NIPPreprocessor.load(file, self.classifier)
        self.nip.set_params(retrieval=retrieval, verbose=False)
        self.x, self.y, _ = data.load(of, "test", folder=folder)
        self._train = train if of == "cifar10" else None
        if not self._train:
            self._kept = self.x[-VALIDATION:], self.y[-VALIDATION:]
            self.x, self.y = self.x[:-VALIDATION], self.y[:-VALIDATION]

    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images for choices, on which nothing was fitted, and their classes."""
        if not self._train:
            return self._kept
        x, y, _ = parquet(self._train)
        return x[LEARNED:], y[LEARNED:]


def choose(subject: Subject, options: argparse.Namespace) -> None:
    x, y = (of[: options.images] for of in subject.validation())
    with seeded(0):
        chosen, found = choose_mixture(
            subject.nip, subject.classifier, x, y, weights=options.weights_tried,
            max_iter=20, targets=2,
        )  # fmt: skip
    print(f"{len(x)} validation images, {platform.machine()}, {date.today()}\n")
    print("| weight | benign | robust |\n|---|---|---|")
    for each in found:
        print(f"| {each.retrieval.weight:g} | {each.benign:.3f} | {each.robust:.3f} |")
    print(f"\nChosen: {chosen.weight:g}")


def benign(subject: Subject) -> None:
    x, y = subject.x, subject.y
    mixed = subject.nip.attach(subject.classifier)
    base, found = (each.predict(x).argmax(1) == y for each in (subject.classifier, mixed))
    print(f"{len(x)} test images, {platform.machine()}, {date.today()}\n")
    print(f"base {base.mean():.4f}, mixed {found.mean():.4f}: {written(found, base)}")


def written(first: np.ndarray, second: np.ndarray) -> str:
    found = PairedDifference.of(first, second)
    won, lost = (first & ~second).sum(), (second & ~first).sum()
    interval = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{interval}, won {won}, lost {lost}, p = {found.p:.2g}"


def measure(subject: Subject, options: argparse.Namespace, store: Path) -> None:
    mixed = subject.nip.attach(subject.classifier)
    for start in range(0, min(options.images, len(subject.x)), options.at_once):
        x, y = (of[start : start + options.at_once] for of in (subject.x, subject.y))
        for name, classifier in (("base", subject.classifier), ("mixed", mixed)):
            file = store / f"{options.what}-{name}-{start:05d}.npz"
            found = dict(np.load(file)) if file.exists() else {}
            found = found or {"benign": classifier.predict(x).argmax(1) == y}
            before = len(found)
            if options.what == "pgd":
                by_pgd(classifier, x, y, found)
            by_suite(classifier, x, y, options, found)
            if len(found) > before:
                np.savez(file, **found)
                print(
                    file.name, {role: int(mask.sum()) for role, mask in found.items()}, flush=True
                )


def by_suite(
    classifier: Any,
    x: np.ndarray,
    y: np.ndarray,
    options: argparse.Namespace,
    found: dict[str, np.ndarray],
) -> None:
    """Add which images are still right after each attack and those before."""
    roles = ROLES if options.what == "suite" else AFTER_PGD
    right = list(found.values())[-1].copy()
    members = {member.role: member for member in suite.members("linf", EPS, 20, 500)}
    for role in roles:
        steered = role is Role.STEERING and not Followed(classifier).is_mixed
        if steered or str(role) in found:
            continue
        member, rows = members[role], np.flatnonzero(right)
        parameters = dict(member.parameters)
        if role is Role.STEERING:
            parameters |= {"targets": options.targets, "max_iter": options.steps}
        with seeded(int(rows.sum())):
            attack = attacks.get(member.attack).create(classifier, **parameters)
            adversarial = attack.generate(x[rows], y[rows])
        right[rows] = classifier.predict(adversarial).argmax(1) == y[rows]
        found[str(role)] = right.copy()


def by_pgd(classifier: Any, x: np.ndarray, y: np.ndarray, found: dict[str, np.ndarray]) -> None:
    """Add which images are still right after each attack and those before."""
    right = list(found.values())[-1].copy()
    followed, generator = Followed(classifier), torch.Generator().manual_seed(int(y.sum()))
    images, labels = (torch.from_numpy(of).to(classifier.device) for of in (x, y))
    for parts, rank, noise in PGD if followed.is_mixed else PGD_OF_BASE:
        name = f"{' + '.join(parts)}, {'away' if rank is None else rank}{', noise' * noise}"
        if name in found:
            continue
        rows = torch.from_numpy(np.flatnonzero(right))
        x0, target = images[rows], labels[rows]
        drawn = torch.rand(x0.shape, generator=generator).to(classifier.device)
        moved = x0 + noise * EPS * (2 * drawn - 1)
        if rank is not None:
            scores = sum(followed(x0)[part].log_softmax(1) for part in parts).detach()
            target = scores.scatter(1, target[:, None], -torch.inf).topk(rank + 1).indices[:, rank]
        left = torch.arange(len(rows))
        for size in EPS / 2 * np.geomspace(1, 1 / 40, 40):
            at = moved[left].clamp(0, 1).requires_grad_()
            scores = followed(at)
            wrong = (scores["verdict"].argmax(1) != labels[rows[left]]).cpu()
            right[rows[left[wrong]]] = False
            way = 0
            for part, times in Counter(parts).items():
                lead = ahead(scores[part], target[left]) * (-1 if rank is None else 1)
                (gradient,) = torch.autograd.grad(lead.sum(), at, retain_graph=True)
                size_of = gradient.abs().mean((1, 2, 3), keepdim=True) + 1e-20
                way = way + times * gradient / size_of
            step = at.detach() + float(size) * way.sign()
            moved[left] = step.clamp(min=x0[left] - EPS, max=x0[left] + EPS)
            left = left[~wrong]
            if not len(left):
                break
        final = classifier.predict(moved.clamp(0, 1).cpu().numpy()).argmax(1)
        right[rows] &= final == y[rows]
        found[name] = right.copy()


class Followed:
    """The scores of a classifier's parts, by name, of one differentiable pass."""

    def __init__(self, classifier: Any) -> None:
        self.is_mixed = classifier.model._get_name() == "AnsweringModule"
        self._module = as_module(classifier)
        if self.is_mixed:
            self._reader = classifier.model._nip._answering()

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self.is_mixed:
            logits = self._module(x)
            return {"verdict": logits, "model": logits}
        evidence = self._reader.evidence
        logits, maps = self._reader._adapter.connected(x, evidence.layers)
        return {
            "verdict": self._reader._mixture(x, logits, maps),
            "model": logits,
            "evidence": evidence.surrogate_scores(x, logits, maps),
        }


def ahead(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return by how much each image's class is ahead of the others, shape (N,)."""
    others = scores.scatter(1, classes[:, None], -torch.inf).amax(1)
    return scores.gather(1, classes[:, None])[:, 0] - others


def table(store: Path, of: str) -> None:
    pairs = [
        (store / file.name.replace("mixed", "base"), file)
        for file in sorted(store.glob(f"{of}-mixed-*.npz"))
    ]
    loaded = [[dict(np.load(file)) for file in pair] for pair in pairs]
    # Those that have met all attacks.
    loaded = [pair for pair in loaded if [of.keys() for of in pair] == [*map(dict.keys, loaded[0])]]
    base, mixed = (
        {key: np.concatenate([of[key] for of in column]) for key in column[0]}
        for column in zip(*loaded, strict=True)
    )
    n = len(base["benign"])
    print(f"{n} test images, {platform.machine()}, {date.today()}\n")
    print("| after | base | mixed | difference |\n|---|---|---|---|")
    for role in mixed:
        same = of == "suite" or role == "benign"
        of_base = base.get(role if same else "", list(base.values())[-1])
        rates = f"{of_base.mean():.3f} | {mixed[role].mean():.3f}"
        print(f"| {role} | {rates} | {written(mixed[role], of_base)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject", choices=CHOSEN)
    parser.add_argument("what", choices=("choose", "benign", "pgd", "suite", "table"))
    parser.add_argument("--data", type=Path, help="folder of the parquet files")
    parser.add_argument("--weights", type=Path, help="folder of the weights")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--weight", type=float, help="another one than the chosen")
    parser.add_argument("--of", choices=("pgd", "suite"), default="pgd")
    parser.add_argument("--at-once", type=int, default=100, help="images between two files")
    parser.add_argument("--targets", type=int, default=2, help="of steering")
    parser.add_argument("--steps", type=int, default=40, help="of steering")
    parser.add_argument("--weights-tried", nargs="+", type=float, default=[0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--store", type=Path, default=Path("results"))
    options = parser.parse_args()
    weight = options.weight
    store = options.store / "-".join(
        ["mixed", options.subject, *([] if weight is None else [f"{weight:g}"])]
    )
    if options.what == "table":
        table(store, options.of)
        return
    subject = Subject(options.subject, options.data, options.weights, store, weight)
    if options.what == "choose":
        choose(subject, options)
    elif options.what == "benign":
        benign(subject)
    else:
        measure(subject, options, store)


if __name__ == "__main__":
    main()
