"""A fit keeps to its classifier: images of one scale, and the weights that it was found with."""

import copy
import pickle
import warnings

import numpy as np
import pytest

from art_nip import NIPPreprocessor, as_module, zoo
from art_nip.nip.partner import STALE
from tests.helpers import make_classifier
from tests.models import SMALL_SHAPE, small
from tests.nip.helpers import fitted


def own_model(framework, lenet):
    """Return LeNet-5 with the trained weights, that a test may change."""
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    zoo.copy_weights(lenet[framework], model)
    return model.eval() if framework == "pytorch" else model


@pytest.fixture
def own(framework, lenet):
    return own_model(framework, lenet)


def nudge(model):
    """Change all weights in place, as a step of training does, and return how they were."""
    before = {name: weight.copy() for name, weight in zoo.get_weights(model).items()}
    zoo.set_weights(model, {name: weight * 1.01 + 1e-3 for name, weight in before.items()})
    return before


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"clip_values": (0.0, 255.0), "preprocessing": (0.0, 255.0)}, r"of clip_values \(0.0, 1"),
        ({"clip_values": (-1.0, 1.0)}, r"of clip_values \(0.0, 1.0\), and the classifier of"),
        ({"preprocessing": (0.5, 0.25)}, "another preprocessing of mean and std"),
    ],
)
def test_a_classifier_of_other_images_is_refused(
    nip, framework, lenet, tmp_path, keywords, message
):
    other = make_classifier(framework, lenet[framework], **keywords)
    with pytest.raises(ValueError, match=message):
        nip.attach(other)
    nip.save(tmp_path / "nip")
    with pytest.raises(ValueError, match=r"clip_values|preprocessing of mean and std"):
        NIPPreprocessor.load(tmp_path / "nip", other)


def test_alike_is_not_the_same_object(nip, framework, lenet, images):
    x = images["test"][0][:5]
    for keywords in ({"clip_values": None}, {"clip_values": (0, 1)}, {"preprocessing": (0.0, 1.0)}):
        other = make_classifier(framework, lenet[framework], **keywords)
        assert nip.attach(other).preprocessing_defences == [nip]
    by_channel = np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    other = make_classifier(framework, lenet[framework], clip_values=by_channel)
    np.testing.assert_allclose(nip.attach(other).predict(x), other.predict(nip(x)[0]), atol=1e-5)


