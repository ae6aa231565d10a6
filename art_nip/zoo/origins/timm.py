"""Models of timm (PyTorch Image Models)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from art_nip.zoo.origins.base import DEFAULT, FromLibrary, Made, library, made_by
from art_nip.zoo.origins.given import check_name

HUBS = ("hf-hub:", "hf_hub:", "local-dir:")
"""What names of models begin with that are not in timm's own list."""


@dataclass(frozen=True)
class Timm(FromLibrary):
    """A model of timm, by its name, with or without the tag of its weights: "resnet18.a1_in1k".

    Mean, std and size are those of its data configuration, for evaluation.
    """

    key: ClassVar[str] = "timm"

    def _made(self) -> Made:
        timm = library("timm")
        if not self.name.startswith(HUBS):
            self._check_known(timm)
        path = "" if self.weights in (None, DEFAULT) else self._file()
        with made_by(self, random=self.weights != DEFAULT):
            model = timm.create_model(
                self.name,
                pretrained=self.weights == DEFAULT,
                checkpoint_path=path,
                num_classes=self.nb_classes,
                **self.arguments,
            )
            data = timm.data.resolve_model_data_config(model)
        return Made(model.eval(), data["input_size"], data["mean"], data["std"])

    def _check_known(self, timm: object) -> None:
        models = library("timm.models")
        if not models.is_model(self.name):
            check_name("model of timm", self.name, models.list_models())
        if self.weights == DEFAULT and not models.is_model_pretrained(self.name):
            raise ValueError(
                f"timm has no weights of {self.name!r}: give weights, a file of them, or null for "
                "random ones."
            )
