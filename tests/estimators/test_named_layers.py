"""Layers that are named: right, or refused with their name and the cause. PyTorch."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from art_nip.estimators.base import adapter_for
from art_nip.estimators.pytorch import modes
from tests.helpers import (
    device,
    make_classifier,
    no_inference_mode,
    not_simulated,
    on_host_only,
)

SHAPE = (3, 16, 16)


def adapter(model, layer):
    return adapter_for(make_classifier("pytorch", model.eval(), SHAPE, 4), layer, "logit")


needs_lstm = not_simulated("The simulated device has no LSTM.")


class Called(nn.Module):
    """Layers called in many ways."""

    def __init__(self):
        super().__init__()
        self.conv, self.lstm = nn.Conv2d(3, 8, 4, 4), nn.LSTM(8, 32, batch_first=True)
        self.att, self.add = nn.MultiheadAttention(32, 2, batch_first=True), Add()
        self.dictionary, self.proj, self.fc = Dictionary(), nn.Linear(32, 4), nn.Linear(32, 4)
        self.relu, self.spare, self.fixed = nn.ReLU(), nn.Linear(3, 3), nn.Linear(32, 32)

    def forward(self, x):
        h, _ = self.lstm(self.relu(self.conv(x)).flatten(2).transpose(1, 2))
        a, _ = self.att(h, h, h)
        h = self.dictionary(self.add(a, h))["h"]
        self.proj(h[:, -1])
        fixed = self.fixed(torch.ones(len(x), 32, device=x.device))
        return self.fc(input=self.relu(h[:, -1]) * fixed)


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class Dictionary(nn.Module):
    def forward(self, h):
        return {"h": h}


REFUSED = {
    "lstm": "gives a tuple, and NIP looks at a single tensor",
    "att": "gives a tuple",
    "dictionary": "gives a dict",
    "add:input": "takes 2 tensors",
    "relu": "is called 2 times in one pass, so its name does not say which call is meant",
    "proj": "is beside the way: no score of the model hangs on it",
    "fixed": "hangs on no image: no gradient of what it handles reaches",
    "spare": "is in the model, but a forward pass does not call it",
    "ad": "is not in the model. The nearest: add",
    "fc:output": "after the colon only 'input' is allowed",
}


@needs_lstm
@pytest.mark.parametrize("layer", REFUSED)
def test_what_cannot_be_looked_at_is_refused(layer):
    with pytest.raises(ValueError, match=f"layer '{layer}' .*{REFUSED[layer]}"):
        adapter(Called(), layer)


@needs_lstm
@pytest.mark.parametrize(
    ("layer", "n"), [("lstm:input", 128), ("att:input", 512), ("add", 512), ("fc:input", 32)]
)
def test_what_can_be_looked_at_is(layer, n):
    assert adapter(Called(), layer).n_neurons == n


@needs_lstm
def test_what_goes_in_by_keyword_is_seen_and_replaced():
    torch.manual_seed(0)
    model = Called().eval()
    a, x = adapter(model, "fc:input"), torch.rand(2, *SHAPE, device=device())
    seen = []
    model.fc.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input"]), with_kwargs=True
    )
    predicted = model(x).argmax(1)
    expected = model.fc.weight[predicted] * seen[0]
    torch.testing.assert_close(a.influence(x), expected.detach())


@needs_lstm
@pytest.mark.parametrize("enabled", [True, False])
def test_recurrent_layers_are_looked_at_without_cudnn(enabled, monkeypatch):
    """cuDNN has no gradient of them in evaluation mode; on a CPU its switch changes nothing."""
    monkeypatch.setattr(modes, "_is_of_cudnn", lambda module: isinstance(module, nn.RNNBase))
    monkeypatch.setattr(torch.backends.cudnn, "enabled", enabled)
    model = Called().eval()
    a, x = adapter(model, "fc:input"), torch.rand(2, *SHAPE, device=device())
    seen = []
    model.lstm.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    for look in (a.influence, a.observer(torch.sign), lambda x: a.connected(x, ())):
        look(x)
        assert torch.backends.cudnn.enabled is enabled
    assert seen
    assert not any(seen)


def test_influence_of_what_goes_elsewhere_too_is_that_of_all_ways():
    """What a block of a ResNet takes goes past it too."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return x + self.conv(x)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), Block(), nn.Flatten(), nn.Linear(128, 4)).eval()
    by_part, by_block = adapter(model, "1.conv:input"), adapter(model, "1:input")
    x = torch.rand(3, *SHAPE, device=device())
    torch.testing.assert_close(by_part.influence(x), by_block.influence(x))
    torch.testing.assert_close(
        by_part.observer(torch.sign)(x)[1], by_block.observer(torch.sign)(x)[1]
    )


def test_what_is_changed_in_place_elsewhere_is_refused():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return self.conv(x) + x.relu_()

    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), Block(), nn.Flatten(), nn.Linear(128, 4))
    with pytest.raises(ValueError, match=r"'1.conv:input' handles is changed in place elsewhere"):
        adapter(model, "1.conv:input")


class TokensFirst(nn.Module):
    """PyTorch's transformers take tokens first unless told otherwise."""

    def __init__(self, size):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 32, size, size), nn.Linear(32, 4)
        self.enc = nn.TransformerEncoderLayer(32, 2, 64)

    def forward(self, x):
        return self.fc(self.enc(self.conv(x).flatten(2).permute(2, 0, 1)).mean(0))


