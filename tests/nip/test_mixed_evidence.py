"""Mixed evidence: the mixture, its gradient, what attached classifiers answer, and its choice."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent

from art_nip import NIPPreprocessor, as_module
from art_nip.attacks import SteeringAttack
from art_nip.attacks.surrogates import surrogate_losses
from art_nip.benchmark import Benchmark, Defence, choose_mixture
from art_nip.benchmark.mixture import MixtureAccuracy
from art_nip.nip.retrieval import ClassEvidence, MixedEvidence, ShallowEvidence, ViewEvidence
from art_nip.nip.retrieval.evidence.probabilities import softmax
from art_nip.testing import check_preprocessor
from tests.helpers import FRAMEWORKS, ByFramework, make_classifier, on_device, to_framework
from tests.models import TINY_SHAPE, tiny, traces
from tests.nip.helpers import fitted, predictions

WEIGHT, TEMPERATURE = 0.4, 2.0


@pytest.fixture(scope="module")
def mixed_nips(lenet, digits):
    """A NIP with mixed evidence in each framework; tests leave them as they are."""
    x, y = digits["bank"]
    retrieval = MixedEvidence(weight=WEIGHT, temperature=TEMPERATURE)
    return ByFramework(
        {
            framework: fitted(
                make_classifier(framework, lenet[framework]),
                to_framework(x, framework),
                y,
                retrieval,
            )
            for framework in FRAMEWORKS
        }
    )


@pytest.fixture
def mixed_nip(mixed_nips, framework):
    return mixed_nips[framework]


def with_weight(nip, weight, temperature=1.0):
    other = copy.copy(nip)
    other.set_params(
        retrieval=replace(nip.retrieval, weight=weight, temperature=temperature)
    )  # fmt: skip
    return other


# The mixture


def test_the_mixture_by_hand(mixed_nip, classifier, images):
    x = images["test"][0][:50]
    evidence = with_weight(mixed_nip, 1).attach(classifier).predict(x)
    expected = (1 - WEIGHT) * softmax(classifier.predict(x))
    expected += WEIGHT * softmax(evidence / TEMPERATURE)
    found = mixed_nip.attach(classifier).predict(x)
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)
    np.testing.assert_allclose(mixed_nip.evidence(x), found, atol=1e-5)


def test_weights_0_and_1_are_the_model_and_the_evidence(mixed_nip, classifier, images, framework):
    x = images["test"][0]
    model = with_weight(mixed_nip, 0).attach(classifier).predict(x)
    np.testing.assert_allclose(np.exp(model), softmax(classifier.predict(x)), atol=1e-6)
    # What the model gets right only, as class evidence learns it.
    bank, labels = images["bank"]
    right = predictions(classifier, bank) == labels
    of_right = with_weight(fitted(classifier, bank[right], labels[right], MixedEvidence()), 1)
    of_class = fitted(classifier, bank, labels, ClassEvidence())
    np.testing.assert_allclose(
        np.exp(of_right.attach(classifier).predict(x)),
        softmax(of_class.evidence(x)),
        atol=1e-5,
    )


def test_a_model_that_is_sure_is_not_overruled(mixed_nip, classifier, attacked):
    x = attacked[0]
    p = np.sort(softmax(classifier.predict(x)), axis=1)
    sure = p[:, -1] - p[:, -2] > WEIGHT / (1 - WEIGHT)
    same = predictions(mixed_nip.attach(classifier), x) == predictions(classifier, x)
    assert same[sure].all()
    assert 0 < sure.mean() < 1
    assert not same.all()


def test_it_learns_from_what_the_model_gets_wrong(classifier, images):
    x = images["bank"][0]
    wrong = (predictions(classifier, x) + 1) % 10
    # Labels that the model gets wrong throughout but for some, of which candidates are made.
    labels = np.where(np.arange(len(x)) < 50, predictions(classifier, x), wrong)
    nip = fitted(classifier, x, labels, MixedEvidence(weight=1))
    assert len(nip.candidates) == 50
    assert (predictions(nip.attach(classifier), x) == labels).mean() > 0.8


@pytest.mark.parametrize("softmaxed", [False, True])
def test_probabilities_are_mixed_to_probabilities(framework, softmaxed):
    shape = TINY_SHAPE[framework]
    classifier = make_classifier(framework, tiny(framework, softmaxed), shape, 2)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.uniform(0, 1, (60, *shape)).astype(np.float32)
    # The class shows in the first layer too.
    x *= (1 + y[:, None, None, None]) / 2
    layer = NIPPreprocessor.for_estimator(classifier, k1=1, k2=1).layer_name
    retrieval = MixedEvidence(ShallowEvidence(layers=(layer,)), weight=0.5)
    nip = fitted(classifier, x, y, retrieval, k1=1, k2=1)
    sums = nip.attach(classifier).predict(x).sum(1)
    assert np.allclose(sums, 1, atol=1e-4) == softmaxed


# Its gradient


def test_gradients_are_those_of_the_mixture(mixed_nip, classifier, images):
    """By central differences, in the direction of the gradient."""
    defended = mixed_nip.attach(classifier)
    x, y = images["test"][0][:4], np.eye(10, dtype=np.float32)[(images["test"][1][:4] + 1) % 10]
    # Noise, as ties of max pooling have no slope.
    x = (0.8 * x + np.random.default_rng(0).uniform(0.05, 0.15, x.shape)).astype(np.float32)
    for image, label in zip(x, y, strict=True):
        gradient = defended.loss_gradient(image[None], label[None])[0]
        length = np.linalg.norm(gradient)
        step = (0.001 * gradient / length).astype(np.float32)
        ahead, behind = (
            float(np.sum(defended.compute_loss((image + sign * step)[None], label[None])))
            for sign in (1, -1)
        )
        assert (ahead - behind) / 0.002 == pytest.approx(length, rel=0.05)


def test_frameworks_agree(mixed_nips, lenet, digits):
    x, y = digits["test"][0][:20], np.eye(10, dtype=np.float32)[digits["test"][1][:20]]
    found, gradients = [], []
    for framework in ("pytorch", "tensorflow"):
        defended = mixed_nips[framework].attach(make_classifier(framework, lenet[framework]))
        images = to_framework(x, framework)
        found.append(defended.predict(images))
        gradients.append(to_channels_first(defended.loss_gradient(images, y), framework))
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)
    scale = np.abs(gradients[0]).max()
    # The one takes the mean loss of a batch, and the other the sum.
    ratio = np.abs(gradients[1]).max() / scale
    np.testing.assert_allclose(gradients[0] * ratio, gradients[1], atol=0.01 * scale * ratio)


def to_channels_first(x, framework):
    return x if framework == "pytorch" else np.moveaxis(x, -1, 1)


def test_modules_give_the_same(mixed_nip, classifier, images, framework):
    defended, x = mixed_nip.attach(classifier), images["test"][0][:10]
    module = as_module(defended)
    outputs = module(on_device(x) if framework == "pytorch" else x)
    outputs = outputs.detach().cpu() if framework == "pytorch" else outputs
    np.testing.assert_allclose(np.asarray(outputs), defended.predict(x), atol=1e-5)


def test_nothing_is_left_behind(framework, lenet, images, mixed_nip):
    model = lenet[framework]
    before = traces(framework, model)
    defended = mixed_nip.attach(make_classifier(framework, model))
    defended.predict(images["test"][0][:4])
    assert traces(framework, model) == before


# Attacks


def test_attacks_by_the_mixture_and_by_its_parts(mixed_nip, classifier, images):
    defended, (x, y) = mixed_nip.attach(classifier), (part[:60] for part in images["test"])
    pgd = ProjectedGradientDescent(defended, eps=0.15, eps_step=0.03, max_iter=10, verbose=False)
    of_pgd = predictions(defended, pgd.generate(x, y)) == y
    steering = SteeringAttack(
        defended, eps=0.15, eps_step=0.075, max_iter=10, targets=2, verbose=False
    )
    of_steering = predictions(defended, steering.generate(x, y)) == y
    clean = (predictions(defended, x) == y).mean()
    assert of_pgd.mean() < clean - 0.3
    assert of_steering.mean() < clean - 0.3


def test_losses_are_those_of_mixture_model_and_evidence(mixed_nip, classifier, images):
    defended, (x, y) = mixed_nip.attach(classifier), (part[:10] for part in images["test"])
    x = 0.9 * x + np.float32(0.05)
    targets = (y + 1) % 10
    losses = surrogate_losses(defended, x, y, targets)
    scores = [loss.scores() for loss in losses]
    assert np.array_equal(scores[0].argmax(1), predictions(defended, x))
    np.testing.assert_allclose(scores[1], classifier.predict(x), atol=1e-4)
    evidence = with_weight(mixed_nip, 1).attach(classifier)
    assert (scores[2].argmax(1) == predictions(evidence, x)).mean() > 0.8
    for place, loss in enumerate(losses):
        step = loss.gradient()
        step = 0.003 * step / np.abs(step).max(axis=(1, 2, 3), keepdims=True)
        moved = surrogate_losses(defended, (x + step).astype(np.float32), y, targets)[place]
        rows = np.arange(10)
        rise = [s[rows, targets] - s[rows, y] for s in (scores[place], moved.scores())]
        assert (rise[1] > rise[0]).mean() > 0.8


# As a preprocessor, and attached


def test_images_are_changed_to_the_verdict_of_the_mixture(mixed_nip, classifier, attacked):
    x = attacked[0][:60]
    defended = mixed_nip.attach(classifier)
    assert np.array_equal(
        predictions(classifier, mixed_nip(x)[0]), predictions(defended, x)
    )  # fmt: skip
    check_preprocessor(mixed_nip, x[:4])


def test_other_defences_stay_in_front(mixed_nip, lenet, framework, images):
    from art_nip import defences

    classifier = make_classifier(framework, lenet[framework])
    smoothing = defences.get("ss").create(classifier)
    smoothed = make_classifier(framework, lenet[framework], preprocessing_defences=[smoothing])
    x = images["test"][0][:10]
    found = mixed_nip.attach(smoothed)
    assert found.preprocessing_defences == [smoothing]
    expected = mixed_nip.attach(classifier).predict(smoothing(x)[0])
    np.testing.assert_allclose(found.predict(x), expected, atol=1e-5)


def test_mean_and_std_are_applied_once(framework, lenet, images, mixed_nip):
    classifier = make_classifier(framework, lenet[framework], preprocessing=(0.1, 0.5))
    nip = fitted(classifier, *images["bank"], MixedEvidence(weight=0))
    x = images["test"][0]
    found = nip.attach(classifier).predict(x)
    np.testing.assert_allclose(np.exp(found), softmax(classifier.predict(x)), atol=1e-5)
    with pytest.raises(ValueError, match="another preprocessing of mean and std"):
        mixed_nip.attach(classifier)


def test_a_row_of_nan_is_nan_and_no_other(mixed_nip, classifier, images):
    x = images["test"][0][:5].copy()
    defended = mixed_nip.attach(classifier)
    before = defended.predict(x)
    x[2, 0] = np.nan
    found = defended.predict(x)
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(np.delete(found, 2, 0), np.delete(before, 2, 0), atol=1e-5)


def test_saved_and_loaded_it_answers_the_same(mixed_nip, classifier, images, tmp_path):
    mixed_nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == mixed_nip.retrieval
    x = images["test"][0][:20]
    expected = mixed_nip.attach(classifier).predict(x)
    np.testing.assert_allclose(loaded.attach(classifier).predict(x), expected, atol=1e-6)


def test_classifiers_of_pytorch_travel(mixed_nips, lenet, digits):
    defended = mixed_nips["pytorch"].attach(make_classifier("pytorch", lenet["pytorch"]))
    x = digits["test"][0][:10]
    other = pickle.loads(pickle.dumps(defended))
    np.testing.assert_allclose(other.predict(x), defended.predict(x), atol=1e-6)
    module = copy.deepcopy(defended.model)
    assert module.model is not defended.model.model
    assert module._nip._adapter.model is module.model


def test_keras_classifiers_answer_too(mixed_nips, lenet, digits):
    import keras
    from art.estimators.classification import KerasClassifier

    model = keras.models.clone_model(lenet["tensorflow"])
    model.set_weights(lenet["tensorflow"].get_weights())
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    x, y = to_framework(digits["test"][0][:8], "tensorflow"), np.eye(10)[digits["test"][1][:8]]
    defended = mixed_nips["tensorflow"].attach(KerasClassifier(model, clip_values=(0, 1)))
    expected = mixed_nips["tensorflow"].attach(
        make_classifier("tensorflow", lenet["tensorflow"])
    )  # fmt: skip
    np.testing.assert_allclose(defended.predict(x), expected.predict(x), atol=1e-4)
    ours, theirs = defended.loss_gradient(x, y), expected.loss_gradient(x, y)
    np.testing.assert_allclose(
        ours / np.abs(ours).max(), theirs / np.abs(theirs).max(), atol=1e-3
    )  # fmt: skip


def test_weight_and_temperature_change_without_a_fit(mixed_nip, classifier, images):
    other, x = with_weight(mixed_nip, 0.1), images["test"][0][:20]
    assert other.candidates is mixed_nip.candidates
    fresh = fitted(classifier, *images["bank"], MixedEvidence(weight=0.1))
    np.testing.assert_allclose(
        other.attach(classifier).predict(x), fresh.attach(classifier).predict(x), atol=1e-5
    )
    other.set_params(retrieval=MixedEvidence(ShallowEvidence(shrinkage=0.5)))
    assert not other.is_fitted


def test_what_is_attached_keeps_its_weight(mixed_nip, classifier, images):
    nip, x = with_weight(mixed_nip, 0.3), images["test"][0][:20]
    defended = nip.attach(classifier)
    before = defended.predict(x)
    nip.set_params(retrieval=replace(nip.retrieval, weight=1))
    assert np.array_equal(defended.predict(x), before)


def test_what_it_was_fitted_with_cannot_change(mixed_nip, classifier):
    defended = mixed_nip.attach(classifier)
    with pytest.raises(ValueError, match="cannot change"):
        defended.set_params(clip_values=(0, 255))
    with pytest.raises(NotImplementedError, match="cannot be trained"):
        defended.fit(None, None)
    with pytest.raises(NotImplementedError, match="cannot be cloned"):
        defended.clone_for_refitting()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 1.1}, "weight=1.1"),
        ({"weight": float("nan")}, "weight=nan"),
        ({"temperature": 0}, "temperature=0"),
        ({"evidence": ViewEvidence()}, "no exact gradient"),
        ({"evidence": "views"}, "no exact gradient"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixedEvidence(**arguments)


def test_others_give_no_answers(class_nip, classifier, images):
    with pytest.raises(ValueError, match='Only "mixed" retrieval gives answers'):
        class_nip.answers(images["test"][0][:2])
    with pytest.raises(ValueError, match='only "mixed" has a weight to choose'):
        choose_mixture(class_nip, classifier, *images["test"])


# Its choice, and the benchmark


def test_what_nothing_can_be_chosen_on_is_refused(mixed_nip, classifier, images):
    x, y = (part[:4] for part in images["test"])

    def choose(nip=mixed_nip, classifier=classifier, x=x, y=y, **keywords):
        return choose_mixture(nip, classifier, x, y, eps=0.1, max_iter=1, **keywords)

    for change, error, message in (
        ({"x": x[:0], "y": y[:0]}, ValueError, "no image to choose the mixture on"),
        ({"x": x * 255}, ValueError, "outside the clip_values"),
        ({"weights": 0.3}, ValueError, "weights=0.3; give a list of numbers"),
        ({"temperatures": 2}, ValueError, "temperatures=2; give a list of numbers"),
        ({"classifier": classifier.model}, TypeError, "takes a classifier of ART.* wrap it"),
        ({"nip": None}, TypeError, "nip is a NoneType; give a fitted NIPPreprocessor"),
    ):
        with pytest.raises(error, match=message):
            choose(**change)


def test_the_choice_keeps_to_the_budget(mixed_nip, classifier, images):
    x, y = (part[:30] for part in images["test"])
    attack = {"eps": 0.1, "eps_step": 0.05, "max_iter": 3, "targets": 1}
    for budget in (0.0, 1.0):
        chosen, found = choose_mixture(
            mixed_nip, classifier, x, y, budget=budget, weights=(0.2, 1), **attack
        )
        weights = [each.retrieval.weight for each in found]
        assert weights == [0, 0.2, 1]
        assert found[0].benign == (predictions(classifier, x) == y).mean()
        best = found[weights.index(chosen.weight)]
        allowed = [each for each in found if each.robust >= found[0].robust - budget]
        assert best in allowed
        assert best.benign == max(each.benign for each in allowed)
    assert mixed_nip.retrieval.weight == WEIGHT


def test_a_mixture_may_cost_the_whole_budget(mixed_nip, classifier, images, monkeypatch):
    measured = {0: (50, 7), 0.2: (60, 6), 0.3: (70, 5)}  # of 100 images, benign and attacked

    def accuracy(nip, classifier, mixture, *given):
        benign, robust = measured[mixture.weight]
        return MixtureAccuracy(mixture, benign / 100, robust / 100)

    monkeypatch.setattr("art_nip.benchmark.mixture._accuracy", accuracy)
    x, y = (part[:4] for part in images["test"])
    chosen, _ = choose_mixture(mixed_nip, classifier, x, y, weights=(0.2, 0.3), budget=0.01)
    assert chosen.weight == 0.2


def test_the_benchmark_measures_the_mixture(mixed_nip, classifier, images, tmp_path):
    (x, y), bank = (part[:30] for part in images["test"]), images["bank"]
    mixed = Defence(
        "nip",
        "mixed",
        {"retrieval": {"name": "mixed", "weight": WEIGHT, "temperature": TEMPERATURE}},
    )
    benchmark = Benchmark(
        classifier, ["pgd"], [mixed], threats=["adaptive"], store=tmp_path, verbose=False
    )
    table = benchmark.run(x, y, bank=bank)
    rows = table[(table.defence == "mixed") & (table.attack == "benign")]
    found = rows[rows.metric == "accuracy"].value.item()
    expected = predictions(mixed_nip.attach(classifier), x) == y
    assert found == pytest.approx(expected.mean())
    attacked = table[(table.defence == "mixed") & (table.attack == "pgd")]
    assert set(attacked.threat) == {"adaptive"}
    assert not attacked.value.isna().any()
