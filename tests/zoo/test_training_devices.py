"""Training on a GPU: nothing waits for the loss, and bfloat16 is used where it is no emulation."""

import numpy as np
import pytest
import torch

from art_nip.zoo import training
from art_nip.zoo.pytorch import training as of_pytorch
from art_nip.zoo.training import Recipe
from tests.helpers import FRAMEWORKS
from tests.models import SMALL_SHAPE, small


class Loss:
    """A loss that tells when somebody waits for it."""

    def __init__(self, waits):
        self._waits = waits

    def __float__(self):
        self._waits.append(self)
        return 1.0


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("verbose", [False, True])
def test_training_waits_for_no_loss_before_the_epoch_is_over(framework, verbose, monkeypatch):
    waits, steps = [], []

    def step(*_):
        steps.append(len(waits))
        return Loss(waits)

    monkeypatch.setattr(training, "training_step", lambda *_: step)
    x = np.zeros((24, *SMALL_SHAPE[framework]), np.float32)
    recipe = Recipe(epochs=2, batch_size=4)
    training.train(small(framework), x, np.zeros(24, np.int64), recipe, verbose=verbose)
    assert steps == [0] * 6 + [6 * verbose] * 6
    assert len(waits) == 12 * verbose


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_step_gives_the_loss_as_a_tensor(framework):
    recipe = Recipe(bfloat16=False)
    x = np.random.default_rng(0).random((8, *SMALL_SHAPE[framework]), np.float32)
    loss = training.training_step(small(framework), recipe)(x, x, np.arange(8) % 4, 1e-3)
    assert hasattr(loss, "device")
    assert 0 < float(loss) < 10


@pytest.mark.parametrize(("capability", "known"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_before_ampere_only_emulate_bfloat16(capability, known, monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability
    )
    device = torch.device("cuda:1")
    assert of_pytorch._gpu_knows_bfloat16(device) is known
    assert asked == [device]


def test_weights_keep_their_order_in_memory_and_move_as_by_the_plain_optimiser(monkeypatch):
    rng = np.random.default_rng(0)
    batches = [
        (rng.random((8, *SMALL_SHAPE["pytorch"]), np.float32), rng.integers(0, 4, 8))
        for _ in range(3)
    ]
    trained = []
    for fused in (of_pytorch.FUSED, ()):
        monkeypatch.setattr(of_pytorch, "FUSED", fused)
        torch.manual_seed(0)
        model = small("pytorch")
        step = training.training_step(model, Recipe(bfloat16=False))
        for x, y in batches:
            step(x, x, y, 1e-3)
        assert all(weight.is_contiguous() for weight in model.parameters())
        trained.append([weight.detach().numpy() for weight in model.parameters()])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_pytorch_without_the_one_pass_on_this_device_takes_the_plain_optimiser(monkeypatch):
    plain, made = torch.optim.AdamW, []

    def before_24(parameters, fused=False, **keywords):
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be … of ['cuda', 'xpu'].")
        made.append(plain(parameters, **keywords))
        return made[-1]

    monkeypatch.setattr(torch.optim, "AdamW", before_24)
    model = small("pytorch")
    before = [weight.detach().clone() for weight in model.parameters()]
    x = np.random.default_rng(0).random((8, *SMALL_SHAPE["pytorch"]), np.float32)
    training.training_step(model, Recipe(bfloat16=False))(x, x, np.arange(8) % 4, 1e-3)
    assert len(made) == 1
    assert all((new != old).any() for new, old in zip(model.parameters(), before, strict=True))
