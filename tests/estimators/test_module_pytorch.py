"""`as_module` of a PyTorchClassifier: the outputs and the gradients that ART gives."""

import copy
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from art.defences.postprocessor import ReverseSigmoid
from art.defences.preprocessor import (
    JpegCompression,
    SpatialSmoothing,
    SpatialSmoothingPyTorch,
)
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
from art.estimators.classification import BlackBoxClassifierNeuralNetwork, PyTorchClassifier
from torch import nn

from art_nip import NIPPreprocessor, as_module, defences
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier, no_scatter, on_device

ONE_HOT = np.eye(10, dtype=np.float32)
STANDARDISED = {"preprocessing": (0.13, 0.31)}


class Shifted(PreprocessorPyTorch):
    """A defence that others do not commute with, and that is left out where ART is told so."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(is_fitted=True, **keywords)

    def forward(self, x: torch.Tensor, y: Any = None) -> tuple[torch.Tensor, Any]:
        return (2 * x + 0.3).clamp(0, 1), y


@pytest.fixture
def few(digits) -> tuple[np.ndarray, np.ndarray]:
    x, y = digits["test"]
    return x[:8], y[:8]


def assert_as_art(
    module: nn.Module, classifier: PyTorchClassifier, x: np.ndarray, y: np.ndarray
) -> None:
    """Assert that outputs and gradients are those that ART gives; all draws are the same."""
    images = on_device(x, requires_grad=True)
    with seeded(0):
        outputs = module(images)
    with seeded(0):
        np.testing.assert_allclose(outputs.numpy(force=True), classifier.predict(x), atol=1e-5)
    (gradient,) = torch.autograd.grad(classifier.loss(outputs, on_device(y)), images)
    with seeded(0):
        expected = classifier.loss_gradient(x, ONE_HOT[y])
    largest = np.abs(expected).max()
    assert largest > 0
    np.testing.assert_allclose(gradient.numpy(force=True), expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("keywords", [{}, STANDARDISED, {"preprocessing": None}])
def test_plain_classifiers(lenet, few, keywords):
    classifier = make_classifier("pytorch", lenet["pytorch"], **keywords)
    assert_as_art(as_module(classifier), classifier, *few)


@pytest.mark.parametrize("retrieval", ["similarity", "nearest", "class"])
def test_nip_with_each_retrieval(lenet, digits, few, retrieval):
    bare = make_classifier("pytorch", lenet["pytorch"], **STANDARDISED)
    nip = NIPPreprocessor.for_estimator(bare, retrieval=retrieval, verbose=False)
    nip.fit(*(part[:120] for part in digits["bank"]))
    defended = nip.attach(bare)
    assert_as_art(as_module(defended), defended, *few)
    np.testing.assert_array_equal(
        nip.module(bare, unit_images=True)(on_device(few[0])).numpy(force=True),
        as_module(defended)(on_device(few[0])).numpy(force=True),
    )
    many = digits["test"][0]
    assert not np.allclose(
        as_module(defended)(on_device(many)).numpy(force=True), bare.predict(many)
    )


@pytest.mark.parametrize("name", ["tvm", "fdistill"])
def test_defences_by_name(lenet, few, name):
    defence = defences.get(name).create(make_classifier("pytorch", lenet["pytorch"]))
    defended = make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=defence)
    assert_as_art(as_module(defended), defended, *few)


def test_defences_in_their_order(lenet, few, fitted_nips):
    smoothing = SpatialSmoothingPyTorch(window_size=3, channels_first=True)
    given = [Shifted(), smoothing, fitted_nips["pytorch"], Shifted(apply_predict=False)]
    for order in (given, given[::-1]):
        classifier = make_classifier(
            "pytorch", lenet["pytorch"], preprocessing_defences=order, **STANDARDISED
        )
        assert_as_art(as_module(classifier), classifier, *few)


def test_defences_for_numpy_go_straight_through_if_asked(lenet, few):
    for defence in (
        JpegCompression(clip_values=(0, 1), quality=50, channels_first=True),
        SpatialSmoothing(window_size=3, channels_first=True),
    ):
        classifier = make_classifier(
            "pytorch", lenet["pytorch"], preprocessing_defences=defence, **STANDARDISED
        )
        with pytest.raises(ValueError, match=f"{type(defence).__name__}.*straight_through=True"):
            as_module(classifier)
        assert_as_art(as_module(classifier, straight_through=True), classifier, *few)


def test_a_defence_for_numpy_may_have_a_gradient_of_its_own(lenet, few):
    class Halved(Preprocessor):
        def __call__(self, x: np.ndarray, y: Any = None) -> tuple[np.ndarray, Any]:
            return x / 2, y

        def estimate_gradient(self, x: np.ndarray, grad: np.ndarray) -> np.ndarray:
            return grad / 2

    classifier = make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=Halved())
    assert_as_art(as_module(classifier, straight_through=True), classifier, *few)


def test_a_module_of_sequential_that_art_unrolls(few):
    class Doubled(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    torch.manual_seed(0)
    classifier = PyTorchClassifier(
        Doubled(nn.Flatten(), nn.Linear(784, 10)),
        nn.CrossEntropyLoss(),
        (1, 28, 28),
        10,
        clip_values=(0, 1),
    )
    assert_as_art(as_module(classifier), classifier, *few)


def test_one_output_becomes_a_column_as_in_art(few):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 1), nn.Flatten(0))
    classifier = make_classifier("pytorch", model, nb_classes=2)
    outputs = as_module(classifier)(on_device(few[0]))
    assert outputs.shape == (8, 1)
    np.testing.assert_allclose(outputs.numpy(force=True), classifier.predict(few[0]), atol=1e-5)


def test_images_of_another_range_or_of_none(lenet, few):
    x, y = few
    wide = make_classifier(
        "pytorch", lenet["pytorch"], clip_values=(-255, 255), preprocessing=(-255, 510)
    )
    module, unit = as_module(wide), as_module(wide, unit_images=True)
    pixels = (x * 510 - 255).astype(np.float32)
    assert_as_art(module, wide, pixels, y)
    torch.testing.assert_close(unit(on_device(x)), module(on_device(pixels)))
    boundless = make_classifier("pytorch", lenet["pytorch"], clip_values=None)
    assert_as_art(as_module(boundless), boundless, *few)
    with pytest.raises(ValueError, match="clip_values"):
        as_module(boundless, unit_images=True)


class WithModes(nn.Module):
    """A small model whose outputs depend on its mode in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(1), nn.Dropout(0.5)
        self.last = nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.norm(x)).flatten(1))