def test_after_training_use_warns_once_and_attach_refuses(framework, own, images):
    classifier = make_classifier(framework, own)
    nip = fitted(classifier, images["bank"][0][:60])
    x = images["test"][0][:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = nip(x)[0]
        defended = nip.attach(classifier)
    before = nudge(own)
    with pytest.warns(UserWarning, match="weights have changed since NIP was fitted"):
        defended.predict(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nip(x)
    with pytest.raises(ValueError, match="weights have changed since NIP was fitted"):
        nip.attach(classifier)
    zoo.set_weights(own, before)
    assert nip.attach(classifier) is not None
    np.testing.assert_allclose(nip(x)[0], expected, atol=1e-6)
    nudge(own)
    nip.fit(images["bank"][0][:60])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nip.attach(classifier).predict(x)


def test_one_changed_weight_is_seen_by_save(framework, own, images, tmp_path):
    classifier = make_classifier(framework, own)
    nip = fitted(classifier, images["bank"][0][:60])
    before = {name: weight.copy() for name, weight in zoo.get_weights(own).items()}
    after = {name: weight.copy() for name, weight in before.items()}
    next(iter(after.values())).ravel()[-1] += 1e-3
    zoo.set_weights(own, after)
    with pytest.warns(UserWarning, match="The file is for the model of then"):
        nip.save(tmp_path / "nip")
    with pytest.raises(ValueError, match="fitted on other weights than this classifier has"):
        NIPPreprocessor.load(tmp_path / "nip", classifier)
    zoo.set_weights(own, before)
    loaded = NIPPreprocessor.load(tmp_path / "nip", classifier)
    assert np.array_equal(loaded.neuron_template, nip.neuron_template)


def test_moving_and_saving_weights_changes_nothing(own, framework, images):
    nip = fitted(make_classifier(framework, own), images["bank"][0][:60])
    zoo.set_weights(own, {n: weight.copy() for n, weight in zoo.get_weights(own).items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nip(images["test"][0][:3])


USES = {
    "call": lambda nip, classifier, x: nip(x),
    "retrieve": lambda nip, classifier, x: nip.retrieve(x),
    "forward": lambda nip, classifier, x: nip.forward(nip._adapter.tensor(x)),
    "estimate_gradient": lambda nip, classifier, x: nip.estimate_gradient(x, x),
    "predict": lambda nip, classifier, x: classifier.predict(x),
    "evidence": lambda nip, classifier, x: nip.evidence(x),
}


@pytest.mark.parametrize("use", USES)
def test_the_warning_points_at_the_line_that_uses_it(framework, lenet, images, use):
    classifier = make_classifier(framework, own_model(framework, lenet))
    retrieval = "class" if use == "evidence" else "similarity"
    nip = fitted(classifier, images["bank"][0][:60], retrieval=retrieval)
    attached = nip.attach(classifier)
    weights = {name: weight * 1.1 for name, weight in zoo.get_weights(classifier.model).items()}
    zoo.set_weights(classifier.model, weights)
    with pytest.warns(UserWarning, match=STALE[:30]) as found:
        USES[use](nip, attached, images["test"][0][:3])
    stale = next(each for each in found if str(each.message) == STALE)
    assert stale.filename == __file__


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_nip_and_its_classifier_travel_together(lenet, digits, tmp_path, monkeypatch, copied):
    monkeypatch.setattr("art.config.ART_DATA_PATH", str(tmp_path))
    classifier = make_classifier("pytorch", own_model("pytorch", lenet))
    nip = fitted(classifier, digits["bank"][0][:60])
    x = digits["test"][0][:10]
    other_nip, other = copied((nip, classifier))
    defended = other_nip.attach(other)
    assert defended.model is not classifier.model
    np.testing.assert_allclose(defended.predict(x), nip.attach(classifier).predict(x), atol=1e-5)
    # What happens to the model of one happens to the neurons that its NIP sees.
    nudge(other.model)
    with pytest.warns(UserWarning, match=STALE[:30]):
        defended.predict(x)
    assert np.array_equal(nip(x)[0], fitted(classifier, digits["bank"][0][:60])(x)[0])


def test_a_copy_fits_a_classifier_of_equal_weights(framework, lenet, nip, images):
    twin = make_classifier(framework, own_model(framework, lenet))
    x = images["test"][0][:10]
    defended = nip.attach(twin)
    (moved,) = defended.preprocessing_defences
    assert moved is not nip
    assert moved.parameters == nip.parameters
    np.testing.assert_allclose(defended.predict(x), twin.predict(nip(x)[0]), atol=1e-5)


def test_keras_classifiers_travel_too(lenet, digits):
    import keras
    from art.estimators.classification import KerasClassifier

    model = own_model("tensorflow", lenet)
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    nip = fitted(
        KerasClassifier(model, clip_values=(0, 1)), np.moveaxis(digits["bank"][0][:60], 1, -1)
    )
    x = np.moveaxis(digits["test"][0][:5], 1, -1)
    other_nip, other_model = copy.deepcopy((nip, model))
    other = KerasClassifier(other_model, clip_values=(0, 1))
    assert np.allclose(other_nip.attach(other).predict(x), other.predict(nip(x)[0]), atol=1e-5)


def scaling(framework, mean):
    """Return a small model that takes a mean from its images, which is none of its weights."""
    inner = small(framework)
    if framework == "pytorch":
        import torch

        class Scaling(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.mean = inner, mean

            def forward(self, x):
                return self.inner((x - self.mean) / 0.25)
    else:
        import keras

        class Scaling(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner, self.mean = inner, mean

            def call(self, x):
                return self.inner((x - self.mean) / 0.25)

    return Scaling()


def small_pictures(framework, n):
    return np.random.default_rng(0).random((n, *SMALL_SHAPE[framework])).astype(np.float32)


def small_classifier(framework, model, **keywords):
    return make_classifier(framework, model, SMALL_SHAPE[framework], 4, **keywords)


def test_a_model_that_scales_otherwise_is_another_model(framework, tmp_path):
    classifier, other = (
        small_classifier(framework, scaling(framework, mean)) for mean in (0.5, 0.1)
    )
    twin = small_classifier(framework, scaling(framework, 0.5))
    nip = fitted(classifier, small_pictures(framework, 20))
    nip.save(tmp_path / "nip")
    assert NIPPreprocessor.load(tmp_path / "nip", twin).attach(twin) is not None
    with pytest.raises(ValueError, match="gives other scores for the same images"):
        NIPPreprocessor.load(tmp_path / "nip", other)
    with pytest.raises(ValueError, match="looks at another model"):
        nip.attach(other)
    classifier.model.mean = 0.1
    with pytest.raises(ValueError, match="gives other scores for the same images"):
        nip.attach(classifier)
    with pytest.warns(UserWarning, match="gives other scores for the same images"):
        nip.save(tmp_path / "stale")


def test_a_model_that_never_answers_twice_alike_keeps_its_fit(tmp_path):
    import torch

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small("pytorch")

        def forward(self, x):
            return self.inner(x + torch.randn_like(x))

    classifier = small_classifier("pytorch", Noisy())
    nip = fitted(classifier, small_pictures("pytorch", 20))
    nip.save(tmp_path / "nip")
    assert NIPPreprocessor.load(tmp_path / "nip", classifier).attach(classifier) is not None


def test_one_mean_may_be_written_for_each_channel(framework, tmp_path):
    model, shape = small(framework), ((3, 1, 1) if framework == "pytorch" else (3,))
    one, three = (
        small_classifier(framework, model, preprocessing=(mean, std))
        for mean, std in ((0.5, 0.25), (np.full(shape, 0.5), np.full(shape, 0.25)))
    )
    nip = fitted(one, small_pictures(framework, 20))
    nip.save(tmp_path / "nip")
    loaded = NIPPreprocessor.load(tmp_path / "nip", three)
    x = small_pictures(framework, 3)
    np.testing.assert_allclose(loaded(x)[0], nip(x)[0], atol=1e-6)
    unlike = small_classifier(
        framework, model, preprocessing=(np.float32([0.5, 0.5, 0.4]), np.full(3, 0.25))
    )
    with pytest.raises(ValueError, match="another preprocessing of mean and std"):
        nip.attach(unlike)


def test_a_module_has_all_that_the_defended_classifier_has(nip, classifier, framework, images):
    x = images["test"][0][:4]
    module = nip.module(classifier)
    tensor = nip._adapter.tensor(x)
    expected = nip.attach(classifier).predict(x)
    np.testing.assert_allclose(nip._adapter.numpy(module(tensor)), expected, atol=1e-5)
    assert type(module) is type(as_module(classifier))


@pytest.mark.parametrize("retrieval", ["similarity", "class"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clip_values": (0.0, 255.0)}, r"takes images of clip_values \(0.0, 1.0\)"),
        ({"preprocessing": (0.5, 0.25)}, "another preprocessing of mean and std"),
        ({"preprocessing": (0.5, 0.25), "none_such": 1}, "none_such"),
    ],
)
def test_a_defended_classifier_keeps_its_scale(framework, retrieval, changed, message):
    """With another, the model would see other images than NIP, and no error would show it."""
    classifier = make_classifier(framework, small(framework), SMALL_SHAPE[framework], 4)
    x = np.random.default_rng(0).random((20, *SMALL_SHAPE[framework]), np.float32)
    defended = fitted(classifier, x, None, retrieval).attach(classifier)
    before = defended.predict(x)
    with pytest.raises(ValueError, match=message):
        defended.set_params(**changed)
    np.testing.assert_array_equal(defended.predict(x), before)
    defended.set_params(preprocessing_defences=None, preprocessing=(0.5, 0.25))
    classifier.set_params(preprocessing=(0.5, 0.25))
    np.testing.assert_array_equal(defended.predict(x), classifier.predict(x))
