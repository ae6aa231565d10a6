"""NIP's view of a PyTorch model.

Gradients come from `torch.autograd.grad`, which leaves no `.grad` behind, and hooks live for one
forward pass.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from art_nip.estimators.base import EstimatorAdapter, Weights
from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import note
from art_nip.estimators.pytorch import memory, scores
from art_nip.estimators.pytorch.hooks import passing_through
from art_nip.estimators.pytorch.modes import NOTHING, as_written, plain
from art_nip.estimators.pytorch.tracing import hangs_on_past, trace
from art_nip.estimators.traced import Traced
from art_nip.utils.kept import Kept
from art_nip.utils.pytorch import (
    check_runs_as_written,
    device_of,
    parameters_of,
    to_numpy,
    weights_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class PyTorchAdapter(EstimatorAdapter):
    """The neurons of an ART `PyTorchClassifier`; `DataParallel` is looked through."""

    framework = f"torch {torch.__version__}"

    _goes_elsewhere: bool | None = None
    """Whether what goes into the layer goes elsewhere too: then its influence goes both ways."""
    _half: torch.dtype | None = None
    """The precision of autocast, if the model is looked at in another than its own."""
    _cached_input_dtypes: dict[frozenset[torch.dtype], torch.dtype] | None = None

    def __init__(self, estimator: Any, layer: str | None, confidence: str) -> None:
        check_runs_as_written(estimator.model)
        self._device_of_estimator = torch.device(estimator.device)
        self._moments_kept: Kept[tuple[Tensor, Tensor]] = Kept()
        super().__init__(estimator, layer, confidence)

    @staticmethod
    def unwrapped(model: Any) -> nn.Module:
        """Return the module inside `torch.compile` and `DataParallel`, also distributed."""
        if isinstance(model, torch.jit.ScriptModule):
            raise TypeError(
                "The model was compiled by torch.jit, and no hook sees its layers: give the module "
                "that it was made from."
            )
        model = getattr(model, "_orig_mod", model)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            return PyTorchAdapter.unwrapped(model.module)
        if not isinstance(model, nn.Module):
            raise TypeError(f"The estimator's model is a {type(model).__name__}, not an nn.Module.")
        return model

    def _is_same(self, model: nn.Module) -> bool:
        # ART's classifiers, when copied or pickled, make a shallow copy of their model.
        return model is self.model or (
            type(model) is type(self.model) and vars(model)["_modules"] is self.model._modules
        )

    @property
    def device(self) -> torch.device:
        """The device that the model is on; the classifier's, if the model holds no tensor."""
        return device_of(self.model) or self._device_of_estimator

    def _in_half_precision(self, precision: str) -> "Self":
        other = copy.copy(self)
        other._half = getattr(torch, precision)
        unable = f"look={precision!r} does not work with this model on {self.device.type!r}"
        try:
            with warnings.catch_warnings():
                # Where PyTorch cannot, it warns and works in full precision.
                warnings.simplefilter("error")
                other._autocast()
            outputs = other.outputs(self.tensor(self._probes))
        except (RuntimeError, UserWarning) as error:
            raise ValueError(f"{unable}: {error}") from error
        if not outputs.isfinite().all():
            raise ValueError(
                f"{unable}: its scores of made-up images are not finite. float16 ends at 65,504; "
                'take look="bfloat16" or "float32".'
            )
        return other

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._half is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._half)

    def influence(self, x: Tensor) -> Tensor:
        """Return neuron influence; see the base class."""
        if self._goes_elsewhere:
            with self.undisturbed(), torch.enable_grad():
                return self._seen(_free(x).requires_grad_())[2]
        neurons: list[Tensor] = []

        def start_of_graph(output: Tensor) -> Tensor:
            # Below the layer no graph is built; from here on it is. The clone keeps in-place layers
            # off φ.
            neurons.append(output.detach())
            torch.set_grad_enabled(True)
            return neurons[-1].requires_grad_().clone()

        with self._working() as dtype, torch.no_grad():
            with passing_through(self.model, self.layer, start_of_graph):
                outputs = self._outputs(_free(x), dtype)
            return self._influence(outputs, self._only(neurons))

    def outputs(self, x: Tensor) -> Tensor:
        """Return what the model gives; see the base class."""
        with self._working() as dtype, torch.no_grad():
            return self._outputs(_free(x), dtype)

    def activations(self, x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        """Return what layers give; see the base class."""
        reached: dict[int, Tensor] = {}
        with self.undisturbed(), suppress(_ReachedError), torch.no_grad():
            self._look(_free(x), layers, reached, stop=True)
        note(self.model, forward=len(x))
        return [reached[place] for place in range(len(layers))]

    def logits_and_activations(
        self, x: Tensor, layers: Sequence[Layer]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return logits and what layers give; see the base class."""
        reached: dict[int, Tensor] = {}
        with self.undisturbed(), torch.no_grad():
            outputs = self._look(_free(x), layers, reached, stop=False)
            logits = self._logits(outputs)
        return logits, [reached[place] for place in range(len(layers))]

    def connected(self, x: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, list[Tensor]]:
        """Return logits and what layers give, in the graph of x; see the base class."""
        reached: dict[int, Tensor] = {}
        with self.undisturbed():
            logits = self._logits(self._look(_usable(x), layers, reached, stop=False))
        return logits, [reached[place] for place in range(len(layers))]

    def gradient(
        self,
        x: Tensor,
        layers: Sequence[Layer],
        objective: Callable[[Tensor, list[Tensor]], Tensor],
    ) -> Tensor:
        """Return the gradient of an objective; see the base class."""
        reached: dict[int, Tensor] = {}
        with self.undisturbed(), torch.enable_grad():
            x = _free(x).requires_grad_()
            logits = self._logits(self._look(x, layers, reached, stop=False))
            value = objective(logits, [reached[place] for place in range(len(layers))])
            (gradient,) = torch.autograd.grad(value.sum(), x)
        return gradient

    def lead_gradient(self, x: Tensor, classes: npt.NDArray[np.int64]) -> Tensor:
        """Return the gradient of a class's lead; see the base class."""
        there = self.integers(classes)
        return self.gradient(x, (), lambda logits, _: scores.lead(logits, there))

    def observer(self, weights: Weights) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Return the function that fitting calls; see the base class."""
        self.check_gradient()
        return lambda x: self._observe(x, weights)

    def _observe(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        with self.undisturbed(), torch.enable_grad():
            x = _free(x).requires_grad_()
            outputs, phi, influence = self._seen(x)
            w = weights(influence).reshape(phi.shape).to(phi.dtype)
            (perturbation,) = torch.autograd.grad(phi, x, grad_outputs=w)
        return outputs.detach(), influence, perturbation

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs and neurons, in a graph that begins at the images, and influence."""
        neurons: list[Tensor] = []
        clones: list[Tensor] = []
        versions: list[int] = []

        def on_the_way(output: Tensor) -> Tensor:
            neurons.append(output)
            clones.append(output.clone())
            versions.append(output._version)
            return clones[-1]

        with self._working() as dtype, passing_through(self.model, self.layer, on_the_way):
            outputs = self._outputs(x, dtype)
        phi = self._only(neurons)
        if phi._version != versions[0]:
            raise ValueError(
                f"What layer {str(self.layer)!r} handles is changed in place elsewhere in the "
                "model, so its values are lost. Name what goes into or comes out of another layer."
            )
        if self._goes_elsewhere is None:
            self._goes_elsewhere = hangs_on_past(outputs, phi, clones[-1])
        return outputs, phi, self._influence(outputs, phi)

    def undisturbed(self) -> AbstractContextManager[None]:
        """Return a context outside of inference mode and autocast; see the base class."""
        return plain(self.device)

    def _working(self) -> AbstractContextManager[torch.dtype]:
        """Show the model as it was written, in evaluation mode; give the precision it takes."""
        undisturbed, written = self.undisturbed(), as_written(self.model)
        if undisturbed is NOTHING and written is NOTHING:
            return nullcontext(self._input_dtype())
        return self._made_working(undisturbed, written)

    @contextmanager
    def _made_working(self, *contexts: AbstractContextManager[None]) -> Iterator[torch.dtype]:
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            # The precision may have to be tried out, before layers are watched.
            yield self._input_dtype()

    def tensor(self, array: npt.ArrayLike | Tensor) -> Tensor:
        """Return float32 on the model's device; a tensor stays in its graph."""
        with self.undisturbed():
            if not isinstance(array, Tensor):
                array = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
            return _usable(array).to(self.device, torch.float32)

    def integers(self, array: npt.NDArray[np.int64]) -> Tensor:
        """Return int64 on the model's device."""
        with self.undisturbed():
            return torch.from_numpy(np.asarray(array, np.int64)).to(self.device)

    def constant(self, tensor: Tensor) -> Tensor:
        """Return the tensor without its graph."""
        return tensor.detach()

    def numpy(self, tensor: Tensor) -> npt.NDArray[Any]:
        """Return a NumPy array."""
        return to_numpy(tensor)

    def as_input(self, tensor: Tensor) -> Tensor:
        """Return images in the precision in which the model takes them."""
        return tensor.to(self._input_dtype())

    def held(self, array: npt.NDArray[Any]) -> Tensor:
        """Return an array on the device if it fits there; see the base class."""
        return memory.held(array, self.device)

    def rows(self, array: npt.NDArray[Any]) -> Callable[[Tensor], Tensor]:
        """Return the function that fetches rows; see the base class."""
        return memory.rows(array, self.device, self.held)

    def _weights(self) -> Iterator[npt.NDArray[Any]]:
        for value in self.model.state_dict().values():
            if isinstance(value, Tensor):
                flat = value.detach().cpu().contiguous().reshape(-1)
                yield flat.view(torch.uint8).numpy().reshape(*value.shape, value.element_size())

    def weights_mark(self) -> object:
        """Return versions, which PyTorch counts up with each change in place; see the base class.

        Changes by way of `.data` are not counted.
        """
        return tuple(
            (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
            for weight in weights_of(self.model)
        )

    def _check_neurons(self) -> None:
        self._goes_elsewhere = None
        try:
            super()._check_neurons()
        except RuntimeError as error:
            raise ValueError(
                f"PyTorch cannot take the gradient of layer {str(self.layer)!r} to the images: "
                f"{error}"
            ) from error

    def _trace(self, x: npt.NDArray[np.float32]) -> Traced:
        if any(weight.is_inference() for weight in self.model.parameters()):
            raise ValueError(
                "The model's weights were made within torch.inference_mode(), so that no gradient "
                "can be taken. Create or load the model outside of it."
            )
        with self._working() as dtype:
            images = self.tensor(x)
            try:
                return trace(self.model, partial(self._run, dtype=dtype), images)
            except RuntimeError as error:
                raise ValueError(
                    f"The model does not run on images of shape {tuple(images.shape)} with "
                    f"gradients to them, and NIP needs it to: {error}"
                ) from error

    def _look(
        self, x: Tensor, layers: Sequence[Layer], reached: dict[int, Tensor], stop: bool
    ) -> Tensor:
        """Return outputs, with what layers give left in `reached`; or stop once all are there."""

        def noting(place: int) -> Callable[[Tensor], Tensor]:
            def note(output: Tensor) -> Tensor:
                if place not in reached:
                    # What comes behind may work in place.
                    reached[place] = _maps(output).clone().float()
                if stop and len(reached) == len(layers):
                    raise _ReachedError
                return output

            return note

        with ExitStack() as stack:
            dtype = stack.enter_context(self._working())
            for place, layer in enumerate(layers):
                stack.enter_context(passing_through(self.model, layer, noting(place)))
            return self._outputs(x, dtype)

    def _run(self, x: Tensor, dtype: torch.dtype) -> Any:
        """Return what the model gives for images, in the precision in which it takes them."""
        x = self._standardised(x)
        # A copy: the model may work in place, on images that are the caller's.
        with self._autocast():
            return self.model(x.to(dtype, copy=True))

    def _outputs(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return scores in float32, whatever the precision of the model."""
        outputs: Tensor = self._run(x, dtype)
        if outputs.shape != (len(x), self.nb_classes):
            raise ValueError(
                f"The model gives scores of shape {tuple(outputs.shape)} for a batch of {len(x)}; "
                f"NIP needs ({len(x)}, {self.nb_classes}). A squeeze() that takes away the axis of "
                "a single image does so: name the axes in it."
            )
        return outputs.float()

    def _input_dtype(self) -> torch.dtype:
        """Return the precision in which the model takes images: float32 wherever it can."""
        every = {weight.dtype for weight in parameters_of(self.model)}
        own = frozenset(dtype for dtype in every if dtype.is_floating_point)
        if own <= {torch.float32}:
            return torch.float32
        if self._cached_input_dtypes is None:
            self._cached_input_dtypes = {}
        if own not in self._cached_input_dtypes:
            self._cached_input_dtypes[own] = self._tried_dtype(own)
        return self._cached_input_dtypes[own]

    def _tried_dtype(self, own: frozenset[torch.dtype]) -> torch.dtype:
        reasons = []
        x = self._standardised(self.tensor(self._probes[:1]))
        for dtype in dict.fromkeys((torch.float32, *sorted(own, key=str))):
            try:
                with torch.no_grad():
                    self.model(x.to(dtype, copy=True))
            except RuntimeError as error:
                reasons.append(f"{dtype}: {error}")
            else:
                return dtype
        raise ValueError(
            f"The model's weights have the precision {', '.join(map(str, own))}, and it takes "
            f"images in none that was tried. {' '.join(reasons)}"
        )

    def _standardised(self, x: Tensor) -> Tensor:
        if self._standardisation is None:
            return x
        given = self._standardisation
        mean, std = self._moments_kept.get(
            x.device, lambda: (self.tensor(given.mean), self.tensor(given.std))
        )
        return (x - mean) / std

    def _logits(self, outputs: Tensor) -> Tensor:
        return scores.logits_of(outputs) if self._gives_probabilities else outputs

    def _influence(self, outputs: Tensor, phi: Tensor) -> Tensor:
        """Return influence in float32."""
        slopes, factor = scores.score_gradient(
            outputs.detach(), self._gives_probabilities, self._score_is_output
        )
        (gradient,) = torch.autograd.grad(
            outputs, phi, grad_outputs=slopes, retain_graph=phi.grad_fn is not None
        )
        return (gradient.float() * phi.detach().float()).flatten(1) * factor[:, None]

    def _only(self, neurons: list[Tensor]) -> Tensor:
        if len(neurons) != 1:
            raise ValueError(
                f"layer {str(self.layer)!r} was called {len(neurons)} times in one pass, and NIP "
                "looks at layers that are called once, in the thread that calls the model."
            )
        return neurons[0]


def _free(x: Tensor) -> Tensor:
    """Return images without their graph."""
    return _usable(x.detach())


def _usable(x: Tensor) -> Tensor:
    """Return a tensor that gradients can be taken of, also if it was made in inference mode."""
    return x.clone() if x.is_inference() else x


def _maps(output: Tensor) -> Tensor:
    """Return what a layer gives as (N, C, *places)."""
    return output if output.ndim > 2 else output[:, None]


class _ReachedError(Exception):
    """Ends a forward pass of which the rest is not needed."""
