"""What the labels handed to an attack of ART mean: classes to lead away from, or to lead to.

Whoever compares attacks knows the true classes of images. An attack that takes labels for targets
and is given the true classes does nothing, as its images have reached their targets before it
begins. So it is given none where it then goes without, and is refused where it needs some.

The tables below say what `y` of `generate` means in ART 1.20, by its code. An
attack that is in none of them takes true classes, or targets where it is `targeted`.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

TRUE_CLASSES = frozenset({"AutoAttack"})
"""`y` are true classes even where `targeted` is set: it then leads to all the others in turn."""

TARGETED_OR_NOT = frozenset(
    {
        *("AutoConjugateGradient", "AutoProjectedGradientDescent", "BasicIterativeMethod"),
        *("BoundaryAttack", "BrendelBethgeAttack", "CarliniL0Method", "CarliniL2Method"),
        *("CarliniLInfMethod", "ElasticNet", "FastGradientMethod", "HopSkipJump"),
        *("MomentumIterativeMethod", "PixelAttack", "ProjectedGradientDescent"),
        *("ProjectedGradientDescentNumpy", "ProjectedGradientDescentPyTorch"),
        *("ProjectedGradientDescentTensorFlowV2", "RescalingAutoConjugateGradient"),
        *("SignOPTAttack", "SimBA", "ThresholdAttack", "Wasserstein", "ZooAttack"),
    }
)
"""`y` are targets where `targeted` is set, and required then; else true classes, or those predicted
where there are none."""

TARGETED_BY_DEFAULT = frozenset({"BoundaryAttack", "SignOPTAttack"})
"""Of these, the ones that are targeted unless told otherwise."""

ALWAYS_UNTARGETED = frozenset(
    {
        *("CompositeAdversarialAttackPyTorch", "GeoDA", "LaserAttack", "LaserBeamAttack"),
        *("SquareAttack", "UniversalPerturbation"),
    }
)
"""`y` are true classes. The attack inside `UniversalPerturbation` may be targeted: see the end."""

NOT_USED = frozenset(
    {
        *("DeepFool", "HighConfidenceLowUncertainty", "NewtonFool", "SpatialTransformation"),
        "VirtualAdversarialMethod",
    }
)
"""`y` is not looked at: images are led away from the classes predicted."""

TARGETS_OR_NONE = frozenset({"DecisionTreeAttack", "SaliencyMapMethod", "ShadowAttack"})
"""`y` are targets, with no flag that says so. Without, `SaliencyMapMethod` draws other classes at
random, and the others lead anywhere else."""

TARGETS_REQUIRED = frozenset(
    {
        *("GRAPHITEBlackbox", "GRAPHITEWhiteboxPyTorch", "LowProFool"),
        "TargetedUniversalPerturbation",
    }
)
"""`y` are targets, and nothing works without."""

OF_SOMETHING_ELSE = {
    "guide images": (
        *("FeatureAdversariesNumpy", "FeatureAdversariesPyTorch"),
        "FeatureAdversariesTensorFlowV2",
    ),
    "a patch, not one adversarial image for each image": (
        *("AdversarialPatch", "AdversarialPatchNumpy", "AdversarialPatchPyTorch"),
        "AdversarialPatchTensorFlowV2",
    ),
    "objects, speech, video or programs": (
        *("AdversarialTexturePyTorch", "CarliniWagnerASR", "DPatch", "ImperceptibleASR"),
        *("ImperceptibleASRPyTorch", "MalwareGDTensorFlow", "OverTheAirFlickeringPyTorch"),
        *("OverloadPyTorch", "RobustDPatch", "SNAL"),
    ),
}
"""What other attacks are about, none of which has labels of images."""


def labels_for(attack: Any, y: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return what to hand to an attack of ART as `y`, from the true classes of its images.

    :param attack: an evasion attack, of ART, of this package or of the user's own.
    :param y: the true classes.
    :raises ValueError: as of `takes_true_classes`.
    """
    return y if takes_true_classes(attack) else None


def takes_true_classes(attack: Any) -> bool:
    """Return whether an attack is to be given true classes; else it is to be given no labels.

    :param attack: an evasion attack, of ART, of this package or of the user's own.
    :raises ValueError: if it can do nothing but lead to targets of the user's choice, or is not
        about labelled images; the message says what to do.
    """
    kind = type(attack).__name__
    known = _nearest_known(attack)
    if known.__module__.startswith("art_nip."):
        return True  # all of this package's do, also where they lead to other classes
    name = known.__name__
    if name in TARGETS_REQUIRED:
        raise ValueError(
            f"{kind} leads images to classes of your choice, and only their true classes are known "
            "here. Give an attack that is not targeted."
        )
    for subject, names in OF_SOMETHING_ELSE.items():
        if name in names:
            raise ValueError(
                f"{kind} is an attack about {subject}. Give an attack that makes one adversarial "
                "image of each image, away from its class."
            )
    if name == "FrameSaliencyAttack":
        return takes_true_classes(attack.attacker)
    if name in TARGETS_OR_NONE:
        return False
    if name == "UniversalPerturbation" and attack.attacker == "jsma":
        raise ValueError(
            f"{kind} hands its labels to the attack inside it, for which they are targets: 'jsma' "
            "leads images to where they are already. Take another attacker, or the named attack "
            "'uap', which gives it none."
        )
    if name not in TRUE_CLASSES and _is_targeted(attack):
        raise ValueError(
            f"{kind} is targeted: it leads images to the labels that it is given, and only their "
            "true classes are known here, where they are already. Make it with targeted=False"
            f"{' (ART has True if nothing is said)' if name in TARGETED_BY_DEFAULT else ''}."
        )
    return True


def _nearest_known(attack: Any) -> type:
    """Return the first class, up from the attack's own, that is ART's or this package's."""
    kinds = type(attack).__mro__
    return next(
        (kind for kind in kinds if kind.__module__.startswith(("art.", "art_nip."))), kinds[0]
    )


def _is_targeted(attack: Any) -> bool:
    # UniversalPerturbation hands its labels to the attack inside, with these parameters.
    inside = getattr(attack, "attacker_params", None) or {}
    return bool(getattr(attack, "targeted", False) or inside.get("targeted", False))
