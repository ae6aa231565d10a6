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

The classes below say what a section may hold, and what its defaults are. A model that is not of
`art-nip train` is named by where it comes from, as `art_nip.zoo.origins` says:

    model: {torchvision: resnet50, weights: IMAGENET1K_V2, classes: [0, 217, 482]}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, core_schema

from art_nip import attacks, defences
from art_nip.benchmark.benchmark import Benchmark
from art_nip.benchmark.execution.draws import DRAWS
from art_nip.benchmark.plan import suite
from art_nip.benchmark.plan.attacks import Attack
from art_nip.benchmark.plan.defences import Defence
from art_nip.benchmark.schema import NONE, Protocol, Threat
from art_nip.benchmark.spec.yaml_file import YAMLFile
from art_nip.data import NAMES, Images, Labels, check_same_classes, load
from art_nip.utils.frameworks import framework_of
from art_nip.utils.validation import check_choice, nearest_name
from art_nip.zoo import NAMES as MODELS
from art_nip.zoo import TRAINED_DEFENCES, classifiers, origins

FRAMEWORKS = ("pytorch", "tensorflow")
TRAINED = "trained"
Bank = tuple[Images, Labels]


def _one_of(what: str, names: Sequence[str]) -> AfterValidator:
    """Return the check that a text is one of some names."""

    def check(given: str) -> str:
        check_choice(what, given, names)
        return given

    return AfterValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Model(_Section):
    """Which model.

    :param weights: a file of `art-nip train`.
    :param framework: "pytorch" or "tensorflow".
    """

    weights: Annotated[Path, Field(strict=False)]
    framework: Annotated[str, _one_of("framework", FRAMEWORKS)] = "pytorch"


def _by_origin(given: Any, read: Callable[[Any], Model]) -> Model | origins.Origin:
    try:
        return origins.origin(given) if origins.is_origin(given) else read(given)
    except TypeError as error:  # which would not be collected with the other problems
        raise ValueError(error) from error


class Data(_Section):
    """Which images.

    :param name: name of a data set, see `art_nip.data.load`.
    :param images: the number of test images to evaluate on, the first ones.
    :param bank: the number of training images that defences learn from, drawn with the
        class balance of the training part.
    """

    name: str
    images: int = Field(300, ge=1)
    bank: int = Field(2000, ge=1)


EXPECTED = {
    "float_type": "a number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "below {lt}",
    "list_type": "a list, [like, this]",
    "model_type": "a mapping, {{key: value}}",
    "path_type": "a path",
    "string_type": "text; put it in quotes if it looks like a number",
    "too_short": "a list of at least one",
}
"""What each type of pydantic's errors asks for."""

SECTIONS: dict[str, type[BaseModel]] = {"model": Model, "data": Data}


class _Item(BaseModel):
    """A name alone, or with a label and parameters."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str
    label: str | None = Field(None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given}
        if not isinstance(given, dict):
            raise ValueError(
                f"Give a name, or a mapping such as {{name: …, label: …}}; got {given!r}."
            )
        return given

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the named attack or defence."""
        return dict(self.model_extra or {})


