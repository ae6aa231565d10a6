"""Models of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from art_nip.utils.frameworks import Framework, code_of
from art_nip.zoo.origins.base import DEFAULT, FromLibrary, Made, library, made_by
from art_nip.zoo.origins.given import check_name


@dataclass(frozen=True)
class TorchVision(FromLibrary):
    """A model of `torchvision.models` that classifies images.

    Mean, std and size are those of its weights' own transforms; of weights that are random or of a
    file, those of the library's default weights.

    :param weights: also the name of some of the library's, such as "IMAGENET1K_V2".
    """

    key: ClassVar[str] = "torchvision"

    def _made(self) -> Made:
        models = library("torchvision").models
        check_name("model of torchvision", self.name, models.list_models(module=models))
        known = models.get_model_weights(self.name)
        own = self._own(known)
        with made_by(self, random=own is None):
            size = {} if self.nb_classes is None else {"num_classes": self.nb_classes}
            model = models.get_model(self.name, weights=own, **size, **self.arguments)
            if own is None and self.weights is not None:
                path = Path(self._file(names(known)))
                code_of(__package__, Framework.PYTORCH).load_weights(model, path)
        return _described(model.eval(), own or known.DEFAULT)

    def _own(self, known: Any) -> Any:
        """Return which of the library's weights are meant, or None."""
        if self.weights == DEFAULT:
            return known.DEFAULT
        if self.weights in names(known):
            return known[self.weights]
        if self.weights is not None:
            self._file(names(known))
        return None


def names(known: Any) -> list[str]:
    """Return the names of the weights that the library has of a model."""
    return [weights.name for weights in known]


def _described(model: Any, weights: Any) -> Made:
    transforms = weights.transforms()
    side = transforms.crop_size[0]
    return Made(model, (3, side, side), transforms.mean, transforms.std)
