"""Images as attacks make them: outside the range, and with NaN."""

import numpy as np
import pytest
from art.attacks.evasion import UniversalPerturbation
from art.estimators.classification import KerasClassifier

from art_nip.nip.retrieval import ClassEvidence
from tests.helpers import to_framework
from tests.nip.helpers import fitted


@pytest.fixture
def keras_classifier(lenet):
    import keras

    model = lenet["tensorflow"]
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    return KerasClassifier(model, clip_values=(0, 1))


@pytest.fixture(params=["similarity", "nearest", "class", "views"])
def any_nip(request, classifier, images, nip, class_nip):
    """A NIP of each kind."""
    made = {"similarity": nip, "class": class_nip}
    if request.param in made:
        return made[request.param]
    retrieval = ClassEvidence("views") if request.param == "views" else request.param
    return fitted(classifier, images["bank"][0][:60], retrieval=retrieval)


def spoiled(x):
    x = x.copy()
    x[1] = np.nan
    x[3].ravel()[5] = np.inf
    x[4].ravel()[7] = np.nan
    return x


def test_a_row_of_nan_is_its_own_affair(any_nip, attacked):
    x = attacked[0][:8]
    tensor = any_nip._adapter.tensor
    found = any_nip._adapter.numpy(any_nip.forward(tensor(spoiled(x)))[0])
    bad = np.isin(np.arange(8), (1, 3, 4))
    assert np.isnan(found[bad]).all()
    np.testing.assert_allclose(found[~bad], any_nip(x[~bad])[0], atol=1e-5)
    for call in (any_nip, any_nip.retrieve, any_nip.influence, any_nip.fit):
        with pytest.raises(ValueError, match="NaN or infinite"):
            call(spoiled(x))


def test_a_defended_classifier_gives_nan_where_the_undefended_does(nip, classifier, images):
    x = spoiled(images["test"][0][:8])
    whole = x.copy()
    whole[[1, 3, 4]] = images["test"][0][[1, 3, 4]]
    defended = nip.attach(classifier)
    # TensorFlow's pooling drops NaN, and so do the scores of an undefended model.
    nan = np.isnan(classifier.predict(x)).any(axis=1)
    found = defended.predict(x)
    assert np.isnan(found[nan]).all()
    good = [0, 2, 5, 6, 7]
    np.testing.assert_allclose(found[good], defended.predict(whole)[good], atol=1e-5)


def test_gradients_of_images_that_left_the_range(any_nip, images):
    x = images["test"][0][:6] * 3 - 1
    grad = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    found = any_nip.estimate_gradient(x, grad)
    assert np.isfinite(found).all()
    bad = spoiled(x)
    around = any_nip.estimate_gradient(bad, grad)
    assert not around[[1, 3, 4]].any()
    np.testing.assert_allclose(around[[0, 2, 5]], found[[0, 2, 5]], atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((5, 1, 28, 28), "Gradients have shape"), ((6, 28), "Gradients have shape")],
)
def test_gradients_of_another_shape_are_refused(fitted_nips, digits, shape, message):
    with pytest.raises(ValueError, match=message):
        fitted_nips["pytorch"].estimate_gradient(digits["test"][0][:6], np.zeros(shape))


def test_universal_perturbations_run_on_keras(keras_classifier, fitted_nips, digits):
    """ART's leaves the range, and KerasClassifier calls its defences as a user would."""
    nip = fitted_nips["tensorflow"]
    x = to_framework(digits["test"][0][:12], "tensorflow")
    for defended in (
        nip.attach(keras_classifier),
        KerasClassifier(keras_classifier.model, clip_values=(0, 1), preprocessing_defences=[nip]),
    ):
        attack = UniversalPerturbation(
            defended, attacker="fgsm", attacker_params={"eps": 0.3}, eps=0.9, max_iter=1,
            delta=0.01, verbose=False,
        )  # fmt: skip
        assert attack.generate(x).shape == x.shape
        outside = 2 * x - 0.5
        expected = nip._adapter.numpy(nip.forward(nip._adapter.tensor(outside))[0])
        np.testing.assert_allclose(
            defended.predict(outside), keras_classifier.predict(expected), atol=1e-4
        )
    with pytest.raises(ValueError, match="outside the clip_values"):
        nip(outside)


def test_keras_goes_on_after_a_row_of_nan(keras_classifier, fitted_nips, digits):
    x = to_framework(digits["test"][0][:8], "tensorflow")
    defended, good = fitted_nips["tensorflow"].attach(keras_classifier), [0, 2, 5, 6, 7]
    found = defended.predict(spoiled(x))
    np.testing.assert_allclose(found[good], defended.predict(x)[good], atol=1e-5)