class AttackItem(_Item):
    """An attack.

    :param name: one of `attacks.NAMES`, or "adaptive" for the suite of that name.
    :param label: its label in tables; None takes the name.
    :param eps: its ε, a share of the range of pixels; several make one attack for each ε.
    :param limit: how many images are attacked; None takes the attack's own.
    """

    eps: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = Field(None, min_length=1)
    limit: int | None = Field(None, ge=1)

    @field_validator("eps", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return given if isinstance(given, list) or given is None else [given]

    @model_validator(mode="after")
    def _check(self) -> AttackItem:
        if self.name.lower() == suite.SUITE:
            check_choice("attack", self.name, (suite.SUITE, *attacks.NAMES))
            check: Callable[[dict[str, Any]], None] = suite.check_parameters
        else:
            check = attacks.get(self.name).check_parameters
        for attack in self.variants():
            check(dict(attack.parameters))
        return self

    def variants(self) -> list[Attack]:
        """Return the attacks that this item stands for: one for each ε."""
        label = self.label or self.name
        if self.eps is None:
            return [Attack(self.name, label, self.parameters, self.limit)]
        return [
            Attack(
                self.name,
                f"{label} ε={eps:.3g}" if len(self.eps) > 1 else label,
                {"eps": eps, **self.parameters},
                self.limit,
            )
            for eps in self.eps
        ]


class DefenceItem(_Item):
    """A defence.

    :param name: one of `defences.NAMES`; or "trained", for a model that is itself a defence, whose
        one parameter is `weights`, a file of `art-nip train`, or which says its origin.
    :param label: its label in tables; None takes the name, or that of the file.
    """

    @model_validator(mode="after")
    def _check(self) -> DefenceItem:
        if self.name == NONE:
            raise ValueError(f"{NONE!r} is in every benchmark: leave it out.")
        if self.name == TRAINED:
            self._trained()
            return self
        check_choice("defence", self.name, (*defences.NAMES, TRAINED))
        defences.get(self.name).check_parameters(self.parameters)
        return self

    def variants(self) -> list[Defence]:
        """Return the one defence that this item stands for; a trained one is not loaded yet."""
        if self.name == TRAINED:
            trained = self._trained()
            name = trained.stem if isinstance(trained, Path) else trained.name
            return [Defence(trained, self.label or name)]
        return [Defence(self.name, self.label or self.name, self.parameters)]

    def _trained(self) -> Path | origins.Origin:
        """Return where the model is from that is a defence.

        :raises ValueError: if the parameters do not say it.
        """
        given = self.parameters
        if origins.is_origin(given):
            try:
                return origins.origin(given)
            except TypeError as error:
                raise ValueError(error) from error
        if given.keys() != {"weights"} or not isinstance(given["weights"], str):
            raise ValueError(
                f"Give a trained defence as {{name: {TRAINED}, weights: FILE}}, or by its origin, "
                f"as {{name: {TRAINED}, torchvision: NAME}}, with a label or without; got {given}."
            )
        return Path(given["weights"])


class Spec(_Section):
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

    model: Annotated[
        Model | origins.Origin,
        GetPydanticSchema(
            lambda _, schema_of: core_schema.no_info_wrap_validator_function(
                _by_origin, schema_of(Model)
            )
        ),
    ]
    data: Data
    attacks: list[AttackItem] = Field(min_length=1)
    defences: list[DefenceItem] = []
    protocols: list[Annotated[str, _one_of("protocol", tuple(Protocol))]] = Field(
        ["held-out"], min_length=1
    )
    threats: list[Annotated[str, _one_of("threat", tuple(Threat))]] = Field(
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
            problems = (
                f"{file.place(problem['loc'])}: {_sentence(problem)}" for problem in error.errors()
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
        given = self.model
        if isinstance(given, Model):
            classifier = self._of_file(given.weights, given.framework)
        else:
            classifier = given.classifier()
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
            model=str(given.weights if isinstance(given, Model) else given),
            data=self.data.name,
            track=track,
            verbose=verbose,
        )
        channels_first = framework == "pytorch"
        images = self.data.images if limit is None else min(self.data.images, limit)
        x, y, names = load(
            self.data.name, "test", folder=data, limit=images, channels_first=channels_first
        )
        if len(x) < images:
            raise ValueError(
                f"data.images asks for {images} images, and the test part of {self.data.name} has "
                f"{len(x)}: ask for these."
            )
        if Protocol.HELD_OUT not in self.protocols:
            return benchmark, x, y, None
        try:
            bank_x, bank_y, train_names = load(
                self.data.name,
                "train",
                folder=data,
                stratified=self.data.bank,
                seed=self.seed,
                channels_first=channels_first,
            )
        except ValueError as error:
            raise ValueError(f"The bank (data.bank: {self.data.bank}): {error}") from error
        check_same_classes(train_names, names)
        return benchmark, x, y, (bank_x, bank_y)

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


def _sentence(problem: ErrorDetails) -> str:
    """Return a problem that pydantic found, in words that suit a YAML file."""
    kind, given = problem["type"], problem["input"]
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if kind == "missing":
        return "this is missing."
    if kind == "extra_forbidden":
        *path, key = map(str, problem["loc"])
        keys = list((SECTIONS[path[0]] if path else Spec).model_fields)
        near = nearest_name(key, keys)
        return f"there is no such key. Did you mean {near!r}? Allowed: {', '.join(keys)}."
    should_be = EXPECTED.get(kind)
    if should_be is None:
        return f"{problem['msg']}; got {given!r}."
    return f"this should be {should_be.format(**problem.get('ctx', {}))}; got {given!r}."
