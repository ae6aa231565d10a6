"""The paper's tables and figures: what they are called, what the paper says, who makes them.

A new one is a function from a `Setting` to what it `Made`, and a line below.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

from art_nip.paper.setting import Made, Setting


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure.

    :param name: its name on the command line, and of its files.
    :param title: its heading.
    :param claim: what the paper says that it shows.
    :param path: module of this package, and the function in it that makes the exhibit.
    """

    name: str
    title: str
    claim: str
    path: str

    def make(self, setting: Setting) -> Made:
        """Make it; what is in the setting's folder already is not computed again."""
        module, _, function = self.path.partition(":")
        return cast(Made, getattr(import_module(f"art_nip.paper.{module}"), function)(setting))


EXHIBITS = (
    Exhibit(
        "ladder",
        "Where the paper's 100 % comes from",
        "NIP repairs almost all adversarial examples.",
        "ladder:ladder",
    ),
    Exhibit(
        "table-1",
        "Table I: models",
        "Six models of 91 to 99 % accuracy.",
        "tables:models",
    ),
    Exhibit(
        "table-2",
        "Table II: adversarial examples",
        "Eleven attacks succeed on 90 to 100 % of the images, with small L2 norms but for AUNA, "
        "PWA, and, on GTSRB, UAP and the pixel attack.",
        "tables:examples",
    ),
    Exhibit(
        "table-3",
        "Table III: benign accuracy",
        "NIP keeps 100 % (VGG-19) and 99.75 % (MobileNet), more than any other defence.",
        "tables:benign",
    ),
    Exhibit(
        "table-4",
        "Table IV: time",
        "NIP is slower than simple image transformations and faster than STL.",
        "tables:seconds",
    ),
    Exhibit(
        "figure-2",
        "Figures 2 and 17: neuron influence under attack",
        "Attacks lower the influence of front neurons and raise that of tail neurons, while the "
        "middle stays.",
        "figures.influence:attacks",
    ),
    Exhibit(
        "figure-7",
        "Figure 7: defence success rates",
        "NIP repairs almost all examples of all attacks, and more than every other defence.",
        "figures.rates:success",
    ),
    Exhibit(
        "figure-8",
        "Figure 8: larger perturbations",
        "As ε grows, the other defences fall steeply and NIP slightly.",
        "figures.rates:sizes",
    ),
    Exhibit(
        "figure-9",
        "Figure 9: neuron consistency",
        "TKNC is highest after NIP, and goes with DSR.",
        "figures.rates:consistency",
    ),
    Exhibit(
        "figure-10",
        "Figure 10: numbers of neurons",
        "DSR rises with k1 and k2 up to 5 and stays there; k2 matters more.",
        "figures.sensitivity:counts",
    ),
    Exhibit(
        "figure-11",
        "Figure 11: layers",
        "DSR rises with the depth of the layer, and is highest between the convolutional and the "
        "dense part.",
        "figures.sensitivity:layers",
    ),
    Exhibit(
        "figure-12",
        "Figure 12: Grad-CAM",
        "After NIP the model looks where it looked before the attack.",
        "figures.attention:grad_cam",
    ),
    Exhibit(
        "figure-13",
        "Figure 13: image quality",
        "Images have a higher PSNR after NIP than after any other reactive defence.",
        "figures.rates:quality",
    ),
    Exhibit(
        "figure-14",
        "Figure 14: the largest perturbations",
        "UAP and the pixel attack destroy the images of GTSRB.",
        "figures.pictures:adversarial",
    ),
    Exhibit(
        "figure-15",
        "Figures 15 and 16: repaired images",
        "Images repaired by NIP look like the benign ones.",
        "figures.pictures:repaired",
    ),
    Exhibit(
        "figure-18",
        "Figure 18: neuron influence after defences",
        "After NIP neurons have the influence that they had before the attack.",
        "figures.influence:defences",
    ),
)

NAMES = tuple(exhibit.name for exhibit in EXHIBITS)
