"""The parameters of NIP as attributes, as ART reads those of a preprocessor."""

from typing import Any, Literal

from art_nip.nip.parameters import Parameters
from art_nip.nip.retrieval import Retrieval


class HasParameters:
    """A mixin that shows each parameter as an attribute, as ART reads them."""

    parameters: Parameters

    @property
    def clip_values(self) -> tuple[Any, Any]:
        """Range (min, max) of the images, numbers or nested lists."""
        low, high = self.parameters.clip_values
        return low, high

    @property
    def layer(self) -> str:
        """The layer as the user gave it: "auto" or a name."""
        return self.parameters.layer

    @property
    def k1(self) -> int:
        """How many front neurons ρ strengthens."""
        return self.parameters.k1

    @property
    def k2(self) -> int:
        """How many tail neurons ρ weakens."""
        return self.parameters.k2

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares of front, middle and tail neurons."""
        return self.parameters.fractions

    @property
    def confidence(self) -> Literal["probability", "logit"]:
        """The meaning of y_c in [1]."""
        return self.parameters.confidence

    @property
    def template(self) -> Literal["mean", "quorum"]:
        """The kind of T in [2]."""
        return self.parameters.template

    @property
    def quorum(self) -> float:
        """Share of the images in which a neuron of T must be a middle neuron."""
        return self.parameters.quorum

    @property
    def retrieval(self) -> Retrieval:
        """How an image finds its inverse perturbation."""
        return self.parameters.retrieval

    @property
    def strength(self) -> float:
        """Factor on the perturbation added in [7]."""
        return self.parameters.strength

    @property
    def batch_size(self) -> int:
        """How many images the model sees at once."""
        return self.parameters.batch_size

    @property
    def bank_dtype(self) -> Literal["float32", "float16", "uint8"]:
        """How candidates are stored."""
        return self.parameters.bank_dtype

    @property
    def look(self) -> Literal["float32", "bfloat16", "float16"]:
        """Precision of the pass that finds an image's perturbation."""
        return self.parameters.look

    @property
    def verbose(self) -> bool:
        """Whether fitting shows a progress bar."""
        return self.parameters.verbose
