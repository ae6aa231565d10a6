"""A benchmark as a YAML file, checked whole before anything is computed.

    model: {weights: weights/gtsrb-lenet5.safetensors, framework: pytorch}  # or by its origin
    data: {name: gtsrb, images: 300, bank: 2000}
    attacks:
      - fgsm
      - {name: pgd, eps: [2/255, 4/255], limit: 50}
      - {name: bim, label: bim small, eps: 0.004}
    defences:
      - ss
      - {name: nip, k1: 10, label: nip k1=10}
      - {name: trained, weights: weights/gtsrb-lenet5-cas.safetensors}
    protocols: [held-out, leaked]
    threats: [oblivious]
    seed: 0
    draws: 10
    store: results/gtsrb-lenet5

`sections.py` says what each part may hold, and what its defaults are. A model that is not of
`art-nip train` is named by where it comes from, as `art_nip.zoo.origins` says:

    model: {torchvision: resnet50, weights: IMAGENET1K_V2, classes: [0, 217, 482]}
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from art_nip.benchmark.benchmark import Benchmark
from art_nip.benchmark.execution.draws import DRAWS
from art_nip.benchmark.plan.defences import Defence
from art_nip.benchmark.schema.words import Protocol, Threat
from art_nip.benchmark.spec.problems import sentence
from art_nip.benchmark.spec.sections import (
    AttackItem,
    Data,
    DefenceItem,
    Model,
    ModelOrOrigin,
    Section,
    one_of,
)
from art_nip.benchmark.spec.yaml_file import YAMLFile
from art_nip.data import NAMES, Images, Labels, check_same_classes, load
from art_nip.utils.frameworks import framework_of
from art_nip.zoo import NAMES as MODELS
from art_nip.zoo import TRAINED_DEFENCES, classifiers, origins

Bank = tuple[Images, Labels]


class Spec(Section):
    """What to run.

    :param model: which model: a file of `art-nip train`, or an origin.
    :param data: which images.
    :param attacks: the attacks on it.
    :param defences: its defences; "none" is always there.
    :param protocols: one or both of "held-out" and "leaked".
    :param threats: one or both of "oblivious" and "adaptive".
    :param seed: seed of everything that is drawn at random.
    :param draws: how often a random defence is asked about the same image.
    :param store: folder of the results.
    """

    model: ModelOrOrigin
    data: Data
    attacks: list[AttackItem] = Field(min_length=1)
    defences: list[DefenceItem] = Field([])
    protocols: list[Annotated[str, one_of("protocol", tuple(Protocol))]] = Field(
        ["held-out"], min_length=1
    )
    threats: list[Annotated[str, one_of("threat", tuple(Threat))]] = Field(
        ["oblivious"], min_length=1
    )
    seed: int = Field(0, ge=0, lt=2**32)
    draws: int = Field(DRAWS, ge=1)
    store: Annotated[Path, Field(strict=False)]

    @field_validator("attacks", "defences")
    @classmethod
    def _check_labels(cls, items: list[Any]) -> list[Any]:
        labels = [variant.label for item in items for variant in item.variants()]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(
                    f"Two are called {label!r}: give one another label, {{name: …, label: …}}."
                )
        return items

    @field_validator("protocols", "threats")
    @classmethod
    def _check_distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"Give each one once; got {', '.join(names)}.")
        return names

    @classmethod
    def load(cls, path: str | Path) -> Spec:
        """Return the benchmark that a YAML file describes.

        Paths in it start from the working directory, as those of `art-nip train` do. Numbers may
        be fractions: 8/255.

        :param path: the file.
        :raises OSError: if it cannot be read.
        :raises ValueError: if it is not YAML, or anything in it is not known or not possible; the
            message says where, and what is allowed.
        """
        file = YAMLFile(Path(path))
        given = file.content
        if isinstance(given, dict):
            given = {"store": f"results/{Path(path).stem}", **given}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            sections: dict[str, type[Section]] = {"": cls, "model": Model, "data": Data}
            problems = (
                f"{file.place(problem['loc'])}: {sentence(problem, sections)}"
                for problem in error.errors()
            )
            raise ValueError("\n".join(problems)) from error

    def benchmark(
        self,
        *,
        data: Path | None = None,
        limit: int | None = None,
        engine: str = "local",
        jobs: int = 1,
        address: str | None = None,
        track: str | None = None,
        verbose: bool = True,
    ) -> tuple[Benchmark, Images, Labels, Bank | None]:
        """Load the model and the images.

        :param data: folder of local images, see `art_nip.data.load`; None takes the hub's.
        :param limit: evaluate on this many images at most; no attack gets more.
        :param engine: as in :class:`Benchmark`.
        :param jobs: as in :class:`Benchmark`.
        :param address: as in :class:`Benchmark`.
        :param track: as in :class:`Benchmark`.
        :param verbose: as in :class:`Benchmark`.
        :return: the benchmark; test images and their classes; and the images and classes to learn
            from, or None if no protocol needs them.
        :raises FileNotFoundError: if there are no weights, or no images in the folder.
        :raises ConnectionError: if the hub cannot be reached.
        :raises ImportError: if the library of an origin, or of `track`, is not installed.
        :raises ValueError: if there are too few images, the file of weights is no such file, or an
            origin has no such model.
        """
        classifier = self._classifier()
        framework = str(framework_of(classifier))
        benchmark = Benchmark(
            classifier,
            [attack for item in self.attacks for attack in item.variants()],
            [
                self._loaded(defence, framework)
                for item in self.defences
                for defence in item.variants()
            ],
            store=self.store,
            protocols=self.protocols,
            threats=self.threats,
            seed=self.seed,
            draws=self.draws,
            engine=engine,
            jobs=jobs,
            address=address,
            model=str(self.model.weights if isinstance(self.model, Model) else self.model),
            data=self.data.name,
            track=track,
            verbose=verbose,
        )
        return benchmark, *self._images(data, limit, channels_first=framework == "pytorch")

    def _classifier(self) -> Any:
        if isinstance(self.model, Model):
            return self._of_file(self.model.weights, self.model.framework)
        return self.model.classifier()

    def _images(
        self, folder: Path | None, limit: int | None, *, channels_first: bool
    ) -> tuple[Images, Labels, Bank | None]:
        name = self.data.name
        images = self.data.images if limit is None else min(self.data.images, limit)
        x, y, names = load(name, "test", folder=folder, limit=images, channels_first=channels_first)
        if len(x) < images:
            raise ValueError(
                f"data.images asks for {images} images, and the test part of {name} has {len(x)}: "
                "ask for these."
            )
        if Protocol.HELD_OUT not in self.protocols:
            return x, y, None
        try:
            bank_x, bank_y, train_names = load(
                name,
                "train",
                folder=folder,
                stratified=self.data.bank,
                seed=self.seed,
                channels_first=channels_first,
            )
        except ValueError as error:
            raise ValueError(f"The bank (data.bank: {self.data.bank}): {error}") from error
        check_same_classes(train_names, names)
        return x, y, (bank_x, bank_y)

    def _loaded(self, defence: Defence, framework: str) -> Defence:
        """Return a defence, with the file or origin of a trained one replaced by its classifier."""
        trained = defence.defence
        if isinstance(trained, Path):
            return replace(defence, defence=self._of_file(trained, framework))
        if isinstance(trained, origins.Origin):
            return replace(defence, defence=trained.classifier())
        return defence

    def _of_file(self, weights: Path, framework: str) -> Any:
        if not weights.exists():
            raise FileNotFoundError(
                f"There are no weights {weights}. {_how_to_train(weights, self.data.name)}"
            )
        return classifiers.load(weights, framework)


def _how_to_train(weights: Path, data: str) -> str:
    """Return the command that makes a file of weights, as far as the file's name tells it."""
    for name, model, defence, adversarial in product(
        NAMES, MODELS, (None, *TRAINED_DEFENCES), (False, True)
    ):
        if Path(classifiers.file_name(name, model, defence, adversarial)).stem == weights.stem:
            changed = f" --defence {defence}" if defence else ""
            attacked = " --adversarial" if adversarial else ""
            return f"To make them: art-nip train {name} {model}{changed}{attacked} --out {weights}"
    if data in NAMES:
        return (
            f"To make them: art-nip train {data} MODEL --out {weights}, with one of "
            f"{', '.join(MODELS)} for MODEL."
        )
    return "Write them with art_nip.zoo.classifiers.save."
