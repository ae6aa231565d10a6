"""NIP's view of a PyTorch model.

Gradients come from `torch.autograd.grad`, which leaves no `.grad` behind, and hooks live for one
forward pass.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from art_nip.estimators.base import SMALLEST, EstimatorAdapter, Weights
from art_nip.estimators.layers import Call, Layer
from art_nip.estimators.pass_counting import note


class PyTorchAdapter(EstimatorAdapter):
    """The neurons of an ART `PyTorchClassifier`; `DataParallel` is looked through."""

    framework = f"torch {torch.__version__}"

    @staticmethod
    def unwrapped(model: Any) -> nn.Module:
        """Return the module inside `torch.compile` and `DataParallel`, also distributed."""
        model = getattr(model, "_orig_mod", model)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            return PyTorchAdapter.unwrapped(model.module)
        if not isinstance(model, nn.Module):
            raise TypeError(f"The estimator's model is a {type(model).__name__}, not an nn.Module.")
        return model

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def influence(self, x: Tensor) -> Tensor:
        """Return neuron influence; see the base class."""
        neurons: list[Tensor] = []

        def start_of_graph(output: Tensor) -> Tensor:
            # Below the layer no graph is built; from here on it is. The clone keeps in-place layers
            # off φ.
            neurons.append(output.detach())
            torch.set_grad_enabled(True)
            return neurons[-1].requires_grad_().clone()

        with (
            torch.no_grad(),
            _evaluating(self.model),
            self._passing_through(self.layer, start_of_graph),
        ):
            score, _ = self._score(self.model(self._standardised(x.detach())))
            (gradient,) = torch.autograd.grad(score.sum(), neurons[-1])
        return _influence(gradient, neurons[-1].detach())

    def activations(self, x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        """Return what layers give; see the base class."""
        reached: dict[int, Tensor] = {}
        with suppress(_ReachedError), torch.no_grad():
            self._look(x.detach(), layers, reached, stop=True)
        note(self.model, forward=len(x))
        return [reached[place] for place in range(len(layers))]

    def logits_and_activations(
        self, x: Tensor, layers: Sequence[Layer]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return logits and what layers give; see the base class."""
        reached: dict[int, Tensor] = {}
        with torch.no_grad():
            outputs = self._look(x.detach(), layers, reached, stop=False)
        return self._logits(outputs), [reached[place] for place in range(len(layers))]

    def gradient(
        self,
        x: Tensor,
        layers: Sequence[Layer],
        objective: Callable[[Tensor, list[Tensor]], Tensor],
    ) -> Tensor:
        """Return the gradient of an objective; see the base class."""
        reached: dict[int, Tensor] = {}
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = self._logits(self._look(x, layers, reached, stop=False))
            value = objective(logits, [reached[place] for place in range(len(layers))])
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return gradient

    def lead_gradient(self, x: Tensor, classes: npt.NDArray[np.int64]) -> Tensor:
        """Return the gradient of a class's lead; see the base class."""
        place = self.integers(classes)[:, None]

        def lead(logits: Tensor, maps: list[Tensor]) -> Tensor:
            others = logits.scatter(1, place, -torch.inf).amax(dim=1)
            return logits.gather(1, place)[:, 0] - others

        return self.gradient(x, (), lead)

    def observer(self, weights: Weights) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Return the function that fitting calls; see the base class."""

        def observe(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            neurons: list[Tensor] = []

            def on_the_way(output: Tensor) -> Tensor:
                neurons.append(output)
                return output.clone()

            with (
                torch.enable_grad(),
                _evaluating(self.model),
                self._passing_through(self.layer, on_the_way),
            ):
                x = x.detach().requires_grad_()
                score, predicted = self._score(self.model(self._standardised(x)))
                phi = neurons[-1]
                (gradient,) = torch.autograd.grad(score.sum(), phi)
                influence = _influence(gradient, phi.detach())
                w = weights(influence).reshape(phi.shape)
                (perturbation,) = torch.autograd.grad(phi, x, grad_outputs=w)
            return predicted, influence, perturbation

        return observe

    def tensor(self, array: npt.ArrayLike | Tensor) -> Tensor:
        """Return float32 on the model's device; a tensor stays in its graph."""
        if isinstance(array, Tensor):
            return array.to(self.device, torch.float32)
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(self.device)

    def integers(self, array: npt.NDArray[np.int64]) -> Tensor:
        """Return int64 on the model's device."""
        return torch.from_numpy(np.asarray(array, np.int64)).to(self.device)

    def constant(self, tensor: Tensor) -> Tensor:
        """Return the tensor without its graph."""
        return tensor.detach()

    def numpy(self, tensor: Tensor) -> npt.NDArray[Any]:
        """Return a NumPy array."""
        array: npt.NDArray[Any] = tensor.detach().cpu().numpy()
        return array

    def held(self, array: npt.NDArray[Any]) -> Tensor:
        """Return an array on the device if it fits there; see the base class."""
        device = self.device
        host = torch.from_numpy(array)
        if device.type == "cuda" and 2 * array.nbytes > torch.cuda.mem_get_info(device)[0]:
            return host
        return host.to(device)

    def rows(self, array: npt.NDArray[Any]) -> Callable[[Tensor], Tensor]:
        """Return the function that fetches rows; see the base class."""
        device, held = self.device, self.held(array)
        return lambda indices: held[indices.to(held.device)].to(device)

    def _layer_names(self) -> list[str]:
        return [name for name, _ in self.model.named_modules() if name]

    def _weights(self) -> Iterator[npt.NDArray[Any]]:
        for value in self.model.state_dict().values():
            if isinstance(value, Tensor):
                flat = value.detach().cpu().contiguous().reshape(-1)
                yield flat.view(torch.uint8).numpy().reshape(*value.shape, value.element_size())

    def weights_mark(self) -> object:
        """Return versions, which PyTorch counts up with each change in place; see the base class.

        Changes by way of `.data` are not counted.
        """
        weights = chain(self.model.parameters(), self.model.buffers())
        return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)

    def _trace(self, x: npt.NDArray[np.float32]) -> tuple[list[Call], npt.NDArray[np.float32]]:
        calls: list[Call] = []

        def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
                calls.append(_call(name, module, arguments))

            return note

        handles = []
        try:
            for name, module in self.model.named_modules():
                if name:
                    handles.append(module.register_forward_pre_hook(noting(name)))
            with torch.no_grad(), _evaluating(self.model):
                outputs = self.model(self._standardised(self.tensor(x)))
        finally:
            for handle in handles:
                handle.remove()
        return calls, self.numpy(outputs)

    def _look(
        self, x: Tensor, layers: Sequence[Layer], reached: dict[int, Tensor], stop: bool
    ) -> Tensor:
        """Return outputs, with what layers give left in `reached`; or stop once all are there."""

        def noting(place: int) -> Callable[[Tensor], Tensor]:
            def note(output: Tensor) -> Tensor:
                if place not in reached:
                    # What comes behind may work in place.
                    reached[place] = _maps(output).clone()
                if stop and len(reached) == len(layers):
                    raise _ReachedError
                return output

            return note

        with ExitStack() as stack:
            stack.enter_context(_evaluating(self.model))
            for place, layer in enumerate(layers):
                stack.enter_context(self._passing_through(layer, noting(place)))
            outputs: Tensor = self.model(self._standardised(x))
        return outputs

    @contextmanager
    def _passing_through(
        self, layer: Layer, function: Callable[[Tensor], Tensor]
    ) -> Iterator[None]:
        """Send what passes a layer through a function, then restore it."""
        module = self.model.get_submodule(layer.name)
        if layer.side == "input":
            handle = module.register_forward_pre_hook(
                lambda _, arguments: (function(arguments[0]), *arguments[1:])
            )
        else:
            handle = module.register_forward_hook(lambda _, __, output: function(output))
        try:
            yield
        finally:
            handle.remove()

    def _standardised(self, x: Tensor) -> Tensor:
        if self._standardisation is None:
            return x
        mean, std = self._standardisation.mean, self._standardisation.std
        return (x - self.tensor(mean)) / self.tensor(std)

    def _logits(self, outputs: Tensor) -> Tensor:
        return outputs.clamp_min(SMALLEST).log() if self._gives_probabilities else outputs

    def _score(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return y_c and c."""
        predicted = outputs.argmax(dim=1, keepdim=True)
        top = outputs.gather(1, predicted)[:, 0]
        if self._score_is_output:
            return top, predicted[:, 0]
        # Softmax in the form whose gradient does not cancel to 0 where the model is sure of itself.
        rest = outputs.scatter(1, predicted, -torch.inf).logsumexp(dim=1)
        return nn.functional.logsigmoid(top - rest).exp(), predicted[:, 0]


def _maps(output: Tensor) -> Tensor:
    """Return what a layer gives as (N, C, *places)."""
    return output if output.ndim > 2 else output[:, None]


def _influence(gradient: Tensor, activation: Tensor) -> Tensor:
    return (gradient * activation).flatten(1)


def _call(name: str, module: nn.Module, arguments: tuple[Any, ...]) -> Call:
    shape = arguments[0].shape if arguments and isinstance(arguments[0], Tensor) else ()
    size = math.prod(shape[1:])
    if isinstance(module, nn.modules.conv._ConvNd):
        of_one_pixel = set(module.kernel_size) == {1} and math.prod(shape[2:]) == 1
        return Call(name, "one pixel" if of_one_pixel else "convolution", size)
    dense = isinstance(module, nn.Linear) and len(shape) == 2
    return Call(name, "dense" if dense else "other", size)


class _ReachedError(Exception):
    """Ends a forward pass of which the rest is not needed."""


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put the modules that are in training mode into evaluation mode, and back."""
    training = [module for module in model.modules() if module.training]
    # The attribute and not `.eval()`: a model may override that and do more.
    _set_training(training, False)
    try:
        yield
    finally:
        _set_training(training, True)


def _set_training(modules: Iterable[nn.Module], training: bool) -> None:
    for module in modules:
        module.training = training
