"""What the sections of a spec file may hold: model, images, each attack and each defence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from art_nip import attacks, defences
from art_nip.benchmark.plan import suite
from art_nip.benchmark.plan.attacks import Attack
from art_nip.benchmark.plan.defences import Defence
from art_nip.benchmark.schema.words import NONE
from art_nip.utils.validation import check_choice
from art_nip.zoo import origins

FRAMEWORKS = ("pytorch", "tensorflow")
TRAINED = "trained"


def one_of(what: str, names: Sequence[str]) -> AfterValidator:
    """Return the check that a text is one of some names."""

    def check(given: str) -> str:
        check_choice(what, given, names)
        return given

    return AfterValidator(check)


class Section(BaseModel):
    """What has the keys that it says, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Model(Section):
    """Which model.

    :param weights: a file of `art-nip train`.
    :param framework: "pytorch" or "tensorflow".
    """

    weights: Annotated[Path, Field(strict=False)]
    framework: Annotated[str, one_of("framework", FRAMEWORKS)] = "pytorch"


def _by_origin(given: Any, read: Callable[[Any], Model]) -> Model | origins.Origin:
    return _origin(given) if origins.is_origin(given) else read(given)


def _origin(given: Any) -> origins.Origin:
    try:
        return origins.origin(given)
    except TypeError as error:  # which would not be collected with the other problems
        raise ValueError(error) from error


ModelOrOrigin = Annotated[
    Model | origins.Origin,
    GetPydanticSchema(
        lambda _, schema_of: core_schema.no_info_wrap_validator_function(
            _by_origin, schema_of(Model)
        )
    ),
]
"""A file of `art-nip train`, or where the model is from."""


class Data(Section):
    """Which images.

    :param name: name of a data set, see `art_nip.data.load`.
    :param images: the number of test images to evaluate on, the first ones.
    :param bank: the number of training images that defences learn from, drawn with the
        class balance of the training part.
    """

    name: str
    images: int = Field(300, ge=1)
    bank: int = Field(2000, ge=1)


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
            return _origin(given)
        if given.keys() != {"weights"} or not isinstance(given["weights"], str):
            raise ValueError(
                f"Give a trained defence as {{name: {TRAINED}, weights: FILE}}, or by its origin, "
                f"as {{name: {TRAINED}, torchvision: NAME}}, with a label or without; got {given}."
            )
        return Path(given["weights"])
