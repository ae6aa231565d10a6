"""The attack on classifier and detector fools both, within its budget, in both frameworks."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.detection import NIPDetector, SelectivePGD
from tests.helpers import make_classifier, to_framework


@pytest.fixture(scope="module")
def attacked(framework, lenet, digits):
    classifier = make_classifier(framework, lenet[framework])
    nip = NIPPreprocessor.for_estimator(classifier, retrieval="class", verbose=False)
    nip.fit(to_framework(digits["bank"][0], framework), digits["bank"][1])
    detector = NIPDetector(classifier, nip)
    x, y = to_framework(digits["test"][0], framework), digits["test"][1]
    detector.fit(x[100:])
    given = {"eps": 0.2, "max_iter": 12, "targets": 2, "seed": 0}
    attack = SelectivePGD(classifier, detector, rank=nip.evidence, batch_size=16, **given)
    before = x[:24].copy()
    return detector, attack, x[:24], y[:24], attack.generate(x[:24], y[:24]), before


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"], scope="module")
def test_it_fools_the_classifier_and_the_detector_within_its_budget(attacked):
    detector, attack, x, y, found, before = attacked
    np.testing.assert_array_equal(x, before)
    assert found.dtype == np.float32
    assert np.abs(found - x).max() <= 0.2 + 1e-6
    assert (found.min(), found.max()) >= (0, 0)
    assert found.max() <= 1
    wrong = detector.classifier.predict(found).argmax(1) != y
    assert wrong.mean() > 0.8
    unseen = wrong & ~detector.detect(found)[1]
    # One that does not know of the detector is found far more often.
    oblivious = SelectivePGD(
        detector.classifier, Blind(), eps=0.2, max_iter=12, targets=2, seed=0
    ).generate(x, y)
    led = detector.classifier.predict(oblivious).argmax(1) != y
    assert unseen.sum() > 2 * (led & ~detector.detect(oblivious)[1]).sum()
    again = attack.generate(x[:2], y[:2])
    assert np.abs(again - x[:2]).max() <= 0.2 + 1e-6


class Blind:
    """No detector: the first image in another class is kept."""

    def scores(self, x):
        return np.zeros(len(x))

    def score_gradient(self, x):
        return np.zeros_like(x)


def test_a_share_of_the_range_and_one_hot_labels(lenet, digits):
    x, y = digits["test"][0][:6], digits["test"][1][:6]
    found = {}
    for scale in (1, 255):
        from torch import nn

        model = nn.Sequential(Divide(scale), lenet["pytorch"]).eval()
        classifier = make_classifier("pytorch", model, clip_values=(0, scale))
        attack = SelectivePGD(
            classifier, Blind(), eps=0.1, max_iter=4, targets=2, restarts=2, seed=1
        )
        found[scale] = attack.generate(x * np.float32(scale), np.eye(10)[y]) / scale
    assert np.abs(found[255] - x).max() <= 0.1 + 1e-5
    np.testing.assert_allclose(found[255], found[1], atol=2e-3)


def Divide(by):  # noqa: N802 - a module of a number
    from torch import nn

    class Divided(nn.Module):
        def forward(self, x):
            return x / by

    return Divided()


def test_targets_are_those_of_both_rankings_in_turn():
    attack = SelectivePGD.__new__(SelectivePGD)
    attack._scores = lambda x: np.array([[9.0, 5.0, 4.0, 3.0]])
    attack.rank = lambda x: np.array([[0.0, 1.0, -np.inf, 2.0]])
    attack.targets, attack._estimator = (
        3,
        type("Model", (), {"nb_classes": 4, "clip_values": (0, 1)})(),
    )
    assert attack._targets(np.zeros((1, 2)), np.array([0])).tolist() == [[1, 3, 2]]
    attack.rank, attack.targets = None, 9
    assert attack._targets(np.zeros((1, 2)), np.array([1])).tolist() == [[0, 2, 3]]


@pytest.mark.parametrize(
    ("name", "value"),
    [("eps", 0), ("eps", 2), ("max_iter", 0), ("targets", 1.5), ("restarts", 0), ("seed", -1)],
)
def test_parameters_that_cannot_be(classifier, name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        SelectivePGD(classifier, Blind(), **{name: value})


def test_no_images_and_no_labels(classifier, images):
    attack = SelectivePGD(classifier, Blind(), max_iter=2, targets=1)
    x, _ = images["test"]
    assert attack.generate(x[:0]).shape == x[:0].shape
    assert attack.generate(x[:2]).shape == x[:2].shape
    with pytest.raises(ValueError, match="NaN"):
        attack.generate(np.full_like(x[:1], np.nan))


def test_what_cannot_be_asked_is_refused_before_the_first_step(classifier, images, nip):
    with pytest.raises(TypeError, match=r"a NIPPreprocessor.*, has no method scores"):
        SelectivePGD(classifier, nip)
    with pytest.raises(TypeError, match="rank=3; give a function"):
        SelectivePGD(classifier, Blind(), rank=3)
    x = images["test"][0][:2]
    attack = SelectivePGD(classifier, Blind(), max_iter=1, rank=lambda x: np.zeros((len(x), 3)))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) for 2 images; return .* \(2, 10\)"):
        attack.generate(x)
    with pytest.raises(TypeError, match="x and y only; it was given mask too"):
        attack.generate(x, mask=x)


def test_images_without_a_score_are_attacked_nevertheless(lenet, digits):
    class Mute(Blind):
        def scores(self, x):
            return np.full(len(x), np.nan, np.float32)

    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["test"][0][:6], digits["test"][1][:6]
    found = SelectivePGD(classifier, Mute(), eps=0.5, max_iter=10, seed=0).generate(x, y)
    assert (classifier.predict(found).argmax(1) != y).mean() > 0.5
