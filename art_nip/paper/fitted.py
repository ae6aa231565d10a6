"""Defences that learn from images alone: fitted once for each bank, and kept with the results."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip import defences
from art_nip.paper import tiny
from art_nip.paper.setting import Setting, digest_of
from art_nip.paper.subjects import Loaded
from art_nip.utils.seeds import seeded

MODEL_FREE = ("stl", "sr")
"""Defences that are fitted without a look at the model: all models of a data set share the fit."""


class Fitted(Preprocessor):  # type: ignore[misc]
    """A fitted defence that a benchmark takes as it is; of others that learn it fits a copy.

    :param defence: the fitted preprocessor.
    """

    params = ["defence"]  # noqa: RUF012 - as ART has it

    def __init__(self, defence: Any) -> None:
        super().__init__(is_fitted=True, apply_fit=False, apply_predict=True)
        self.defence = defence

    def __call__(
        self, x: npt.NDArray[Any], y: Any | None = None
    ) -> tuple[npt.NDArray[Any], Any | None]:
        """Return what the defence makes of images, and y as it was."""
        images: npt.NDArray[Any] = self.defence(x)[0]
        return images, y


def fitted(subject: Loaded, setting: Setting, name: str) -> Any:
    """Return a defence fitted on the bank of a model; one of `MODEL_FREE` comes from its file.

    :param subject: the model and its images.
    :param setting: of the run.
    :param name: of a defence.
    """
    named = defences.get(name)
    parameters = tiny.parameters(name, setting.tiny)
    made = named.create(subject.classifier, **parameters)
    if not named.learns:
        return made

    def fit() -> Any:
        with seeded(setting.seed):
            made.fit(*subject.bank)
        return made

    if name not in MODEL_FREE:
        return fit()

    determined_by = {
        "parameters": {**named.defaults, **parameters},
        "bank": digest_of(subject.bank[0]),
        "framework": setting.framework,
        "seed": setting.seed,
    }
    path = setting.results.file(f"fitted-{name}", determined_by, lambda path: fit().save(path))
    try:
        return type(made).load(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged. Delete it, and run again. ({error})") from error
