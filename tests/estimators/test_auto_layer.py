"""Which layer "auto" means in PyTorch models of many kinds, written small."""

import numpy as np
import pytest
import torch
from torch import nn

from art_nip import NIPPreprocessor
from art_nip.estimators.base import adapter_for
from tests.helpers import device, make_classifier

SHAPE = (3, 16, 16)


def automatic(model, shape=SHAPE, classes=4):
    classifier = make_classifier("pytorch", model.eval(), shape, classes)
    return adapter_for(classifier, "auto", "probability")


class Written(nn.Module):
    """A model of named layers, whose pass is given as a function of it and the images."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.written = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.written(self, x)


class Gate(nn.Module):
    """Squeeze-and-excitation, with dense layers or with convolutions of one pixel."""

    def __init__(self, channels, dense):
        super().__init__()
        self.dense = dense
        make = nn.Linear if dense else lambda a, b: nn.Conv2d(a, b, 1)
        self.fc1, self.fc2 = make(channels, channels // 2), make(channels // 2, channels)

    def forward(self, x):
        squeezed = x.mean((2, 3)) if self.dense else x.mean((2, 3), keepdim=True)
        gate = self.fc2(self.fc1(squeezed).relu()).sigmoid()
        return x * (gate[:, :, None, None] if self.dense else gate)


def conv(a=3, b=16, size=3, **keywords):
    return nn.Conv2d(a, b, size, padding=size // 2, **keywords)


def pooled(x):
    return x.mean((2, 3))


def tokens(x):
    return x.flatten(2).transpose(1, 2)


# Plain ones, as torchvision has them


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = conv(16, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv(16, 16), nn.BatchNorm2d(16)

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class Inverted(nn.Module):
    """MobileNetV3's and EfficientNet's block."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(16, 32, 1), nn.Hardswish(), conv(32, 32, groups=32), Gate(32, dense=False),
            nn.Conv2d(32, 16, 1),
        )  # fmt: skip

    def forward(self, x):
        return x + self.block(x)


class Dense(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), conv(channels, 8)

    def forward(self, x):
        return torch.cat([x, self.conv(self.norm(x).relu())], 1)


class Next(nn.Module):
    """ConvNeXt's block: dense layers on maps with channels last."""

    def __init__(self):
        super().__init__()
        self.dwconv, self.norm = conv(16, 16, groups=16), nn.LayerNorm(16)
        self.pw1, self.pw2 = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        out = self.pw2(nn.functional.gelu(self.pw1(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))))
        return x + out.permute(0, 3, 1, 2)


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 1, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
        self.encoder, self.norm = nn.TransformerEncoder(layer, 2), nn.LayerNorm(32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), tokens(self.patch(x))], 1)
        return self.head(self.norm(self.encoder(x))[:, 0])


