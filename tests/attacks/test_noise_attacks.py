"""The decision-based attacks: what they promise, on LeNet-5 and where the answer is known, and
beside Foolbox's.
"""

import numpy as np
import pytest
from art.estimators.classification import BlackBoxClassifier

from art_nip import attacks
from art_nip.attacks import AdditiveUniformNoise, PointwiseAttack
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier, on_device

QUICK = {"auna": {"repeats": 3}, "pwa": {"init_steps": 25, "max_iter": 3}}


def make_attack(name, classifier, **parameters):
    attack = {"auna": AdditiveUniformNoise, "pwa": PointwiseAttack}[name]
    return attack(classifier, **{"seed": 0, "verbose": False, **QUICK[name], **parameters})


@pytest.fixture(params=["auna", "pwa"])
def name(request):
    return request.param


def right(classifier, images, n):
    """The first n test images that the classifier gets right, and their classes."""
    x, y = images["test"]
    hits = np.flatnonzero(classes(classifier, x) == y)[:n]
    return x[hits], y[hits]


def classes(classifier, x):
    return classifier.predict(x).argmax(axis=1)


def l2(x, adversarial):
    return np.linalg.norm((adversarial - x).reshape(len(x), -1), axis=1)


def l0(x, adversarial):
    return (adversarial != x).reshape(len(x), -1).sum(axis=1)


class Counting(BlackBoxClassifier):
    """A classifier that is nothing but a function of images to classes, and counts its images."""

    def __init__(self, classify, shape, clip_values=(0, 1), nb_classes=2):
        self.seen = []

        def predict(x):
            assert x.dtype == np.float32
            self.seen.append(len(x))
            return np.eye(nb_classes, dtype=np.float32)[np.asarray(classify(x), int)]

        super().__init__(predict, shape, nb_classes, clip_values=clip_values)


# What they promise


def test_adversarial(name, classifier, images):
    x, y = right(classifier, images, 8)
    before = x.copy()
    adversarial = make_attack(name, classifier).generate(x, y)
    assert (classes(classifier, adversarial) != y).all()
    assert adversarial.dtype == np.float32
    assert adversarial.shape == x.shape
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    np.testing.assert_array_equal(x, before)
    one_by_one = np.concatenate([classes(classifier, image[None]) for image in adversarial])
    assert (one_by_one != y).all()  # another batch size rounds otherwise


def test_only_predict_is_used(name, classifier, images):
    x, y = right(classifier, images, 5)
    shape, n = classifier.input_shape, classifier.nb_classes
    black_box = Counting(lambda x: classes(classifier, x), shape, nb_classes=n)
    adversarial = make_attack(name, black_box, batch_size=2).generate(x, y)
    assert (classes(classifier, adversarial) != y).all()
    assert max(black_box.seen) == 2


