"""Origins by their names in spec files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from art_nip.utils.validation import nearest_name, plain
from art_nip.zoo.origins.base import Origin
from art_nip.zoo.origins.checkpoint import Checkpoint
from art_nip.zoo.origins.huggingface import HuggingFace
from art_nip.zoo.origins.keras import KerasApplication
from art_nip.zoo.origins.robustbench import RobustBench
from art_nip.zoo.origins.timm import Timm
from art_nip.zoo.origins.torchvision import TorchVision

CLASSES: dict[str, type[Origin]] = {
    kind.key: kind
    for kind in (TorchVision, Timm, HuggingFace, RobustBench, KerasApplication, Checkpoint)
}
"""Classes by the name of the origin."""

NAMES = tuple(CLASSES)


def is_origin(given: Any) -> bool:
    """Return whether something says where a model comes from, if rightly or not."""
    return isinstance(given, Mapping) and any(name in given for name in NAMES)


def origin(given: Mapping[str, Any]) -> Origin:
    """Return where a model comes from; its library is not asked yet.

    :param given: one of `NAMES` with the name of the model, and parameters of its class:
        {"torchvision": "resnet50", "classes": [0, 217]}.
    :raises TypeError: if something is of another type.
    :raises ValueError: if something is not known or not allowed.
    """
    given = plain(given)
    keys = [key for key in NAMES if key in given]
    if len(keys) != 1:
        forms = ", ".join(f"{{{name}: …}}" for name in NAMES)
        raise ValueError(
            f"A model comes from one place: give one of {forms}; got {', '.join(map(str, given))}."
        )
    key = keys[0]
    kind = CLASSES[key]
    known = [field.name for field in fields(kind) if field.name != "name"]
    parameters = {name: value for name, value in given.items() if name != key}
    for name in parameters:
        if name not in known:
            near = nearest_name(name, known)
            raise ValueError(
                f"A model of {key} has no {name!r}. Did you mean {near!r}? Allowed: "
                f"{', '.join(known)}."
            )
    return kind(given[key], **parameters)
