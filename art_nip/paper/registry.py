"""Every table and figure of the paper: what it is called, what the paper says, and who makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from art_nip.paper import tables
from art_nip.paper.figures import attention, influence, pictures, rates, sensitivity
from art_nip.paper.grids import Setting
from art_nip.paper.subjects import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = Callable[[Sequence[Subject], Setting], str]
Drawing = Callable[[Sequence[Subject], Setting], "Mapping[str, Figure]"]


@dataclass(frozen=True)
class Piece:
    """A table or a figure.

    :param name: its name on the command line, and of its files.
    :param title: its heading.
    :param claim: what the paper says that it shows.
    :param make: from subjects to a table in Markdown, or to figures by name.
    """

    name: str
    title: str
    claim: str
    make: Table | Drawing


PIECES = (
    Piece(
        "table-1",
        "Table I: models",
        "Six models of 91 to 99 % accuracy.",
        tables.models,
    ),
    Piece(
        "table-2",
        "Table II: adversarial examples",
        "Eleven attacks succeed on 90 to 100 % of the images, with small L2 norms but for AUNA, "
        "PWA, and, on GTSRB, UAP and the pixel attack.",
        tables.examples,
    ),
    Piece(
        "table-3",
        "Table III: benign accuracy",
        "NIP keeps 100 % (VGG-19) and 99.75 % (MobileNet), more than any other defence.",
        tables.benign,
    ),
    Piece(
        "table-4",
        "Table IV: time",
        "NIP is slower than simple image transformations and faster than STL.",
        tables.seconds,
    ),
    Piece(
        "figure-2",
        "Figures 2 and 17: neuron influence under attack",
        "Attacks lower the influence of front neurons and raise that of tail neurons, while the "
        "middle stays.",
        influence.attacks,
    ),
    Piece(
        "figure-7",
        "Figure 7: defence success rates",
        "NIP repairs almost all examples of all attacks, and more than every other defence.",
        rates.success,
    ),
    Piece(
        "figure-8",
        "Figure 8: larger perturbations",
        "As ε grows, the other defences fall steeply and NIP slightly.",
        rates.sizes,
    ),
    Piece(
        "figure-9",
        "Figure 9: neuron consistency",
        "TKNC is highest after NIP, and goes with DSR.",
        rates.consistency,
    ),
    Piece(
        "figure-10",
        "Figure 10: numbers of neurons",
        "DSR rises with k1 and k2 up to 5 and stays there; k2 matters more.",
        sensitivity.counts,
    ),
    Piece(
        "figure-11",
        "Figure 11: layers",
        "DSR rises with the depth of the layer, and is highest between the convolutional and the "
        "dense part.",
        sensitivity.layers,
    ),
    Piece(
        "figure-12",
        "Figure 12: Grad-CAM",
        "After NIP the model looks where it looked before the attack.",
        attention.grad_cam,
    ),
    Piece(
        "figure-13",
        "Figure 13: image quality",
        "Images have a higher PSNR after NIP than after any other reactive defence.",
        rates.quality,
    ),
    Piece(
        "figure-14",
        "Figure 14: the largest perturbations",
        "UAP and the pixel attack destroy the images of GTSRB.",
        pictures.adversarial,
    ),
    Piece(
        "figure-15",
        "Figures 15 and 16: repaired images",
        "Images repaired by NIP look like the benign ones.",
        pictures.repaired,
    ),
    Piece(
        "figure-18",
        "Figure 18: neuron influence after defences",
        "After NIP neurons have the influence that they had before the attack.",
        influence.defences,
    ),
)