def test_deterministic(name, lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x = digits["test"][0][:4]
    attack = make_attack(name, classifier, repeats=1)
    first = attack.generate(x)
    np.testing.assert_array_equal(attack.generate(x), first)
    attack.set_params(seed=1)
    assert (attack.generate(x) != first).any()


def test_labels(name, lenet, digits):
    """Indices, one-hot and the own predictions say the same of images that are classified right."""
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = right(classifier, digits, 3)
    attack = make_attack(name, classifier, repeats=1)
    results = [attack.generate(x, labels) for labels in (None, y, np.eye(10)[y])]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_misclassified_comes_back(name, lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = right(classifier, digits, 4)
    y = y.copy()
    y[[0, 2]] = (y[[0, 2]] + 1) % 10
    adversarial = make_attack(name, classifier).generate(x, y)
    np.testing.assert_array_equal(adversarial[[0, 2]], x[[0, 2]])
    assert (l2(x, adversarial)[[1, 3]] > 0).all()


def test_nothing_fools(name):
    """A classifier of one opinion: images come back as they were."""
    constant = Counting(lambda x: np.zeros(len(x)), (1, 4, 4))
    x = np.random.default_rng(0).random((3, 1, 4, 4), np.float32)
    adversarial = make_attack(name, constant).generate(x)
    np.testing.assert_array_equal(adversarial, x)
    assert adversarial is not x
    adversarial = make_attack(name, constant).generate(x, np.ones(3, int))
    np.testing.assert_array_equal(adversarial, x)


def test_no_image(name):
    constant = Counting(lambda x: np.zeros(len(x)), (1, 4, 4))
    assert make_attack(name, constant).generate(np.zeros((0, 1, 4, 4))).shape == (0, 1, 4, 4)
    assert not constant.seen


def test_through_a_defence(name, nip, framework, lenet, images):
    defended = nip.attach(make_classifier(framework, lenet[framework]))
    x, y = right(defended, images, 2)
    quick = {"auna": {"repeats": 1}, "pwa": {"search_steps": 2, "max_iter": 1}}[name]
    adversarial = make_attack(name, defended, **quick).generate(x, y)
    assert (classes(defended, adversarial) != y).all()


@pytest.mark.parametrize(
    "clip_values", [(-1, 3), (np.zeros((1, 4, 4)), np.full((1, 4, 4), 255.0)), (-2.64, 2.12)]
)
def test_any_clip_values(name, clip_values):
    low, high = (np.broadcast_to(bound, (1, 4, 4)).astype(np.float32) for bound in clip_values)
    middle = (low + high) / 2
    far = Counting(
        lambda x: np.abs(x - middle).reshape(len(x), -1).max(axis=1) > 0.2 * (high - low).max(),
        (1, 4, 4),
        clip_values,
    )
    x = np.repeat(middle[None], 5, axis=0)
    adversarial = make_attack(name, far).generate(x)
    assert (adversarial >= low).all()
    assert (adversarial <= high).all()
    assert far.predict(adversarial).argmax(axis=1).all()


# Where the answer is known


def test_auna_stops_at_the_edge():
    """Fooled when a value deviates by more than 0.317: so much noise, and no more."""
    x = np.full((6, 1, 8, 8), 0.5, np.float32)
    edge = Counting(lambda x: np.abs(x - 0.5).max(axis=(1, 2, 3)) > 0.317, (1, 8, 8))
    for search_steps, step in ((0, 0.01), (10, 0.01 / 512)):
        attack = make_attack("auna", edge, norm=np.inf, search_steps=search_steps)
        deviation = np.abs(attack.generate(x) - x).max(axis=(1, 2, 3))
        assert (deviation > 0.317).all()
        assert (deviation < 0.317 + 1.01 * step).all()


def test_pwa_changes_what_matters():
    """Fooled when two certain values of 400 both exceed 0.7: these are what stays, barely over."""
    x = np.full((6, 1, 20, 20), 0.5, np.float32)
    both = Counting(lambda x: (x[:, 0, 3, 4] > 0.7) & (x[:, 0, 11, 0] > 0.7), (1, 20, 20))
    predictions = {}
    for group_size in (1, 1024):
        for starts in (None, np.ones_like(x)):
            both.seen.clear()
            attack = make_attack("pwa", both, group_size=group_size, init_steps=100)
            adversarial = attack.generate(x, x_adv_init=starts)
            assert (l0(x, adversarial) == 2).all()
            assert (adversarial.max(axis=(1, 2, 3)) < 0.702).all()
            assert (adversarial.reshape(6, -1)[:, [64, 220]] > 0.7).all()
        predictions[group_size] = sum(both.seen)
    assert predictions[1024] < predictions[1] / 4


@pytest.mark.parametrize("group_size", [1, 7, 1024])
def test_pwa_leaves_nothing_to_set_back(lenet, digits, group_size):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = right(classifier, digits, 5)
    attack = make_attack("pwa", classifier, group_size=group_size, search_steps=0, max_iter=50)
    for image, label, adversarial in zip(x, y, attack.generate(x, y), strict=True):
        changed = np.flatnonzero(adversarial != image)
        set_back = np.repeat(adversarial.reshape(1, -1), len(changed), axis=0)
        set_back[np.arange(len(changed)), changed] = image.reshape(-1)[changed]
        assert (classes(classifier, set_back.reshape(-1, *image.shape)) == label).all()


def test_pwa_from_a_given_start():
    brighter = Counting(lambda x: x.mean(axis=(1, 2, 3)) > 0.5, (1, 10, 10))
    x = np.zeros((3, 1, 10, 10), np.float32)
    starts = x.copy()
    starts[:2, 0, :6] = 1
    attack = make_attack("pwa", brighter)
    adversarial = attack.generate(x, x_adv_init=starts)
    assert (classes(brighter, adversarial) == 1).tolist() == [True, True, True]
    assert (adversarial[:2, 0, 6:] == 0).all()  # values that the start left alone
    assert (adversarial[2, 0, 6:] > 0).any()  # no adversarial start: from noise
    with pytest.raises(ValueError, match="2 images for 3"):
        attack.generate(x, x_adv_init=starts[:2])
    with pytest.raises(ValueError, match="outside the clip_values"):
        attack.generate(x, x_adv_init=starts * 9)


@pytest.mark.parametrize(("channels_first", "shape"), [(True, (3, 6, 6)), (False, (6, 6, 3))])
def test_pwa_noise_hits_whole_pixels(channels_first, shape):
    seen = []

    def classify(x):
        seen.append(x)
        return np.zeros(len(x))

    constant = Counting(classify, shape)
    constant.channels_first = channels_first
    make_attack("pwa", constant, init_steps=2).generate(np.full((1, *shape), 0.5, np.float32))
    hit = np.moveaxis(seen[1][0], 0 if channels_first else -1, 0)
    assert 0 < (hit[0] != 0.5).mean() < 1
    assert (hit == hit[0]).all()


# More effort, smaller perturbation


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [
        ("auna", {"repeats": 1}, {"repeats": 12}),
        ("auna", {"steps": 10, "search_steps": 0}, {"steps": 10, "search_steps": 10}),
        ("pwa", {"search_steps": 0}, {"search_steps": 10}),
        ("pwa", {"repeats": 1}, {"repeats": 2}),
    ],
)
def test_more_effort(lenet, digits, name, less, more):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = right(classifier, digits, 5)
    effort = {"repeats": 1, **less}, {"repeats": 1, **more}
    sizes = [l2(x, make_attack(name, classifier, **e).generate(x, y)) for e in effort]
    fooled = sizes[0] > 0
    assert fooled.any()
    assert (sizes[1] <= sizes[0])[fooled].all()
    assert (sizes[1] < sizes[0]).any()
    assert (sizes[1] > 0)[fooled].all()


# Refusals


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("auna", {"norm": 1}, "norm=1; allowed are 2 and np.inf"),
        ("auna", {"norm": "inf"}, "norm='inf'"),
        ("auna", {"steps": 0}, "steps=0; give a whole number of at least 1"),
        ("auna", {"repeats": 1.5}, "repeats=1.5"),
        ("auna", {"search_steps": -1}, "search_steps=-1"),
        ("pwa", {"init_steps": 0}, "init_steps=0"),
        ("pwa", {"group_size": 0}, "group_size=0"),
        ("pwa", {"max_iter": True}, "max_iter=True"),
        ("pwa", {"repeats": 0}, "repeats=0"),
        ("pwa", {"search_steps": "many"}, "search_steps='many'"),
        ("auna", {"batch_size": 0}, "batch_size=0"),
        ("pwa", {"seed": -1}, "seed=-1"),
        ("pwa", {"verbose": 2}, "verbose=2; give True or False"),
    ],
)
def test_bad_parameters(name, bad, message):
    constant = Counting(lambda x: np.zeros(len(x)), (1, 4, 4))
    with pytest.raises(ValueError, match=message):
        make_attack(name, constant, **bad)
    attack = make_attack(name, constant)
    with pytest.raises(ValueError, match=message):
        attack.set_params(**bad)