PLAIN = {
    "VGG": (
        lambda: nn.Sequential(
            conv(), nn.ReLU(True), nn.MaxPool2d(2), conv(16, 16), nn.ReLU(True),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(True), nn.Dropout(),
            nn.Linear(32, 4),
        ),
        "7:input",
    ),
    "ResNet": (
        lambda: Written(
            lambda m, x: m.fc(torch.flatten(m.avgpool(m.layer2(m.layer1(m.conv1(x)))), 1)),
            conv1=conv(), layer1=Residual(), layer2=Residual(), avgpool=nn.AdaptiveAvgPool2d(1),
            fc=nn.Linear(16, 4),
        ),
        "fc:input",
    ),
    "DenseNet": (
        lambda: Written(
            lambda m, x: m.classifier(pooled(m.features(x).relu())),
            features=nn.Sequential(conv(), Dense(16), Dense(24)), classifier=nn.Linear(32, 4),
        ),
        "classifier:input",
    ),
    "MobileNetV3": (
        lambda: Written(
            lambda m, x: m.classifier(m.avgpool(m.features(x)).flatten(1)),
            features=nn.Sequential(conv(), Inverted(), Inverted()),
            avgpool=nn.AdaptiveAvgPool2d(1),
            classifier=nn.Sequential(nn.Linear(16, 32), nn.Hardswish(), nn.Linear(32, 4)),
        ),
        "classifier.0:input",
    ),
    "ConvNeXt": (
        lambda: Written(
            lambda m, x: m.head(m.norm(pooled(m.stages(m.stem(x))))),
            stem=nn.Conv2d(3, 16, 4, 4), stages=nn.Sequential(Next(), Next()),
            norm=nn.LayerNorm(16), head=nn.Linear(16, 4),
        ),
        "head:input",
    ),
    "ViT": (ViT, "head:input"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_of_usual_models_it_is_what_the_classifying_part_takes(name):
    make, expected = PLAIN[name]
    assert str(automatic(make()).layer) == expected


# Ones in which dense layers stand elsewhere too


def class_attention(m, x):
    """The query is a learned token, as in CaiT; the images come by the values."""
    t = tokens(m.patch(x))
    q = m.q(m.token.expand(len(x), -1) + 0 * x.mean((1, 2, 3))[:, None])
    weights = (m.k(t) @ q[:, :, None]).squeeze(2).softmax(1)
    cls = (weights[:, :, None] * m.v(t)).sum(1)
    return m.head(cls + m.mlp(cls))


def with_token(model):
    model.token = nn.Parameter(torch.randn(1, 16))
    return model


ELSEWHERE = {
    "gates of dense layers": (
        lambda: Written(
            lambda m, x: m.fc(pooled(m.gate2(m.conv2(m.gate1(m.conv1(x)))))),
            conv1=conv(), gate1=Gate(16, True), conv2=conv(16, 16), gate2=Gate(16, True),
            fc=nn.Linear(16, 4),
        ),
        "fc:input",
    ),
    "a gate of vectors": (
        lambda: Written(
            lambda m, x: (lambda v: m.fc(v * m.gate(v).sigmoid()))(pooled(m.conv(x))),
            conv=conv(), gate=nn.Linear(16, 16), fc=nn.Linear(16, 4),
        ),
        "fc:input",
    ),
    "the query of a class token": (
        lambda: with_token(
            Written(
                class_attention, patch=nn.Conv2d(3, 16, 4, 4), q=nn.Linear(16, 16),
                k=nn.Linear(16, 16), v=nn.Linear(16, 16), mlp=nn.Linear(16, 16),
                head=nn.Linear(16, 4),
            )
        ),
        "head:input",
    ),
    "convolutions of one pixel among the features": (
        lambda: nn.Sequential(
            conv(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 24, 1), nn.ReLU(), nn.Conv2d(24, 32, 1),
            nn.Flatten(), nn.Linear(32, 4),
        ),
        "6:input",
    ),
    "a projection called first": (
        lambda: Written(
            lambda m, x: (lambda v: (m.projection(v), m.fc(v))[1])(pooled(m.conv(x))),
            conv=conv(), projection=nn.Linear(16, 8), fc=nn.Linear(16, 4),
        ),
        "fc:input",
    ),
    "windows folded into the batch": (
        lambda: Written(
            lambda m, x: m.fc(m.window(m.conv(x).reshape(-1, 64)).relu().reshape(len(x), -1)),
            conv=nn.Conv2d(3, 8, 4, 4), window=nn.Linear(64, 64), fc=nn.Linear(128, 4),
        ),
        "fc:input",
    ),
    "keywords": (
        lambda: Written(
            lambda m, x: m.fc(input=pooled(m.conv(input=x))), conv=conv(), fc=nn.Linear(16, 4)
        ),
        "fc:input",
    ),
    "a dense part behind a dense bottleneck": (
        lambda: Written(
            lambda m, x: m.fc(m.conv2(m.fold(m.flat(m.conv1(x).flatten(1)))).flatten(1)),
            conv1=nn.Conv2d(3, 4, 4, 4), flat=nn.Linear(64, 64), fold=nn.Unflatten(1, (4, 4, 4)),
            conv2=nn.Conv2d(4, 4, 1), fc=nn.Linear(64, 4),
        ),
        "fc:input",
    ),
    "features that a container pools": (
        lambda: Written(
            lambda m, x: m.a(m.features(x)) + m.b(m.features(x).detach()) * 0,
            features=nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            a=nn.Linear(16, 4), b=nn.Linear(16, 4),
        ),
        "a:input",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_dense_layers_beside_the_way_are_passed_over(name):
    make, expected = ELSEWHERE[name]
    assert str(automatic(make()).layer) == expected


# A dense part written as convolutions


def test_a_dense_part_of_convolutions_as_large_as_the_map():
    """As that of fully convolutional VGG."""
    model = nn.Sequential(
        conv(), nn.ReLU(), nn.MaxPool2d(4), conv(16, 16), nn.ReLU(), nn.Conv2d(16, 32, 4),
        nn.ReLU(), nn.Conv2d(32, 4, 1), nn.Flatten(),
    )  # fmt: skip
    a = automatic(model)
    assert (str(a.layer), a.n_neurons) == ("5:input", 256)


def test_a_convolution_that_pads_the_map_itself_is_no_dense_layer():
    class Padding(nn.Conv2d):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))

    model = nn.Sequential(
        nn.Conv2d(3, 16, 5, 5), Padding(16, 20, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(20, 4, 1),
        nn.Flatten(),
    )  # fmt: skip
    a = automatic(model)
    assert (str(a.layer), a.n_neurons) == ("3:input", 20)


def test_a_dense_part_of_convolutions_of_one_pixel():
    """As Keras once wrote MobileNet's head; gates of such convolutions are passed over."""
    model = nn.Sequential(
        conv(), Gate(16, False), nn.Conv2d(16, 20, 1), Gate(20, False), nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(20, 10, 1), nn.Hardswish(), nn.Conv2d(10, 4, 1), nn.Flatten(),
    )  # fmt: skip
    a = automatic(model)
    assert (str(a.layer), a.n_neurons) == ("5:input", 20)


# Several heads


class Heads(nn.Module):
    """Two heads on one feature; they flatten it themselves, or it comes flattened."""

    def __init__(self, flatten, before=nn.Identity):
        super().__init__()
        self.features = nn.Sequential(conv(), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.flatten = flatten
        self.one, self.two = (nn.Sequential(before(), nn.Linear(64, 4)) for _ in range(2))

    def forward(self, x):
        x = self.features(x)
        if self.flatten:
            return self.one(x.flatten(1)) + self.two(x.flatten(1))
        x = x.flatten(1)
        return self.one(x) + self.two(x)


@pytest.mark.parametrize(("flatten", "expected"), [(True, "features"), (False, "one.1:input")])
@pytest.mark.parametrize("layer", ["auto", "features.2"])
def test_several_heads_count_together(flatten, expected, layer):
    """Influence is of the feature on the scores, whichever head it goes through."""
    torch.manual_seed(0)
    model = Heads(flatten).eval()
    classifier = make_classifier("pytorch", model, SHAPE, 4)
    a = adapter_for(classifier, layer, "logit")
    assert str(a.layer) == (expected if layer == "auto" else layer)
    x = torch.rand(3, *SHAPE, device=device())
    with torch.no_grad():
        phi = model.features(x).flatten(1)
        predicted = model(x).argmax(1)
        weights = (model.one[1].weight + model.two[1].weight)[predicted]
    torch.testing.assert_close(a.influence(x), weights * phi)
    torch.testing.assert_close(a.observer(torch.zeros_like)(x)[1], weights * phi)


def test_heads_with_norms_of_their_own_are_headed_by_the_feature():
    model = Heads(False, before=lambda: nn.BatchNorm1d(64))
    assert str(automatic(model).layer) == "one:input"


def test_a_dense_layer_called_twice_has_no_name_of_its_own():
    model = Written(
        lambda m, x: m.fc(m.fc(m.pool(m.conv(x)).flatten(1)))[:, :4],
        conv=conv(), pool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(16, 16),
    )  # fmt: skip
    assert str(automatic(model).layer) == "pool"


# Refused


class Auxiliary(nn.Module):
    """Its scores hang on early features past the later ones."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(), conv(16, 16)
        self.aux, self.fc = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        x = self.conv1(x)
        return self.aux(pooled(x)) + self.fc(pooled(self.conv2(x)))


REFUSED = {
    "an auxiliary head": (Auxiliary, "every score passes through.*Name a layer: conv1"),
    "no dense layer": (
        lambda: nn.Sequential(conv(), nn.Conv2d(16, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "no dense layer that takes one vector for each image was called after the last "
        "convolution. Name a layer: 0, 1, 2, 3",
    ),
    "no convolution": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 20), nn.Linear(20, 4)),
        "no convolution was called where NIP sees it .* Name a layer: 0, 1, 2",
    ),
    "a convolution beside the way": (
        lambda: Written(
            lambda m, x: (m.conv(x), m.fc(x.flatten(1)))[1], conv=conv(), fc=nn.Linear(768, 4)
        ),
        "hang on no convolution that the images reach. Name a layer: fc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_where_there_is_none_the_layers_that_could_be_meant_are_listed(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        automatic(make())


def test_of_many_layers_the_last_ones_are_listed():
    body = [layer for i in range(20) for layer in (conv(3 if i == 0 else 16), nn.ReLU())]
    model = nn.Sequential(*body, conv(16, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"Name a layer: … \(43 in all\) …, 13, .*, 40, 41, 42\."):
        automatic(model)


def test_the_whole_way_is_defended():
    """With a gate before it, the layer of the fault was one that hardly any image changed."""
    torch.manual_seed(0)
    model = ELSEWHERE["the query of a class token"][0]().eval()
    classifier = make_classifier("pytorch", model, SHAPE, 4)
    nip = NIPPreprocessor.for_estimator(classifier, k1=2, k2=2, verbose=False)
    x = np.random.default_rng(0).random((20, *SHAPE), np.float32)
    nip.fit(x)
    assert np.abs(nip(x)[0] - x).max() > 0.05
