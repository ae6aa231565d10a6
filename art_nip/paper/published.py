"""What the paper prints: its Tables I to IV, and in words what its figures show.

Chen et al., "NIP: Neuron-level Inverse Perturbation Against Adversarial Attacks", arXiv
2112.13060 v1. Subjects are named by data set and model, as files of weights are.
"""

from __future__ import annotations

from typing import NamedTuple


class Model(NamedTuple):
    """A row of Table I."""

    parameters: int
    layers: int
    neurons: int
    accuracy: float


MODELS = {
    "cifar10-vgg19": Model(39_002_738, 64, 50_782, 0.9104),
    "cifar10-alexnet": Model(87_650_186, 12, 18_282, 0.9124),
    "gtsrb-lenet5": Model(172_331, 7, 291, 0.9826),
    "gtsrb-resnet20": Model(276_587, 70, 2_603, 0.9883),
    "imagenette-vgg19": Model(139_666_034, 64, 50_782, 0.9540),
    "imagenette-mobilenet": Model(3_238_986, 81, 33_802, 0.9816),
}
"""Table I."""

ATTACKS = (
    *("fgsm", "bim", "mifgsm", "jsma", "pgd", "deepfool", "uap"),
    *("auna", "pwa", "pixel", "boundary"),
)
"""The attacks of Table II, in its order: white-box, then black-box."""

_TABLE_II = {
    "cifar10-vgg19": (
        *((0.42, 1.0), (0.302, 0.9987), (0.33, 0.9976), (0.59, 1.0), (0.28, 0.9992)),
        *((0.47, 0.9966), (0.654, 0.9602), (0.65, 1.0), (0.66, 0.976), (0.852, 1.0), (0.195, 0.93)),
    ),
    "cifar10-alexnet": (
        *((0.39, 0.9952), (0.32, 0.9618), (0.35, 0.8948), (0.67, 0.9988), (0.32, 0.9598)),
        *((0.27, 0.9664), (0.68, 0.958), (0.48, 0.9998), (0.83, 0.9732), (0.871, 0.9997)),
        (0.30, 0.956),
    ),
    "gtsrb-lenet5": (
        *((1.98, 0.9962), (1.74, 0.9758), (1.62, 1.0), (1.46, 0.9966), (1.52, 0.9995)),
        *((1.64, 0.9456), (16.42, 1.0), (16.10, 0.9995), (5.13, 0.9985), (17.41, 1.0)),
        (1.40, 0.958),
    ),
    "gtsrb-resnet20": (
        *((1.86, 1.0), (1.83, 0.9995), (1.72, 0.9984), (0.99, 0.9968), (1.69, 0.9991)),
        *((1.34, 0.9963), (17.01, 1.0), (11.18, 0.9995), (4.17, 0.9965), (16.77, 1.0)),
        (0.95, 0.934),
    ),
    "imagenette-vgg19": (
        *((0.7, 0.9997), (0.68, 0.9993), (0.68, 0.9967), (0.82, 0.9987), (0.69, 0.999)),
        *((0.54, 0.9935), (1.54, 0.9115), (10.70, 0.9995), (2.67, 0.9775), None, (0.86, 0.975)),
    ),
    "imagenette-mobilenet": (
        *((1.26, 1.0), (0.66, 0.9995), (0.72, 0.9997), (1.82, 0.9997), (0.66, 0.9997)),
        *((0.44, 0.9982), (2.78, 0.9415), (9.69, 1.0), (2.54, 0.93), None, (0.99, 0.9925)),
    ),
}

EXAMPLES = {
    subject: {
        attack: sizes
        for attack, sizes in zip(ATTACKS, row, strict=True)
        if sizes is not None  # one pixel fools no model of ImageNet
    }
    for subject, row in _TABLE_II.items()
}
"""Table II: for each subject and attack the mean L2 norm, of images in [0, 1], and the ASR."""

_PERCENT = {
    "cifar10-vgg19": (99.2, 99.9, 69.1, 97.8, 99.5, 84.4, 96.6, 92.58, 88.5, 100),
    "imagenette-mobilenet": (95, 96.75, 79.5, 97, 96.5, 76, 96.75, 95.35, 98.8, 99.75),
}

DEFENCES = (
    *("ss", "cbdr", "tvm", "jpeg", "stl", "sr", "fdistill"),
    *("cas", "feature-denoising", "nip"),
)
"""The defences of Table III, in its order."""

BENIGN = {
    subject: {name: share / 100 for name, share in zip(DEFENCES, row, strict=True)}
    for subject, row in _PERCENT.items()
}
"""Table III: benign accuracy, of images that the undefended model gets right."""

TIMED = tuple(name for name in DEFENCES if name not in ("cas", "feature-denoising"))
"""The defences of Table IV, in its order; trained ones take no time of their own."""

_TABLE_IV = {
    "cifar10-vgg19": (3.13, 2.11, 219.49, 3.96, 26716.16, 138.57, 142.84, 2259.55),
    "cifar10-alexnet": (2.47, 1.43, 194.03, 2.89, 14559.11, 282.40, 63.38, 1765.70),
    "gtsrb-lenet5": (4.15, 1.25, 458.59, 2.75, 9256.90, 273.15, 112.25, 2170.90),
    "gtsrb-resnet20": (5.81, 2.22, 440.54, 3.84, 10061.09, 232.49, 123.58, 2636.40),
    "imagenette-vgg19": (68.99, 33.48, 15030.03, 42.07, 115870.37, 641.13, 2046.99, 2926.15),
    "imagenette-mobilenet": (74.51, 44.08, 8352.64, 37.87, 124519.79, 720.77, 2875.8, 2919.16),
}

SECONDS = {subject: dict(zip(TIMED, row, strict=True)) for subject, row in _TABLE_IV.items()}
"""Table IV: seconds for 5,000 images."""
