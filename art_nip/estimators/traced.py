"""What one traced pass tells of a model: its layers' calls, and which of them a name means."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from art_nip.estimators.between import layer_before_dense, layers_that_could_be_meant
from art_nip.estimators.graph import Graph
from art_nip.estimators.layers import Call, Layer, called_once, is_inside, named_layer
from art_nip.estimators.values import Value


@dataclass(frozen=True)
class Traced:
    """One pass of the probe images through a model.

    :param calls: the layers in the order in which the pass called them.
    :param graph: along which ways gradients flow.
    :param outputs: what the model gave, shape (N, nb_classes) as it should be.
    :param names: of all layers of the model; some may be there several times.
    :param compiled: names of parts that torch.jit compiled, so that no pass tells of their layers.
    :param unseen: why the pass has told of no layer, and what to do; "" if it has.
    """

    calls: tuple[Call, ...]
    graph: Graph
    outputs: npt.NDArray[Any]
    names: tuple[str, ...]
    compiled: tuple[str, ...] = ()
    unseen: str = ""

    def value(self, layer: Layer) -> Value:
        """Return what goes into a layer that is called, or what comes out of it."""
        return next(call.at(layer) for call in self.calls if call.name == layer.name)

    def reached_calls(self) -> list[Call]:
        """Return the calls that a name means, and whose input every image has a part in."""
        self._check_seen()
        reached = self.graph.reached
        return [
            call
            for call in called_once(self.calls)
            if not call.inputs.problem and call.inputs.place in reached
        ]

    def advice(self) -> str:
        """Return the advice to name one of the layers that every way to the scores goes through."""
        return layers_that_could_be_meant(self.calls, self.graph)

    def named(self, requested: str) -> Layer:
        """Return the layer of that name, which images reach.

        :param requested: a layer as `Layer` writes it.
        :raises ValueError: if there is no such layer; the message says what there is.
        """
        self._check_seen()
        name = Layer.parse(requested).name
        is_called = any(call.name == name for call in self.calls)
        if not is_called and (name in self.compiled or is_inside(name, self.compiled)):
            raise ValueError(
                f"layer {requested!r} was compiled by torch.jit, and no hook sees it: put the "
                f"module that it was made from in its place. {self.advice()}"
            )
        layer = named_layer(requested, self.calls, self.names)
        if self.graph.connects and self.value(layer).place not in self.graph.reached:
            raise ValueError(
                f"layer {requested!r} hangs on no image: no gradient of what it handles reaches "
                f"the images. {self.advice()}"
            )
        return layer

    def of_neurons(self, requested: str) -> Layer:
        """Return the layer whose values are the neurons: scores hang on it too.

        :param requested: "auto" for the one between the convolutional and the dense part, or a
            layer as `Layer` writes it.
        :raises ValueError: if there is no such layer; the message says what there is.
        """
        self._check_seen()
        if requested == "auto":
            return layer_before_dense(self.calls, self.graph, self.compiled)
        layer = self.named(requested)
        if self.graph.connects and self.value(layer).place not in self.graph.position:
            raise ValueError(
                f"layer {requested!r} is beside the way: no score of the model hangs on it, so its "
                f"neurons have no influence. {self.advice()}"
            )
        return layer

    def _check_seen(self) -> None:
        if self.unseen:
            raise ValueError(self.unseen)

    def check_channel_order(self, input_shape: tuple[int, ...], channels_first: bool) -> None:
        """Refuse an estimator whose order of channels is not that of the first convolution.

        :param input_shape: of one image.
        :param channels_first: what the estimator says.
        :raises ValueError: if the first convolution that takes the images as they are says the
            other.
        """
        for call in self.calls:
            takes_images = call.kind != "other" and call.inputs.shape[1:] == input_shape
            if takes_images and call.channels_first not in (None, channels_first):
                order = "first" if call.channels_first else "last"
                raise ValueError(
                    f"The estimator has channels_first={channels_first}, but layer {call.name!r} "
                    f"takes its images with channels {order}: create the estimator with "
                    f"channels_first={call.channels_first}."
                )
            if takes_images:
                return

    def channels_first_at(self, layer: Layer, otherwise: bool) -> bool:
        """Return whether channels come first at a layer: as it says, or the one before, or next.

        :param layer: one that is called.
        :param otherwise: what holds if no layer says.
        """
        place = [call.name for call in self.calls].index(layer.name)
        nearest = [*self.calls[place::-1], *self.calls[place + 1 :]]
        said = (call.channels_first for call in nearest if call.channels_first is not None)
        return next(said, otherwise)
