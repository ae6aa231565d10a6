"""Every attack of ART that the paper uses runs against a classifier with NIP attached."""

import warnings

import numpy as np
import pytest

from tests.helpers import make_classifier


def attacks(classifier, framework):
    from art.attacks import evasion
    from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_numpy import (
        ProjectedGradientDescentNumpy,
    )

    quiet = {"verbose": False}
    smooth = {"eps": 0.2, "eps_step": 0.05, "max_iter": 4, **quiet}
    return {
        "fgsm": lambda: evasion.FastGradientMethod(classifier, eps=0.2),
        "bim": lambda: evasion.BasicIterativeMethod(classifier, eps=0.2, max_iter=4, **quiet),
        # ART's own MI-FGSM is disabled on TensorFlow (its issue 2439).
        "mifgsm": lambda: (
            evasion.MomentumIterativeMethod(classifier, **smooth)
            if framework == "pytorch"
            else ProjectedGradientDescentNumpy(classifier, decay=1.0, **smooth)
        ),
        "jsma": lambda: evasion.SaliencyMapMethod(classifier, theta=1, gamma=0.02, **quiet),
        "pgd": lambda: evasion.ProjectedGradientDescent(classifier, **smooth),
        "deepfool": lambda: evasion.DeepFool(classifier, max_iter=5, nb_grads=10, **quiet),
        "uap": lambda: evasion.UniversalPerturbation(
            classifier, attacker="fgsm", attacker_params={"eps": 0.2}, max_iter=2, eps=5, **quiet
        ),
        "pixel": lambda: evasion.PixelAttack(classifier, th=50, es=1, max_iter=2, **quiet),
        "boundary": lambda: evasion.BoundaryAttack(
            classifier,
            targeted=False,
            max_iter=5,
            num_trial=5,
            sample_size=5,
            init_size=20,
            **quiet,
        ),
        "square": lambda: evasion.SquareAttack(classifier, eps=0.2, max_iter=10, **quiet),
        "hopskipjump": lambda: evasion.HopSkipJump(
            classifier, max_iter=2, max_eval=50, init_eval=10, init_size=20, **quiet
        ),
    }


NAMES = ["fgsm", "bim", "mifgsm", "jsma", "pgd", "deepfool", "uap", "pixel", "boundary", "square",
         "hopskipjump"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_attack(nip, framework, lenet, images, name):
    defended = nip.attach(make_classifier(framework, lenet[framework]))
    x = images["test"][0][:6]
    np.random.seed(0)  # noqa: NPY002 - ART draws from it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adversarial = attacks(defended, framework)[name]().generate(x)
    assert adversarial.shape == x.shape
    assert np.isfinite(adversarial).all()
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert np.abs(adversarial - x).max() > 0
