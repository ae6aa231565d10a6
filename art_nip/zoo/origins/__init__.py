"""Models by where they come from, as ART classifiers::

    load(torchvision="resnet50", classes=[0, 217, 482])
    load(timm="resnet18.a1_in1k")
    load(huggingface="google/vit-base-patch16-224")
    load(robustbench="Carmon2019Unlabeled", threat="Linf")
    load(keras="MobileNetV2")
    load(checkpoint="mine.pt", factory="package.module:function", input_shape=[3, 32, 32],
         mean=0, std=1)

The weights come by each library's own loader, and mean, std, the shape of images and the number of
classes from what the library says of them; what is given wins. Images are in [0, 1], if
`clip_values` does not say otherwise.
"""

from __future__ import annotations

from typing import Any

from art_nip.zoo.origins.base import Origin
from art_nip.zoo.origins.registry import NAMES, is_origin, origin

__all__ = ["NAMES", "Origin", "is_origin", "load", "origin"]


def load(**given: Any) -> Any:
    """Return the ART classifier of a model by where it comes from.

    :param given: one of `NAMES`, whose value is the name of the model, or the file of a checkpoint;
        and parameters of that origin's class, such as `weights`, `classes`, `input_shape`, `mean`,
        `std` and `clip_values`.
    :return: a `PyTorchClassifier` or a `TensorFlowV2Classifier` of logits.
    :raises ImportError: if the library is not installed.
    :raises OSError: if a file is missing, or weights cannot be fetched.
    :raises TypeError: if something is of another type.
    :raises ValueError: if something is not known, or the model cannot be used as it is asked for.
    """
    return origin(given).classifier()
