"""What labels an attack is given: true classes, none, or a refusal."""

import inspect

import numpy as np
import pytest
from art.attacks import evasion
from art.attacks.attack import EvasionAttack

from art_nip import attacks
from art_nip.attacks import labels
from art_nip.attacks.labels import labels_for, takes_true_classes
from tests.helpers import make_classifier

QUIET = {"verbose": False}
TARGETED = {
    "pgd": lambda c: evasion.ProjectedGradientDescent(c, targeted=True, **QUIET),
    "fgsm": lambda c: evasion.FastGradientMethod(c, targeted=True),
    "cw": lambda c: evasion.CarliniL2Method(c, targeted=True, **QUIET),
    "boundary": lambda c: evasion.BoundaryAttack(c, **QUIET),
    "sign-opt": lambda c: evasion.SignOPTAttack(c, **QUIET),
    "hopskipjump": lambda c: evasion.HopSkipJump(c, targeted=True, **QUIET),
    "apgd": lambda c: evasion.AutoProjectedGradientDescent(c, targeted=True, **QUIET),
    "uap": lambda c: evasion.UniversalPerturbation(c, "pgd", {"targeted": True}, **QUIET),
}
UNTARGETED = {
    "pgd": lambda c: evasion.ProjectedGradientDescent(c, **QUIET),
    "boundary": lambda c: evasion.BoundaryAttack(c, targeted=False, **QUIET),
    "square": lambda c: evasion.SquareAttack(c, **QUIET),
    "uap": lambda c: evasion.UniversalPerturbation(c, "pgd", **QUIET),
    "deepfool": lambda c: evasion.DeepFool(c, **QUIET),
    "autoattack": lambda c: evasion.AutoAttack(c, targeted=True),
    "frame": lambda c: evasion.FrameSaliencyAttack(c, evasion.FastGradientMethod(c), verbose=False),
}


@pytest.fixture(scope="module")
def classifier(lenet):
    return make_classifier("pytorch", lenet["pytorch"])


class Mine(EvasionAttack):
    """An attack of the user's own."""

    _estimator_requirements = ()

    def generate(self, x, y=None, **kwargs):
        return x


class MyJSMA(evasion.SaliencyMapMethod):
    """A subclass of ART's."""


@pytest.mark.parametrize("name", TARGETED)
def test_targeted_attacks_are_refused(name, classifier):
    with pytest.raises(ValueError, match=r"is targeted.*Make it with targeted=False"):
        takes_true_classes(TARGETED[name](classifier))


def test_the_default_that_surprises_is_told(classifier):
    with pytest.raises(ValueError, match="ART has True if nothing is said"):
        takes_true_classes(TARGETED["boundary"](classifier))


@pytest.mark.parametrize("name", UNTARGETED)
def test_others_are_given_the_true_classes(name, classifier):
    y = np.arange(3)
    assert labels_for(UNTARGETED[name](classifier), y) is y


@pytest.mark.parametrize("kind", [evasion.SaliencyMapMethod, MyJSMA])
def test_jsma_is_given_no_labels(kind, classifier, digits):
    attack = kind(classifier, theta=1.0, gamma=0.1, verbose=False)
    x, y = (part[:4] for part in digits["test"])
    assert labels_for(attack, y) is None
    np.random.seed(0)  # noqa: NPY002 - ART draws its targets from it
    found = attack.generate(x, labels_for(attack, y))
    assert (classifier.predict(found).argmax(axis=1) != y).any()


def test_attacks_of_ones_own(classifier):
    attack = Mine(estimator=classifier)
    assert takes_true_classes(attack)
    attack.targeted = True
    with pytest.raises(ValueError, match="Mine is targeted"):
        takes_true_classes(attack)


def test_what_needs_targets_or_has_none_is_refused(classifier):
    with pytest.raises(ValueError, match=r"classes of your choice"):
        takes_true_classes(evasion.TargetedUniversalPerturbation(classifier, "pgd"))
    guided = object.__new__(evasion.FeatureAdversariesNumpy)
    with pytest.raises(ValueError, match="about guide images"):
        takes_true_classes(guided)


def test_jsma_inside_a_universal_perturbation(classifier, digits):
    with pytest.raises(ValueError, match=r"for which they are targets: 'jsma'"):
        takes_true_classes(evasion.UniversalPerturbation(classifier, "jsma", **QUIET))
    settings = {"attacker": "jsma", "attacker_params": {"theta": 1.0}, "eps": 0.8, "max_iter": 1}
    attack = attacks.get("uap").create(classifier, **settings)
    x, y = (part[:3] for part in digits["test"])
    np.random.seed(0)  # noqa: NPY002 - ART draws its targets from it
    assert (attack.generate(x, y) != x).any()
    with pytest.raises(ValueError, match=r"'uap': .* is targeted"):
        attacks.get("uap").create(classifier, attacker="pgd", attacker_params={"targeted": True})


@pytest.mark.parametrize("name", [name for name in attacks.NAMES if name != "steering"])
def test_named_attacks_take_true_classes(name, classifier):
    assert takes_true_classes(attacks.get(name).create(classifier))
    targets = {"apgd": {"targets": 2}}.get(name, {})
    assert takes_true_classes(attacks.get(name).create(classifier, **targets))


def test_the_tables_have_all_attacks_of_art():
    known = {
        *labels.TRUE_CLASSES, *labels.TARGETED_OR_NOT, *labels.ALWAYS_UNTARGETED,
        *labels.NOT_USED, *labels.TARGETS_OR_NONE, *labels.TARGETS_REQUIRED,
        *(name for names in labels.OF_SOMETHING_ELSE.values() for name in names),
        "FrameSaliencyAttack",
    }  # fmt: skip
    there = {
        name
        for name, kind in vars(evasion).items()
        if inspect.isclass(kind) and issubclass(kind, EvasionAttack)
    }
    assert there - known == set()