def test_tokens_first_are_refused_also_if_there_are_as_many_as_images(monkeypatch):
    with pytest.raises(ValueError, match=r"'enc' handles a tensor of shape \(16, 5, 32\) for 5 im"):
        adapter(TokensFirst(4), "enc")
    model = TokensFirst(8)
    monkeypatch.setattr("art_nip.estimators.probing.N_PROBES", 4)
    with pytest.raises(ValueError, match="layer 'enc' mixes the images of a batch"):
        adapter(model, "enc")
    assert str(adapter(model, "auto").layer) == "fc:input"


def test_a_model_that_works_on_the_whole_batch_is_refused():
    class Whole(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Whole(), nn.Flatten(), nn.Linear(784, 4))
    with pytest.raises(ValueError, match="mixes the images of a batch"):
        adapter(model, "auto")


def test_models_of_torch_jit_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 4))
    for compiled in (torch.jit.trace(model, torch.zeros(1, *SHAPE)), torch.jit.script(model)):
        with pytest.raises(TypeError, match=r"compiled by torch.jit, and no hook sees its layers"):
            adapter(compiled, "auto")


class Parts(nn.Module):
    """A backbone and a head, of which torch.jit may have compiled either."""

    def __init__(self, backbone=lambda part: part, head=lambda part: part):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3)
        self.backbone = backbone(nn.Sequential(nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten()))
        self.fc = head(nn.Linear(576, 4))

    def forward(self, x):
        return self.fc(self.backbone(self.stem(x)))


def traced(part):
    return torch.jit.trace(part, torch.zeros(2, 8, 14, 14))


@pytest.mark.parametrize("compiled", [torch.jit.script, traced])
def test_a_part_that_torch_jit_compiled_is_passed_over(compiled):
    x, plain = torch.rand(2, *SHAPE, device=device()), adapter(Parts(), "auto")
    a = adapter(Parts(compiled), "auto")
    assert str(a.layer) == "fc:input"
    torch.testing.assert_close(a.influence(x), plain.influence(x))
    with pytest.raises(ValueError, match=r"layer 'backbone.0' was compiled by torch.jit"):
        adapter(Parts(compiled), "backbone.0")
    if compiled is traced:
        assert adapter(Parts(compiled), "backbone").n_neurons == 576


def test_where_torch_jit_hides_the_dense_part_auto_says_so():
    with pytest.raises(ValueError, match=r"torch.jit compiled parts .* cannot see: fc. Name a lay"):
        adapter(Parts(head=torch.jit.script), "auto")


@pytest.mark.parametrize(
    "cause",
    [
        pytest.param("Inference tensors cannot be saved", marks=no_inference_mode),
        pytest.param("Can't call numpy", marks=on_host_only("No tensor there is an array.")),
    ],
)
def test_a_model_that_runs_without_gradients_only_is_refused(cause):
    class Without(Parts):
        def forward(self, x):
            if cause.startswith("Can't"):
                return super().forward(torch.from_numpy(x.numpy()))
            with torch.inference_mode():
                x = self.backbone(self.stem(x))
            return self.fc(x)

    with pytest.raises(ValueError, match=f"does not run on .* with gradients .*: {cause}"):
        adapter(Without(), "auto")


def test_scores_that_lose_the_axis_of_a_single_image_are_refused():
    class Squeezed(Parts):
        def forward(self, x):
            return super().forward(x).squeeze()

    a = adapter(Squeezed(), "auto")
    assert a.influence(torch.rand(2, *SHAPE, device=device())).shape == (2, 576)
    with pytest.raises(ValueError, match=r"scores of shape \(4,\) for a batch of 1; .* squeeze"):
        a.influence(torch.rand(1, *SHAPE, device=device()))


def test_a_model_that_gives_no_single_tensor_is_refused():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3)), x

    with pytest.raises(ValueError, match="The model gives a tuple; NIP needs one tensor of scores"):
        adapter(Both(), "conv")


def test_a_backbone_without_gradients_is_refused_when_they_are_needed():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(1568, 4)

        def forward(self, x):
            with torch.no_grad():
                h = self.conv(x).relu().flatten(1)
            return self.fc(h)

    a = adapter(Frozen(), "auto")
    assert (str(a.layer), a.n_neurons) == ("fc:input", 1568)
    assert np.isfinite(a.influence(torch.rand(2, *SHAPE, device=device())).numpy(force=True)).all()
    with pytest.raises(ValueError, match="No gradient of the model's scores reaches the images"):
        a.observer(lambda s: s)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("auto", "gradients go past the convolutions unseen"), ("fc:input", "cannot take the grad")],
)
def test_what_is_recomputed_without_a_graph_is_refused(layer, message):
    class Recomputed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

        def forward(self, x):
            return self.fc(checkpoint(self.conv, x, use_reentrant=True).mean((2, 3)))

    with pytest.raises(ValueError, match=message):
        adapter(Recomputed(), layer)


def test_a_view_that_is_changed_in_place_later_can_be_named():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Flatten(), nn.ReLU(), nn.Linear(784, 4)]
    x, plain = torch.rand(2, *SHAPE, device=device()), adapter(nn.Sequential(*layers), "1")
    layers[2] = nn.ReLU(inplace=True)
    in_place = adapter(nn.Sequential(*layers), "1")
    torch.testing.assert_close(in_place.influence(x), plain.influence(x))


def test_an_estimator_with_another_order_than_the_model_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 4))
    classifier = make_classifier("pytorch", model, SHAPE, 4, channels_first=False)
    with pytest.raises(ValueError, match=r"channels_first=False, but layer '0' takes .* first"):
        adapter_for(classifier, "auto", "logit")
