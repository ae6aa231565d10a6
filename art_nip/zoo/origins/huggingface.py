"""Models of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from art_nip.utils.frameworks import Framework, code_of
from art_nip.zoo.origins.base import DEFAULT, FromLibrary, Made, library, made_by


@dataclass(frozen=True)
class HuggingFace(FromLibrary):
    """A model for the classification of images, by its name on the hub, or its folder.

    Mean, std and size are those of its image processor, whose file lies beside the weights.

    :param weights: "default" for those under the name, or None for random ones.
    """

    key: ClassVar[str] = "huggingface"

    def _made(self) -> Made:
        transformers = library("transformers")
        if self.weights not in (None, DEFAULT):
            raise ValueError(
                f"weights={self.weights!r}; with huggingface, give the folder of the weights as "
                f"the name, and {DEFAULT!r} or null here."
            )
        auto = transformers.AutoModelForImageClassification
        labels = {} if self.nb_classes is None else {"num_labels": self.nb_classes}
        with made_by(self, random=self.weights is None):
            if self.weights is None:
                config = transformers.AutoConfig.from_pretrained(
                    self.name, **labels, **self.arguments
                )
                network = auto.from_config(config)
            else:
                network = auto.from_pretrained(self.name, **self.arguments)
            processor = self._processor(transformers)
        code = code_of(__package__, Framework.PYTORCH)
        return _described(code.LogitsOfOutput(network).eval(), network.config, processor)

    def _processor(self, transformers: Any) -> Mapping[str, Any]:
        """Return what the file of the image processor says; nothing if there is no such file.

        The processor itself may need torchvision; its file does not.
        """
        mixin = library("transformers.image_processing_base", "transformers").ImageProcessingMixin
        try:
            content, _ = mixin.get_image_processor_dict(self.name)
        except OSError:
            return {}
        found: Mapping[str, Any] = content
        return found


def _described(model: Any, config: Any, processor: Mapping[str, Any]) -> Made:
    side = _side(processor.get("crop_size") if processor.get("do_center_crop") else None)
    side = side or _side(processor.get("size")) or _side(getattr(config, "image_size", None))
    channels = getattr(config, "num_channels", 3)
    shape = None if side is None else (channels, *side)
    mean, std = _moments(processor)
    return Made(model, shape, mean, std)


def _moments(processor: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return mean and std for images in [0, 1]; the processor's are of pixels that it rescales."""
    scale = 255 * processor.get("rescale_factor", 1 / 255) if _does(processor, "rescale") else 255
    if not processor:
        return None, None
    if not _does(processor, "normalize"):
        return 0.0, 1 / scale
    if processor.get("image_mean") is None or processor.get("image_std") is None:
        return None, None
    mean, std = processor["image_mean"], processor["image_std"]
    # (scale · x − mean) / std, of x in [0, 1].
    return [value / scale for value in _list(mean)], [value / scale for value in _list(std)]


def _does(processor: Mapping[str, Any], what: str) -> bool:
    return bool(processor.get(f"do_{what}", True))


def _list(value: Any) -> list[float]:
    return [float(item) for item in value] if isinstance(value, (list, tuple)) else [float(value)]


def _side(size: Any) -> tuple[int, int] | None:
    """Return height and width, in whichever of its forms transformers writes them."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    if isinstance(size, Mapping):
        if {"height", "width"} <= size.keys():
            return int(size["height"]), int(size["width"])
        if "shortest_edge" in size:
            return int(size["shortest_edge"]), int(size["shortest_edge"])
    return None
