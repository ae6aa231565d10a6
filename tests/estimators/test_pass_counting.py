"""How many images pass through a model, counted against what ART's calls are known to need."""

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent

from art_nip import NIPPreprocessor, attacks
from art_nip.estimators.pass_counting import counting
from tests.helpers import make_classifier, to_framework

N = 6


@pytest.fixture
def x(images):
    return images["test"][0][:N]


@pytest.fixture
def y(images):
    return images["test"][1][:N]


def counted(classifier, call):
    with counting(classifier) as passes:
        call()
    return passes.forward, passes.backward


def test_predicting_is_one_pass_forwards(classifier, x):
    assert counted(classifier, lambda: classifier.predict(x)) == (N, 0)
    assert counted(classifier, lambda: classifier.predict(x, batch_size=4)) == (N, 0)


def test_a_gradient_is_one_pass_each_way(classifier, x, y):
    assert counted(classifier, lambda: classifier.loss_gradient(x, np.eye(10)[y])) == (N, N)


def test_gradients_of_classes_are_one_pass_backwards_for_each(classifier, framework, x):
    # ART's TensorFlow classifier runs forwards for each class too.
    forward = {"pytorch": N, "tensorflow": 10 * N}[framework]
    assert counted(classifier, lambda: classifier.class_gradient(x)) == (forward, 10 * N)
    assert counted(classifier, lambda: classifier.class_gradient(x, 3)) == (N, N)


def test_fgsm_is_one_pass_each_way(classifier, x, y):
    attack = FastGradientMethod(classifier, eps=0.1)
    assert counted(classifier, lambda: attack.generate(x, y)) == (N, N)


@pytest.mark.parametrize("steps", [1, 4])
def test_pgd_is_a_pass_each_way_for_each_step(classifier, x, y, steps):
    """ART also predicts twice, before and after, for the rate of success that it logs."""
    attack = ProjectedGradientDescent(
        classifier, eps=0.1, eps_step=0.03, max_iter=steps, verbose=False
    )
    assert counted(classifier, lambda: attack.generate(x, y)) == ((steps + 2) * N, steps * N)


def test_deepfool_is_a_gradient_for_each_class_that_it_looks_at(classifier, x):
    """And a prediction before the step and one behind it."""
    attack = attacks.get("deepfool").create(classifier, max_iter=1, nb_grads=3)
    assert counted(classifier, lambda: attack.generate(x)) == ((1 + 3 + 1) * N, 3 * N)


def test_nip_costs_one_pass_each_way_more(nip, classifier, x, y):
    defended = nip.attach(classifier)
    for counter in (defended, classifier):  # they share the model
        assert counted(counter, lambda: defended.predict(x)) == (2 * N, N)
    assert counted(defended, lambda: nip(x)) == (N, N)
    gradient = counted(defended, lambda: defended.loss_gradient(x, np.eye(10)[y]))
    assert gradient == (2 * N, 2 * N)


def test_what_another_model_does_is_not_counted(framework, classifier, x):
    from art_nip import zoo

    shape = x.shape[1:]
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    other = make_classifier(framework, model)
    with counting(classifier) as passes, counting(other) as others:
        other.predict(x)
        classifier.predict(x[:2])
    assert (passes.forward, others.forward) == (2, N)


def test_the_look_at_an_early_layer_counts_as_a_pass(classifier, x, y):
    nip = NIPPreprocessor.for_estimator(classifier, retrieval="nearest", verbose=False)
    nip.fit(x, y)
    assert counted(classifier, lambda: nip(x)) == (N, 0)


def test_counting_within_counting_counts_for_both(nip, classifier, x):
    with counting(classifier) as outer:
        nip(x)
        with counting(classifier) as inner:
            nip(x[:2])
    assert (outer.forward, outer.backward, inner.forward, inner.backward) == (N + 2, N + 2, 2, 2)


def test_nothing_is_counted_afterwards(nip, classifier, x):
    with counting(classifier) as passes:
        pass
    nip.attach(classifier).predict(x)
    assert (passes.forward, passes.backward) == (0, 0)


def test_results_are_those_of_uncounted_calls(nip, classifier, x, y):
    defended = nip.attach(classifier)
    calls = (
        lambda: defended.predict(x),
        lambda: defended.loss_gradient(x, np.eye(10)[y]),
        lambda: classifier.class_gradient(x, 3),
    )
    for call in calls:
        before = call()
        with counting(classifier):
            np.testing.assert_allclose(call(), before, atol=1e-6)


def test_the_model_is_restored_after_an_error(framework, classifier, x):
    model = classifier.model
    attributes = set(vars(model))

    def fail():
        classifier.predict(x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        counted(classifier, fail)
    assert set(vars(model)) == attributes
    if framework == "pytorch":
        assert not any(module._forward_hooks for module in model.modules())
    else:
        import tensorflow as tf

        assert not tf.config.functions_run_eagerly()
    with counting(classifier) as passes:
        classifier.predict(x)
    assert passes.forward == N


def test_a_sequential_in_a_sequential_is_counted(digits):
    """ART calls the modules of a Sequential itself."""
    from torch import nn

    flat = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(784, 20), nn.Linear(20, 10)))
    classifier = make_classifier("pytorch", flat)
    x, y = digits["test"][0][:N], np.eye(10)[digits["test"][1][:N]]
    assert counted(classifier, lambda: classifier.predict(x)) == (N, 0)
    assert counted(classifier, lambda: classifier.loss_gradient(x, y)) == (N, N)


def test_keras_classifiers_are_counted_though_they_predict_in_graphs(lenet, digits):
    import keras
    from art.estimators.classification import KerasClassifier

    model = keras.models.clone_model(lenet["tensorflow"])
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    classifier = KerasClassifier(model, use_logits=True, clip_values=(0, 1))
    x = to_framework(digits["test"][0][:N], "tensorflow")
    classifier.predict(x)  # compiles
    y = np.eye(10)[digits["test"][1][:N]]
    assert counted(classifier, lambda: classifier.predict(x)) == (N, 0)
    assert counted(classifier, lambda: classifier.loss_gradient(x, y)) == (N, N)


def test_what_is_no_module_is_not_counted(digits):
    from art.estimators.classification import BlackBoxClassifier

    classifier = BlackBoxClassifier(
        lambda x: np.eye(10)[np.zeros(len(x), int)], (1, 28, 28), 10, clip_values=(0, 1)
    )
    with counting(classifier) as passes:
        classifier.predict(digits["test"][0][:2])
    assert passes is None