def test_parameters_are_arts(name):
    attack = make_attack(name, Counting(lambda x: np.zeros(len(x)), (1, 4, 4)))
    assert all(hasattr(attack, parameter) for parameter in attack.attack_params)
    assert not attack.targeted
    with pytest.raises(ValueError, match="targeted"):
        attack.set_params(targeted=True)


def test_bad_input(name):
    constant = Counting(lambda x: np.zeros(len(x)), (1, 4, 4))
    attack, x = make_attack(name, constant), np.zeros((2, 1, 4, 4), np.float32)
    for images, labels, message in (
        (x + 2, None, "outside the clip_values"),
        (x[:, :, :3], None, "the model takes"),
        (x * np.nan, None, "NaN"),
        (x, np.zeros(3), "Labels have shape"),
        (x, np.full(2, 2), "whole numbers from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            attack.generate(images, labels)
    with pytest.raises(TypeError, match="takes"):
        attack.generate(x, mask=x)


def test_bad_estimator(name):
    with pytest.raises(TypeError, match="takes a classifier of ART, and got a object"):
        make_attack(name, object())
    x = np.zeros((2, 1, 4, 4), np.float32)
    unbounded = Counting(lambda x: np.zeros(len(x)), (1, 4, 4), clip_values=None)
    with pytest.raises(ValueError, match="no clip_values"):
        make_attack(name, unbounded).generate(x)
    lone = Counting(lambda x: np.zeros(len(x)), (1, 4, 4))
    lone.predict = lambda x, batch_size: np.zeros((len(x), 1))
    with pytest.raises(ValueError, match=r"scores of shape \(2, 1\)"):
        make_attack(name, lone).generate(x)


# Beside Foolbox's, on the same model


@pytest.fixture
def beside_foolbox(lenet, digits):
    import torch

    foolbox = pytest.importorskip("foolbox")
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = right(classifier, digits, 30)
    model = foolbox.PyTorchModel(lenet["pytorch"], bounds=(0, 1), device=classifier.device)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - Foolbox draws from it
    return foolbox.attacks, model, classifier, x, y, on_device(x), on_device(y)


def assert_alike(x, ours, theirs):
    fooled, too = l2(x, ours) > 0, l2(x, theirs) > 0
    assert abs(fooled.mean() - too.mean()) <= 0.1
    ratio = np.median(l2(x, ours)[fooled]) / np.median(l2(x, theirs)[too])
    assert 1 / 1.3 < ratio < 1.3


@pytest.mark.parametrize(("norm", "top"), [(np.inf, 1), (2, 28)])
def test_auna_beside_foolbox(beside_foolbox, norm, top):
    attacks, model, classifier, x, y, images, labels = beside_foolbox
    attack = {
        2: attacks.L2RepeatedAdditiveUniformNoiseAttack,
        np.inf: attacks.LinfRepeatedAdditiveUniformNoiseAttack,
    }[norm](repeats=10)
    grid = list(np.linspace(0, top, 51)[1:])
    _, found, fooled = attack(model, images, labels, epsilons=grid)
    theirs = x.copy()
    for candidates, hits in reversed(list(zip(found, fooled.numpy(force=True), strict=True))):
        theirs[hits] = candidates.numpy(force=True)[hits]
    ours = AdditiveUniformNoise(classifier, norm=norm, seed=0, verbose=False).generate(x, y)
    assert_alike(x, ours, theirs)


def test_pwa_beside_foolbox(beside_foolbox):
    attacks, model, classifier, x, y, images, labels = beside_foolbox
    noisy, _, fooled = attacks.SaltAndPepperNoiseAttack(steps=200)(
        model, images, labels, epsilons=None
    )
    assert fooled.float().mean() >= 0.9
    pointwise = attacks.PointwiseAttack()
    theirs = x.copy()
    theirs[fooled.numpy(force=True)] = pointwise.run(
        model, images[fooled], labels[fooled], starting_points=noisy[fooled]
    ).numpy(force=True)
    attack = PointwiseAttack(classifier, seed=0, verbose=False)
    assert_alike(x, attack.generate(x, y), theirs)
    from_theirs = attack.generate(x, y, x_adv_init=noisy.numpy(force=True))
    assert_alike(x, from_theirs, theirs)
    assert np.median(l0(x, from_theirs)) <= 1.3 * np.median(l0(x, theirs))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("hopskipjump", {"max_iter": 1, "max_eval": 50, "init_eval": 20}), ("boundary", {})],
)
def test_a_seed_decides_the_start_also_where_noise_on_the_image_does_not_fool(
    classifier, images, name, sizes, monkeypatch
):
    monkeypatch.setattr(AdditiveUniformNoise, "generate", lambda self, x, y=None: x.copy())
    x = images["test"][0][:4]
    y = classifier.predict(x).argmax(axis=1)
    attack = attacks.get(name).create(classifier, **{"max_iter": 2, **sizes})
    found = []
    for _ in range(2):
        with seeded(0):
            found.append(attack.generate(x, y))
    np.testing.assert_array_equal(*found)
    assert (classifier.predict(found[0]).argmax(axis=1) != y).any()
