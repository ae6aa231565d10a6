"""MobileNetV2 of the zoo is torchvision's."""

import torch

from art_nip.zoo.pytorch.mobilenetv2 import MobileNetV2
from tests.tools.conftest import library

models = library("torchvision.models")


def test_with_the_same_weights_it_gives_the_same_logits():
    torch.manual_seed(0)
    theirs, ours = models.mobilenet_v2(weights=None).eval(), MobileNetV2().eval()
    for module in theirs.modules():  # as new, statistics are 0 and 1: those of a trained one differ
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
