"""The benchmarks behind the paper's tables and figures; they are resumed like any other.

Several exhibits read the same ones, which a process runs once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from art_nip import NIPPreprocessor, zoo
from art_nip.benchmark import Attack, Benchmark, Defence
from art_nip.benchmark.analysis.failures import causes
from art_nip.benchmark.report.results import Results
from art_nip.benchmark.schema.words import Protocol
from art_nip.nip.neurons import part_ends
from art_nip.nip.parameters import Parameters
from art_nip.paper import tiny
from art_nip.paper.fitted import MODEL_FREE, Fitted, fitted
from art_nip.paper.published import ATTACKS
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import Loaded
from art_nip.zoo import classifiers
from art_nip.zoo.architectures import Dense, LayerSpec, MaxPool, ReLU, Residual

MINIMAL = ("fgsm", "bim", "mifgsm", "pgd", "uap")
"""Attacks within an ε-ball, which the paper's tools ran at the smallest ε of each image."""

REACTIVE = ("ss", "cbdr", "tvm", "jpeg", "stl", "sr", "fdistill")
PROACTIVE = ("cas", "feature-denoising")

NIP, NEAREST = "nip", "nip nearest"
"""NIP as its equations say, and with the retrieval that finds an image's own benign version."""

SIZES = {"cifar10": (0.2, 0.4, 0.8, 1.2, 1.6), "imagenette": (0.4, 0.8, 1.2, 1.6, 2.2)}
"""ε in L2 of Fig. 8, of images in [0, 1], by data set; others have those of CIFAR-10."""

COUNTS = (0, 1, 2, 3, 5, 7, 10)
"""k1 and k2 of Fig. 10."""

LAYERS = 5
"""How many layers of the convolutional part Fig. 11 looks at."""


class Both(NamedTuple):
    """Results of the same attacks: of all defences held-out, and of NIP with a leaked bank."""

    held_out: Results
    leaked: Results


@cache
def comparison(subject: Loaded, setting: Setting) -> Both:
    """Run the eleven attacks against ten defences (Fig. 7, 9 and 13, Tables II to IV)."""
    attacks = [
        _attack(name, setting)
        for name in ATTACKS
        if not (name == "pixel" and subject.name.startswith("imagenette"))
    ]
    defences = [*_reactive(REACTIVE, subject, setting), *_proactive(subject, setting), *_forms()]
    return _both(subject, setting, attacks, defences)


@cache
def sizes(subject: Loaded, setting: Setting) -> Both:
    """Run PGD in L2 at growing ε against four defences (Fig. 8)."""
    found = SIZES.get(subject.name.split("-")[0], SIZES["cifar10"])
    attacks = [
        Attack("pgd", f"pgd ε={eps}", {"norm": 2, "eps": eps, "eps_step": eps / 4})
        for eps in (tiny.SIZES if setting.tiny else found)
    ]
    defences = [*_reactive(("ss", "fdistill", "stl"), subject, setting), *_forms()]
    return _both(subject, setting, attacks, defences)


@cache
def counts(subject: Loaded, setting: Setting, protocol: Protocol) -> Results:
    """Run PGD against NIP with other k1 and k2, as many as the parts have neurons (Fig. 10)."""
    nip = NIPPreprocessor.for_estimator(subject.classifier, verbose=False)
    n = nip.influence(subject.x[:1]).shape[1]
    front, tail = part_ends(n, Parameters.fractions)
    sizes = {"k1": front, "k2": n - tail}
    varied = {
        f"{name}={k}": {"k1": 5, "k2": 5, name: k}
        for name, size in sizes.items()
        for k in (tiny.COUNTS if setting.tiny else COUNTS)
        if k <= size
    }
    return _nip(subject, setting, protocol, varied)


@cache
def layers(subject: Loaded, setting: Setting, protocol: Protocol) -> Results:
    """Run PGD against NIP at other layers (Fig. 11)."""
    varied = {name: {"layer": name} for name in _layers(subject)}
    return _nip(subject, setting, protocol, varied)


