"""Models of torchvision and timm: their own metadata, weights of files, names, and the journey."""

import numpy as np
import pytest
import torch

from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan.serialization import packed, unpacked
from art_nip.zoo import origins
from tests.tools.conftest import library

torchvision, timm = library("torchvision"), library("timm")

SHAPE = (3, 64, 64)
X = np.random.default_rng(0).random((3, *SHAPE), np.float32)


def standardised(mean, std):
    mean, std = (np.float32(m).reshape(3, 1, 1) for m in (mean, std))
    return torch.from_numpy((X - mean) / std)


@pytest.mark.parametrize(
    ("name", "weights", "mean", "std", "side"),
    [
        ("squeezenet1_1", None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
        ("mobilenet_v3_small", None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
    ],
)
def test_torchvision_says_how_images_are_prepared(name, weights, mean, std, side):
    classifier = origins.load(torchvision=name, weights=weights)
    assert (tuple(classifier.input_shape), classifier.nb_classes) == ((3, side, side), 1000)
    np.testing.assert_allclose(classifier.preprocessing.mean.ravel(), mean, rtol=1e-6)
    np.testing.assert_allclose(classifier.preprocessing.std.ravel(), std, rtol=1e-6)


def test_a_file_for_torchvision(tmp_path):
    torch.manual_seed(1)
    model = torchvision.models.squeezenet1_1(num_classes=7).eval()
    torch.save({"model": model.state_dict(), "epoch": 1}, tmp_path / "mine.pth")
    given = {
        "torchvision": "squeezenet1_1",
        "weights": tmp_path / "mine.pth",
        "nb_classes": 7,
        "input_shape": SHAPE,
    }
    with torch.no_grad():
        logits = model(standardised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).numpy()
    classifier = origins.load(**given)
    np.testing.assert_allclose(classifier.predict(X), logits, rtol=1e-4, atol=1e-5)
    some = origins.load(**given, classes=[6, 0])
    np.testing.assert_allclose(some.predict(X), logits[:, [6, 0]], rtol=1e-4, atol=1e-5)
    again = unpacked(packed(some))
    np.testing.assert_allclose(again.predict(X), some.predict(X), atol=1e-6)
    assert len({fingerprint(c) for c in (some, again, origins.load(**given, classes=[6, 0]))}) == 1
    with pytest.raises(ValueError, match="holds the weights of another model"):
        origins.load(**{**given, "nb_classes": 8})


def test_the_fetched_weights_of_torchvision_by_name(tmp_path, monkeypatch):
    torch.manual_seed(1)
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    model = torchvision.models.squeezenet1_1().eval()
    # Where torchvision looks before it fetches; the hash is that of other weights.
    monkeypatch.setattr(
        type(weights), "get_state_dict", lambda *_, **__: model.state_dict(), raising=True
    )
    for name in ("IMAGENET1K_V1", "default"):
        classifier = origins.load(torchvision="squeezenet1_1", weights=name, input_shape=SHAPE)
        with torch.no_grad():
            logits = model(standardised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))).numpy()
        np.testing.assert_allclose(classifier.predict(X), logits, rtol=1e-4, atol=1e-5)


def test_timm_says_how_images_are_prepared():
    classifier = origins.load(timm="test_vit", weights=None)
    data = timm.data.resolve_model_data_config(timm.create_model("test_vit"))
    assert tuple(classifier.input_shape) == tuple(data["input_size"]) == (3, 160, 160)
    np.testing.assert_allclose(classifier.preprocessing.mean.ravel(), data["mean"], rtol=1e-6)
    np.testing.assert_allclose(classifier.preprocessing.std.ravel(), data["std"], rtol=1e-6)


def test_a_file_for_timm(tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("test_resnet", num_classes=6).eval()
    torch.save(model.state_dict(), tmp_path / "mine.pt")
    given = {
        "timm": "test_resnet",
        "weights": str(tmp_path / "mine.pt"),
        "nb_classes": 6,
        "input_shape": SHAPE,
    }
    data = timm.data.resolve_model_data_config(model)
    with torch.no_grad():
        logits = model(standardised(data["mean"], data["std"])).numpy()
    classifier = origins.load(**given, classes=[5, 1, 3])
    np.testing.assert_allclose(classifier.predict(X), logits[:, [5, 1, 3]], rtol=1e-4, atol=1e-5)
    again = unpacked(packed(classifier))
    np.testing.assert_allclose(again.predict(X), classifier.predict(X), atol=1e-6)


def test_random_weights_are_the_same_each_time():
    given = {"timm": "test_efficientnet", "weights": None, "nb_classes": 5, "input_shape": SHAPE}
    first, again = (origins.load(**given) for _ in range(2))
    assert fingerprint(first) == fingerprint(again)
    assert first.nb_classes == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"torchvision": "resnet81"}, "Did you mean 'resnet18'? Of its"),
        ({"torchvision": "fcn_resnet50"}, "Unknown model of torchvision 'fcn_resnet50'"),
        ({"torchvision": "resnet18", "weights": "IMAGENET1K_V9"}, "default, IMAGENET1K_V1, or"),
        ({"timm": "resnet81", "weights": None}, "Unknown model of timm 'resnet81'"),
        ({"timm": "test_mambaout", "weights": "none.pt"}, "there is no file 'none.pt'"),
        (
            {"timm": "vit_tiny_patch16_224", "weights": None, "input_shape": SHAPE},
            "does not run on images of shape (3, 64, 64)",
        ),
        ({"timm": "test_vit", "weights": None, "arguments": {"deep": 1}}, "cannot be made: "),
        ({"timm": "test_vit", "weights": None, "classes": [0, 1000]}, "tells 1000 classes apart"),
        ({"timm": "test_resnet", "weights": None, "mean": [0, 0], "std": 1}, "mean has 2 values"),
    ],
)
def test_what_they_do_not_have(given, message):
    with pytest.raises((ValueError, OSError)) as error:
        origins.load(**given)
    assert message in str(error.value)