def test_modes_are_kept_whatever_art_does_to_the_model(few):
    torch.manual_seed(0)
    x, y = few
    model = WithModes().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (1, 28, 28), 10, optimizer, clip_values=(0, 1)
    )
    module = as_module(classifier)
    assert not module.training
    assert not model.training
    assert_as_art(module, classifier, x, y)

    classifier.fit(x, y, batch_size=8, nb_epochs=1)
    assert model.training  # ART leaves it so
    steady = module(on_device(x))
    torch.testing.assert_close(module(on_device(x)), steady)
    np.testing.assert_allclose(steady.numpy(force=True), classifier.predict(x), atol=1e-5)

    module.train()
    classifier.predict(x)  # ART leaves it in evaluation mode
    before = model.norm.running_mean.clone()
    assert not torch.equal(module(on_device(x)), module(on_device(x)))
    assert model.training
    assert not torch.equal(model.norm.running_mean, before)


def test_training_it_trains_the_classifier(few):
    torch.manual_seed(0)
    x, y = few
    classifier = make_classifier("pytorch", WithModes())
    module = as_module(classifier).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = classifier.predict(x)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(on_device(x)), on_device(y)).backward()
        optimizer.step()
    module.eval()
    assert np.abs(classifier.predict(x) - before).max() > 0.01
    assert_as_art(module, classifier, x, y)


@pytest.fixture
def defended(lenet, fitted_nips) -> PyTorchClassifier:
    bare = make_classifier("pytorch", copy.deepcopy(lenet["pytorch"]))
    nip = NIPPreprocessor.for_estimator(bare, verbose=False)
    nip._adopt(fitted_nips["pytorch"]._fitted)
    return nip.attach(bare)


def test_a_deep_copy_is_independent_with_its_defences(defended, few):
    images = on_device(few[0])
    module = as_module(defended)
    before = module(images)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(module(images), before, rtol=0, atol=0)
    # Its NIP looks at the copy's model: as one that is made of the changed model does.
    defended.model.load_state_dict(other.model.state_dict())
    torch.testing.assert_close(other(images), module(images), rtol=0, atol=0)
    assert not torch.allclose(other(images), before)


def test_it_can_be_saved_whole_and_its_weights_alone(defended, few):
    images = on_device(few[0])
    module = as_module(defended)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert not loaded.training
    torch.testing.assert_close(loaded(images), module(images), rtol=0, atol=0)

    weights = {name: value.clone() for name, value in module.state_dict().items()}
    assert weights.keys() == {f"model.{name}" for name in defended.model.state_dict()}
    expected = module(images)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert not torch.allclose(module(images), expected)
    module.load_state_dict(weights)
    torch.testing.assert_close(module(images), expected, rtol=0, atol=0)


def test_images_of_double_precision_have_gradients_of_theirs(defended, few):
    module = as_module(defended)
    images = on_device(few[0], dtype=torch.float64, requires_grad=True)
    outputs = module(images)
    (gradient,) = torch.autograd.grad(outputs[:, 3].sum(), images)
    assert gradient.dtype == torch.float64
    np.testing.assert_allclose(outputs.numpy(force=True), defended.predict(few[0]), atol=1e-5)
    expected = defended.class_gradient(few[0], 3)[:, 0]
    np.testing.assert_allclose(gradient.numpy(force=True), expected, atol=1e-5)


