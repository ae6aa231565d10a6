"""Models of RobustBench (Croce et al., "RobustBench: a standardized adversarial robustness
benchmark", 2021).
"""

from __future__ import annotations

import sys
from dataclasses import KW_ONLY, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from art_nip.utils.validation import check_choice
from art_nip.zoo.origins.base import DEFAULT, Made, Origin, library, made_by
from art_nip.zoo.origins.given import check_name

SIDES = {"cifar10": 32, "cifar100": 32, "imagenet": 224}
"""Data sets, and the side of images in them."""

OTHER_SIDES = {"Crop288": 288}
"""Names of preprocessing that makes images of another side."""

THREATS = ("Linf", "L2", "corruptions", "corruptions_3d")


@dataclass(frozen=True)
class RobustBench(Origin):
    """A model of RobustBench's zoo, for images in [0, 1], which it standardises itself.

    :param name: such as "Carmon2019Unlabeled".
    :param threat: the threat model that it was trained for: "Linf", "L2", "corruptions" or
        "corruptions_3d".
    :param dataset: what it was trained on: "cifar10", "cifar100" or "imagenet".
    :param weights: "default" for RobustBench's, or None for random ones.
    :param folder: where RobustBench keeps the files of weights, `folder/dataset/threat/name.pt`;
        what is not there is fetched.
    """

    _: KW_ONLY
    threat: str = ""
    dataset: str = "cifar10"
    weights: str | None = DEFAULT
    folder: str = "models"

    key: ClassVar[str] = "robustbench"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threat:
            raise ValueError(f"threat is missing; give one of {', '.join(THREATS)}.")
        check_choice("threat", self.threat, THREATS)
        check_choice("dataset", self.dataset, tuple(SIDES))
        if self.weights not in (None, DEFAULT):
            raise ValueError(
                f"weights={self.weights!r}; give {DEFAULT!r} or null for random ones. A local file "
                "is taken from folder/dataset/threat/name.pt."
            )
        if isinstance(self.folder, Path):
            self._set("folder", str(self.folder))
        if not isinstance(self.folder, str):
            raise TypeError(f"folder={self.folder!r}; give the path of a folder.")

    def _made(self) -> Made:
        utils = robustbench_utils()
        entry = self._entry(utils)
        with made_by(self, random=self.weights is None):
            if self.weights is None:
                model = self._random(utils, entry)
            else:
                model = utils.load_model(
                    self.name,
                    model_dir=self.folder,
                    dataset=self.dataset,
                    threat_model=self.threat,
                )
        side = OTHER_SIDES.get(str(entry.get("preprocessing")), SIDES[self.dataset])
        return Made(model.eval(), (3, side, side), 0.0, 1.0)

    def _entry(self, utils: Any) -> dict[str, Any]:
        """Return what RobustBench notes of the model; nothing of one that it has from timm."""
        dataset = utils.BenchmarkDataset(self.dataset)
        threat = utils.ThreatModel(self.threat.removesuffix("_3d"))
        entries: dict[str, dict[str, Any]] = utils.all_models[dataset][threat]
        if not library("timm").is_model(self._timm_name):
            check_name(f"model of robustbench for {self.dataset}", self.name, entries)
        return entries.get(self.name, {})

    @property
    def _timm_name(self) -> str:
        name = self.name.lower().replace("-", "_")
        return f"{name}_{self.dataset}_{self.threat.removesuffix('_3d').lower()}"

    def _random(self, utils: Any, entry: dict[str, Any]) -> Any:
        if "model" in entry:
            return entry["model"]()
        classes = utils.DATASET_CLASSES[utils.BenchmarkDataset(self.dataset)]
        return library("timm").create_model(self._timm_name, num_classes=classes)


def robustbench_utils() -> Any:
    """Import `robustbench.utils`.

    RobustBench declares that it needs the package `pyautoattack`, and imports it by the name of its
    source, `autoattack`, which the package index does not have.
    """
    if "robustbench" in sys.modules or find_spec("autoattack") or not find_spec("pyautoattack"):
        return library("robustbench.utils", "robustbench")
    names = ("", ".state")
    for name in names:
        sys.modules[f"autoattack{name}"] = library(f"pyautoattack{name}", "pyautoattack")
    try:
        return library("robustbench.utils", "robustbench")
    finally:
        for name in names:
            del sys.modules[f"autoattack{name}"]
