"""`as_module` of a classifier of TensorFlow: the outputs and the gradients that ART gives."""

from typing import Any

import numpy as np
import pytest
from art.defences.postprocessor import ReverseSigmoid
from art.defences.preprocessor import JpegCompression, SpatialSmoothingTensorFlowV2
from art.defences.preprocessor.preprocessor import PreprocessorTensorFlowV2
from art.estimators.classification import KerasClassifier

from art_nip import NIPPreprocessor, as_module, defences
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier, to_framework

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

ONE_HOT = np.eye(10, dtype=np.float32)
STANDARDISED = {"preprocessing": (0.13, 0.31)}


class Shifted(PreprocessorTensorFlowV2):
    """A defence that others do not commute with, and that is left out where ART is told so."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(is_fitted=True, **keywords)

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        return tf.clip_by_value(2 * x + 0.3, 0, 1), y


@pytest.fixture
def few(digits) -> tuple[np.ndarray, np.ndarray]:
    x, y = digits["test"]
    return to_framework(x[:8], "tensorflow"), y[:8]


def assert_as_art(
    model: keras.Model, classifier: Any, x: np.ndarray, y: np.ndarray, per_image: bool = False
) -> None:
    """Assert that outputs and gradients are those that ART gives; all draws are the same.

    :param per_image: whether ART's gradient is of the sum over images, and not of the mean.
    """
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        with seeded(0):
            outputs = model(images)
        losses = keras.losses.sparse_categorical_crossentropy(y, outputs, from_logits=True)
        loss = tf.reduce_sum(losses) if per_image else tf.reduce_mean(losses)
    with seeded(0):
        np.testing.assert_allclose(outputs, classifier.predict(x), atol=1e-5)
    gradient = tape.gradient(loss, images).numpy()
    with seeded(0):
        expected = classifier.loss_gradient(x, ONE_HOT[y])
    largest = np.abs(expected).max()
    assert largest > 0
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("keywords", [{}, STANDARDISED, {"preprocessing": None}])
def test_plain_classifiers(lenet, few, keywords):
    classifier = make_classifier("tensorflow", lenet["tensorflow"], **keywords)
    assert_as_art(as_module(classifier), classifier, *few)


@pytest.mark.parametrize("retrieval", ["similarity", "nearest", "class"])
def test_nip_with_each_retrieval(lenet, digits, few, retrieval):
    bare = make_classifier("tensorflow", lenet["tensorflow"], **STANDARDISED)
    nip = NIPPreprocessor.for_estimator(bare, retrieval=retrieval, verbose=False)
    x, y = (part[:120] for part in digits["bank"])
    nip.fit(to_framework(x, "tensorflow"), y)
    defended = nip.attach(bare)
    assert_as_art(as_module(defended), defended, *few)
    np.testing.assert_array_equal(
        nip.module(bare, unit_images=True)(few[0]).numpy(),
        as_module(defended)(few[0]).numpy(),
    )
    assert not np.allclose(as_module(defended)(few[0]), bare.predict(few[0]))


def test_a_defence_by_name(lenet, few):
    defence = defences.get("tvm").create(make_classifier("tensorflow", lenet["tensorflow"]))
    defended = make_classifier("tensorflow", lenet["tensorflow"], preprocessing_defences=defence)
    assert_as_art(as_module(defended), defended, *few)


def test_defences_in_their_order(lenet, few, fitted_nips):
    given = [Shifted(), fitted_nips["tensorflow"], Shifted(apply_predict=False)]
    for order in (given, given[::-1]):
        classifier = make_classifier(
            "tensorflow", lenet["tensorflow"], preprocessing_defences=order, **STANDARDISED
        )
        assert_as_art(as_module(classifier), classifier, *few)


def test_defences_for_numpy_go_straight_through_if_asked(lenet, few):
    jpeg = JpegCompression(clip_values=(0, 1), quality=50, channels_first=False)
    classifier = make_classifier(
        "tensorflow", lenet["tensorflow"], preprocessing_defences=jpeg, **STANDARDISED
    )
    with pytest.raises(ValueError, match=r"JpegCompression.*straight_through=True"):
        as_module(classifier)
    assert_as_art(as_module(classifier, straight_through=True), classifier, *few)


def test_keras_classifiers(lenet, digits, few):
    model = keras.models.clone_model(lenet["tensorflow"])
    model.set_weights(lenet["tensorflow"].get_weights())
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    classifier = KerasClassifier(model, use_logits=True, clip_values=(0, 1), **STANDARDISED)
    assert_as_art(as_module(classifier), classifier, *few, per_image=True)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    x, y = (part[:120] for part in digits["bank"])
    nip.fit(to_framework(x, "tensorflow"), y)
    defended = nip.attach(classifier)
    assert_as_art(as_module(defended), defended, *few, per_image=True)


def test_images_of_another_range(lenet, few):
    x, y = few
    wide = make_classifier(
        "tensorflow", lenet["tensorflow"], clip_values=(-255, 255), preprocessing=(-255, 510)
    )
    pixels = (x * 510 - 255).astype(np.float32)
    assert_as_art(as_module(wide), wide, pixels, y)
    unit = as_module(wide, unit_images=True)
    np.testing.assert_allclose(unit(x), wide.predict(pixels), atol=1e-5)


def test_training_is_passed_on_and_off_by_default(few):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dropout(0.5)])
    model(few[0])
    classifier = make_classifier("tensorflow", model, nb_classes=784)
    module = as_module(classifier)
    np.testing.assert_array_equal(module(few[0]), few[0].reshape(8, -1))
    assert not np.array_equal(module(few[0], training=True), few[0].reshape(8, -1))


def test_it_predicts_in_batches_and_takes_double_precision(lenet, few, fitted_nips):
    bare = make_classifier("tensorflow", lenet["tensorflow"])
    defended = fitted_nips["tensorflow"].attach(bare)
    module = as_module(defended)
    expected = defended.predict(few[0])
    np.testing.assert_allclose(module.predict(few[0], batch_size=3, verbose=0), expected, atol=1e-5)
    images = tf.constant(few[0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = module(images)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert np.abs(tape.gradient(outputs, images)).max() > 0
    assert {weight.path for weight in module.weights} == {
        weight.path for weight in defended.model.weights
    }


def test_a_graph_takes_what_has_no_defences(lenet, few, fitted_nips):
    bare = make_classifier("tensorflow", lenet["tensorflow"], **STANDARDISED)
    np.testing.assert_allclose(
        tf.function(as_module(bare))(few[0]), bare.predict(few[0]), atol=1e-5
    )
    smoothing = SpatialSmoothingTensorFlowV2(window_size=3, channels_first=False)
    with pytest.raises(RuntimeError, match="eagerly"):
        tf.function(
            as_module(
                make_classifier("tensorflow", lenet["tensorflow"], preprocessing_defences=smoothing)
            )
        )(few[0])


def test_what_cannot_be_one_model_is_refused(lenet, few):
    model = lenet["tensorflow"]
    with pytest.raises(TypeError, match="model alone"):
        as_module(model)
    with pytest.raises(ValueError, match="postprocessing"):
        as_module(make_classifier("tensorflow", model, postprocessing_defences=ReverseSigmoid()))
    module = as_module(make_classifier("tensorflow", model))
    with pytest.raises(ValueError, match=r"\(28, 28, 1\); the classifier takes \(N, 28, 28, 1\)"):
        module(few[0][0])
    with pytest.raises(NotImplementedError, match="call as_module again"):
        module.get_config()