def _nip(
    subject: Loaded,
    setting: Setting,
    protocol: Protocol,
    varied: dict[str, dict[str, Any]],
) -> Results:
    """Run PGD against variants of NIP, by δ held-out, by nearest neurons leaked."""
    retrieval = "similarity" if protocol == Protocol.HELD_OUT else "nearest"
    attacks = [_attack("pgd", setting)]
    defences = [
        Defence("nip", label, {"retrieval": retrieval, **given}) for label, given in varied.items()
    ]
    return _run(subject, setting, attacks, defences, protocol)


def _both(
    subject: Loaded,
    setting: Setting,
    attacks: Sequence[Attack],
    defences: Sequence[Defence],
) -> Both:
    """Run all defences held-out, and NIP alone leaked: no other is shown so, and fits take long."""
    return Both(
        _run(subject, setting, attacks, defences, Protocol.HELD_OUT),
        _run(subject, setting, attacks, _forms(), Protocol.LEAKED),
    )


def _run(
    subject: Loaded,
    setting: Setting,
    attacks: Iterable[Attack],
    defences: Iterable[Defence],
    protocol: Protocol,
) -> Results:
    """Run a benchmark and read its results; those of a subject share their adversarial examples."""
    store = setting.out / "runs" / subject.name
    benchmark = Benchmark(
        subject.classifier,
        attacks,
        defences,
        protocols=[protocol],
        store=store,
        jobs=setting.jobs,
        seed=setting.seed,
        name=subject.label,
        verbose=setting.verbose,
    )
    table = benchmark.run(subject.x, subject.y, bank=subject.bank)
    setting.failed.extend(map(str, causes(table.itertuples())))
    return Results(store)


def _attack(name: str, setting: Setting) -> Attack:
    minimal = {"minimal": True} if name in MINIMAL else {}
    return Attack(name, parameters={**tiny.parameters(name, setting.tiny), **minimal})


def _reactive(names: Iterable[str], subject: Loaded, setting: Setting) -> list[Defence]:
    return [
        Defence(Fitted(fitted(subject, setting, name)), name)
        if name in MODEL_FREE
        else Defence(name, parameters=tiny.parameters(name, setting.tiny))
        for name in names
    ]


def _forms() -> list[Defence]:
    return [Defence("nip", NIP), Defence("nip", NEAREST, {"retrieval": "nearest"})]


def _proactive(subject: Loaded, setting: Setting) -> list[Defence]:
    """Return the trained defences whose weights are there."""
    if setting.tiny:
        return []
    paths = {name: setting.weights / f"{subject.name}-{name}.safetensors" for name in PROACTIVE}
    return [
        Defence(classifiers.load(path, setting.framework), name)
        for name, path in paths.items()
        if path.is_file()
    ]


def _layers(subject: Loaded) -> list[str]:
    """Return names of layers from the image to the logits, with the one that "auto" stands for."""
    architecture = zoo.architecture_of(subject.trained.name, subject.trained.nb_classes)
    ends = [
        f"features.{place}"
        for place, layer in enumerate(architecture.features)
        if _ends_a_block(architecture.features, place, layer)
    ]
    step = max(1, len(ends) // LAYERS)
    dense = [
        f"classifier.{place}"
        for place, layer in enumerate(architecture.classifier)
        if isinstance(layer, Dense)
    ]
    # The last one gives the scores.
    return [*ends[step - 1 :: step], "auto", *dense[:-1]]


def _ends_a_block(before: tuple[LayerSpec, ...], place: int, layer: LayerSpec) -> bool:
    pooled = any(isinstance(other, MaxPool) for other in before)
    if pooled:
        return isinstance(layer, MaxPool)
    if any(isinstance(other, Residual) for other in before):
        return isinstance(layer, ReLU) and isinstance(before[place - 1], Residual)
    return isinstance(layer, ReLU)