def test_a_model_of_double_precision(few):
    torch.manual_seed(0)
    classifier = make_classifier("pytorch", WithModes(), **STANDARDISED)
    module = as_module(classifier).double()
    outputs = module(on_device(few[0], dtype=torch.float64))
    assert outputs.dtype == torch.float64
    single = module.float()(on_device(few[0]))
    torch.testing.assert_close(outputs.float(), single, rtol=1e-4, atol=1e-5)


@no_scatter
def test_data_parallel_gives_the_same(defended, few):
    images = on_device(few[0])
    module = as_module(defended)
    parallel = nn.DataParallel(module)
    torch.testing.assert_close(parallel(images), module(images), rtol=0, atol=0)
    assert module(images[:0]).shape == (0, 10)


def test_replicas_in_threads_do_not_disturb_each_other(defended, digits):
    images = on_device(digits["test"][0])
    module = as_module(defended)
    expected = module(images)
    # As DataParallel makes them on several GPUs: without parameters, with the hooks of the one.
    replicas = [module._replicate_for_data_parallel() for _ in range(2)]
    parts = [part for _ in range(4) for part in images.split(100)]
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda replica, x: replica(x), 4 * replicas, parts))
    torch.testing.assert_close(torch.cat(results), expected.repeat(4, 1))


def test_the_model_of_the_classifier_stays_arts(defended, few):
    model = defended.model
    as_module(defended)(on_device(few[0]))
    assert defended.model is model
    assert not list(model._forward_hooks)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_works_in_place_leaves_images_alone(few):
    model = nn.Sequential(nn.Threshold(0.5, 0, inplace=True), nn.Flatten(), nn.Linear(784, 10))
    images = on_device(few[0], requires_grad=True)
    with torch.no_grad():
        as_module(make_classifier("pytorch", model, preprocessing=None))(images)
    np.testing.assert_array_equal(images.numpy(force=True), few[0])


def test_what_is_no_classifier_is_refused(lenet, few):
    model = lenet["pytorch"]
    with pytest.raises(TypeError, match="model alone"):
        as_module(model)
    with pytest.raises(TypeError, match="takes an ART classifier, and was given a str"):
        as_module("lenet")
    classifier = make_classifier("pytorch", model)
    oracle = BlackBoxClassifierNeuralNetwork(classifier.predict, (1, 28, 28), 10)
    with pytest.raises(TypeError, match="BlackBoxClassifierNeuralNetwork"):
        as_module(oracle)
    with pytest.raises(ValueError, match="postprocessing"):
        as_module(make_classifier("pytorch", model, postprocessing_defences=ReverseSigmoid()))


def test_a_classifier_that_predicts_otherwise_is_refused(lenet):
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    smoothed = PyTorchRandomizedSmoothing(
        lenet["pytorch"], nn.CrossEntropyLoss(), (1, 28, 28), 10, sample_size=4
    )
    with pytest.raises(TypeError, match="PyTorchRandomizedSmoothing predicts in a way of its own"):
        as_module(smoothed)

    class Scaled(PyTorchClassifier):
        def _apply_preprocessing(self, x: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
            return super()._apply_preprocessing(x / 2, *arguments, **keywords)

    with pytest.raises(TypeError, match="Scaled predicts in a way of its own"):
        as_module(Scaled(lenet["pytorch"], nn.CrossEntropyLoss(), (1, 28, 28), 10))


def test_clones_of_single_precision_predict_as_their_originals(lenet, few):
    classifier = single_precision(make_classifier("pytorch", lenet["pytorch"], **STANDARDISED))
    assert_as_art(as_module(classifier), classifier, *few)


def test_images_and_models_that_art_cannot_take_are_refused(lenet, few):
    module = as_module(make_classifier("pytorch", lenet["pytorch"]))
    images = on_device(few[0])
    with pytest.raises(TypeError, match="given ndarray"):
        module(few[0])
    with pytest.raises(TypeError, match=r"torch\.uint8"):
        module((255 * images).to(torch.uint8))
    with pytest.raises(ValueError, match=r"\(1, 28, 28\); the classifier takes \(N, 1, 28, 28\)"):
        module(images[0])

    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.flatten(1)[:, :10], x

    with pytest.raises(TypeError, match="gives a tuple"):
        as_module(make_classifier("pytorch", Pair()))(images)


@pytest.mark.parametrize("retrieval", ["similarity", "nearest", "class"])
@pytest.mark.filterwarnings("ignore:The model's weights")
def test_a_defended_model_of_double_precision(lenet, digits, few, retrieval):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = NIPPreprocessor.for_estimator(classifier, retrieval=retrieval, verbose=False)
    nip.fit(*(part[:200] for part in digits["bank"]))
    module = as_module(nip.attach(classifier))
    expected = module(on_device(few[0]))
    outputs = copy.deepcopy(module).double()(on_device(few[0], dtype=torch.float64))
    assert outputs.dtype == torch.float64
    # One image may find another candidate where two are equally near.
    found, wanted = (each.numpy(force=True) for each in (outputs, expected))
    close = np.isclose(found, wanted, atol=1e-3).all(axis=1)
    assert close.sum() >= len(close) - 1
