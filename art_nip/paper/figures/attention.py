"""Figure 12: where the model looks, by Grad-CAM, before and after attacks and NIP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from art_nip.data import Images
from art_nip.paper.figures.examples import attacked, defence, defended
from art_nip.paper.figures.gallery import gallery
from art_nip.paper.setting import Made, Setting, lacking
from art_nip.paper.subjects import Loaded, subjects
from art_nip.utils.frameworks import Framework, code_of, framework_of

if TYPE_CHECKING:
    pass

ATTACKS = ("pgd", "boundary")

SHOWN = 3
"""How many images."""


def grad_cam(setting: Setting) -> Made:
    """Draw Fig. 12: the image, attacked by PGD and Boundary, and each of these after NIP.

    Captum computes the maps, in PyTorch; there is no such figure of TensorFlow's models.
    """
    found, without = {}, []
    for subject in subjects(setting):
        if framework_of(subject.classifier) is not Framework.PYTORCH:
            without.append(subject.label)
            continue
        images = attacked(subject, setting, SHOWN)
        nip = defence(subject, setting, "nip")
        columns: dict[str, Images] = {"benign": subject.x[:SHOWN]}
        for attack in [name for name in ATTACKS if name in images]:
            columns[attack] = images[attack]
            columns[f"{attack}, NIP"] = defended(nip, images[attack])
        maps = {name: _maps(subject, x) for name, x in columns.items()}
        headings = [subject.label_names[label] for label in subject.y[:SHOWN]]
        found[subject.name] = gallery(columns, headings, subject, maps)
    return Made(lacking(without, "Captum draws Grad-CAM of PyTorch's models only"), found)


def _maps(subject: Loaded, x: Images) -> Images:
    """Return Grad-CAM of the predicted class, from 0 to 1, shape (N, H, W)."""
    code = code_of("art_nip.paper.figures", Framework.PYTORCH)
    maps: Images = code.grad_cam(subject.classifier, x)
    largest = maps.max(axis=(1, 2), keepdims=True)
    shares: Images = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    return shares
