"""Clones of classifiers that work in float32 whatever arrays they are given."""

from typing import Any

import numpy as np
import pytest
from art.defences.preprocessor import FeatureSqueezing

from art_nip.estimators import clones
from art_nip.estimators.single_precision import single_precision
from tests.helpers import device, make_classifier


def test_a_clone_takes_float64(classifier, framework, images):
    x = images["test"][0][:4]
    copied = single_precision(classifier)
    np.testing.assert_array_equal(copied.predict(x.astype(np.float64)), classifier.predict(x))
    y = np.eye(10, dtype=np.float32)[images["test"][1][:4]]
    squeezing = FeatureSqueezing((0, 1), bit_depth=8)
    defended = single_precision(clones.defended(classifier, squeezing))
    assert np.isfinite(defended.loss_gradient(x, y)).all()
    if framework == "pytorch":
        with pytest.raises(RuntimeError, match=r"[Dd]ouble"):
            classifier.predict(x.astype(np.float64))


def test_a_clone_leaves_tensors(framework, lenet):
    copied = single_precision(make_classifier(framework, lenet[framework], preprocessing=None))
    if framework == "pytorch":
        import torch

        tensor: Any = torch.zeros((1, 1, 28, 28), dtype=torch.float64, device=device())
    else:
        import tensorflow as tf

        tensor = tf.zeros((1, 28, 28, 1), tf.float64)
    processed, _ = copied._apply_preprocessing(tensor, y=None, fit=False)
    assert processed is tensor


def test_a_clone_is_another_classifier_of_the_same_model(classifier):
    kind, operations = type(classifier), list(classifier.preprocessing_operations)
    copied = single_precision(classifier)
    assert copied is not classifier
    assert single_precision(copied) is copied
    assert isinstance(copied, kind)
    assert type(single_precision(classifier)) is type(copied)
    assert repr(copied) == repr(classifier)
    assert copied.model is classifier.model

    copied.set_params(preprocessing_defences=FeatureSqueezing((0, 1), bit_depth=1))
    assert type(classifier) is kind
    assert classifier.preprocessing_operations == operations
    assert classifier.preprocessing_defences is None


def test_a_clone_of_a_keras_classifier(lenet, images):
    from art.estimators.classification import KerasClassifier

    plain = KerasClassifier(lenet["tensorflow"], clip_values=(0, 1))
    squeezed = KerasClassifier(
        lenet["tensorflow"],
        clip_values=(0, 1),
        preprocessing_defences=FeatureSqueezing((0, 1), bit_depth=8),
    )
    x = np.zeros((2, 28, 28, 1))
    for classifier in (plain, squeezed):
        scores = single_precision(classifier).predict(x)
        np.testing.assert_allclose(scores, plain.predict(x.astype(np.float32)), atol=1e-5)


def test_no_clone_of_a_bare_model(lenet, framework):
    with pytest.raises(TypeError, match="takes an ART estimator"):
        single_precision(lenet[framework])
