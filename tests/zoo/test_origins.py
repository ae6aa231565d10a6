"""Models by where they come from: what the library says of them is what the classifier does."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan.serialization import packed, unpacked
from art_nip.utils.frameworks import framework_of
from art_nip.zoo import origins
from tests.helpers import to_framework
from tests.models import SMALL_SHAPE, small

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def images(framework="pytorch", n=4, side=16):
    x = np.random.default_rng(0).random((n, 3, side, side), np.float32)
    return to_framework(x, framework)


# A file of weights, and the function that makes the model


@pytest.fixture
def own(framework, tmp_path):
    """A model, its file, and what says where it comes from."""
    model = small(framework, gain=3.0)
    path = tmp_path / ("own.pt" if framework == "pytorch" else "own.weights.h5")
    if framework == "pytorch":
        import torch

        torch.save(model.state_dict(), path)
    else:
        model.save_weights(path)
    given = {
        "checkpoint": path,
        "factory": "tests.models:small",
        "arguments": {"framework": framework},
        "input_shape": SMALL_SHAPE[framework],
        "mean": MEAN,
        "std": STD,
    }
    return SimpleNamespace(model=model, path=path, given=given)


def logits(framework, model, x):
    if framework == "pytorch":
        import torch

        with torch.no_grad():
            return model.eval()(torch.from_numpy(x)).numpy()
    return model(x, training=False).numpy()


def test_a_checkpoint_is_the_model_that_was_saved(own, framework):
    classifier = origins.load(**own.given)
    x = images(framework)
    mean, std = (np.float32(m) for m in (MEAN, STD))
    if framework == "pytorch":
        mean, std = mean.reshape(3, 1, 1), std.reshape(3, 1, 1)
    expected = logits(framework, own.model, (x - mean) / std)
    np.testing.assert_allclose(classifier.predict(x), expected, rtol=1e-4, atol=1e-5)
    assert str(framework_of(classifier)) == framework
    assert classifier.nb_classes == 4
    assert tuple(classifier.input_shape) == SMALL_SHAPE[framework]
    assert tuple(classifier.clip_values) == (0, 1)
    if framework == "pytorch":
        assert not any(module.training for module in classifier.model.modules())


def test_classes_are_kept_in_their_order(own, framework):
    whole, some = (
        origins.load(**own.given, **more) for more in ({}, {"classes": np.array([2, 0])})
    )
    x = images(framework)
    np.testing.assert_allclose(some.predict(x), whole.predict(x)[:, [2, 0]], atol=1e-6)
    assert some.nb_classes == 2
    y = np.array([0, 1, 1, 0])
    assert np.abs(some.loss_gradient(x, np.eye(2)[y])).max() > 0


def test_a_range_of_ones_own_scales_what_is_given_for_it(own, framework):
    given = {**own.given, "mean": 20, "std": [100, 50, 70], "clip_values": (0, 255)}
    x = 255 * images(framework)
    mean, std = np.float32(20), np.float32([100, 50, 70])
    std = std.reshape(3, 1, 1) if framework == "pytorch" else std
    expected = logits(framework, own.model, (x - mean) / std)
    np.testing.assert_allclose(origins.load(**given).predict(x), expected, rtol=1e-4, atol=1e-5)


def test_a_model_by_origin_travels_and_has_a_fingerprint_of_its_weights(own, framework):
    given = {**own.given, "classes": [3, 1]}
    first, again = origins.load(**given), origins.load(**given)
    x = images(framework)
    np.testing.assert_array_equal(unpacked(packed(first)).predict(x), first.predict(x))
    assert fingerprint(first) == fingerprint(again) == fingerprint(unpacked(packed(first)))
    others = [
        origins.load(**{**given, "classes": [1, 3]}),
        origins.load(**{**given, "std": 1, "mean": 0}),
    ]
    values = own.model.get_weights() if framework == "tensorflow" else None
    if framework == "tensorflow":
        own.model.set_weights([1.5 * value for value in values])
        own.model.save_weights(own.path)
    else:
        import torch

        torch.save({name: 1.5 * w for name, w in own.model.state_dict().items()}, own.path)
    others.append(origins.load(**given))
    assert len({fingerprint(first), *map(fingerprint, others)}) == 4


def of_precision(framework, dtype):
    """Return a model whose weights are in another precision than images are."""
    model = small(framework, dtype=dtype)
    if framework == "pytorch":
        import torch

        model = model.to(getattr(torch, dtype))
    return model


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_in_any_precision_take_the_images_of_art(framework, dtype, tmp_path):
    model = of_precision(framework, dtype)
    path = tmp_path / ("own.pt" if framework == "pytorch" else "own.weights.h5")
    if framework == "pytorch":
        import torch

        torch.save(model.state_dict(), path)
        model = model.float()
    else:
        model.save_weights(path)
    classifier = origins.load(
        checkpoint=path,
        factory=f"{__name__}:of_precision",
        arguments={"framework": framework, "dtype": dtype},
        input_shape=SMALL_SHAPE[framework],
        mean=0,
        std=1,
    )
    x = images(framework)
    expected = logits(framework, model, x)
    np.testing.assert_allclose(classifier.predict(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["nested", "parallel", "safetensors", "one of several"])
def test_files_of_pytorch_in_their_usual_forms(kind, tmp_path):
    import torch
    from safetensors.torch import save_file

    model = small("pytorch", gain=2.0)
    weights, more = model.state_dict(), {}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "nested":
        torch.save({"state_dict": weights, "epoch": 3, "optimizer": {"lr": 0.1}}, path)
    elif kind == "parallel":
        torch.save({f"module.{name}": value for name, value in weights.items()}, path)
    elif kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"model": small("pytorch").state_dict(), "ema": weights}, path)
        more = {"entry": "ema"}
    classifier = origins.load(
        checkpoint=str(path),
        factory="tests.models:small",
        arguments={"framework": "pytorch"},
        input_shape=[3, 16, 16],
        mean=0,
        std=1,
        **more,
    )
    np.testing.assert_allclose(
        classifier.predict(images()), logits("pytorch", model, images()), atol=1e-5
    )


def test_files_that_hold_no_weights_of_the_model(tmp_path):
    import torch

    def refusal(content=None):
        path = tmp_path / "w.pt"
        if content is not None:
            torch.save(content, path)
        with pytest.raises(ValueError, match=r"w\.pt") as error:
            origins.load(
                checkpoint=path,
                factory="tests.models:small",
                arguments={"framework": "pytorch"},
                input_shape=[3, 16, 16],
                mean=0,
                std=1,
            )
        return str(error.value)

    weights = small("pytorch").state_dict()
    assert "under these entries it holds some: a, b" in refusal({"a": weights, "b": weights})
    assert "holds the weights of another model" in refusal({"0.weight": torch.zeros(1)})
    assert "which could be code and is not read" in refusal(small("pytorch"))
    assert "holds no single set of weights" in refusal([1, 2])
    for content in (b"hi", b"", b"\x80\x04."):
        (tmp_path / "w.pt").write_bytes(content)
        assert "which could be code and is not read" in refusal()
    broken = {**weights, "5.bias": torch.full((4,), torch.nan)}
    assert "gives NaN or infinite values" in refusal(broken)


def test_a_factory_in_the_working_directory(tmp_path, monkeypatch):
    import torch

    (tmp_path / "my_own_models.py").write_text(
        "from torch import nn\n\ndef net(n):\n"
        "    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, n))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    given = {
        "checkpoint": "w.pt",
        "factory": "my_own_models:net",
        "arguments": {"n": 5},
        "input_shape": (3, 4, 4),
        "mean": 0,
        "std": 1,
    }
    with pytest.raises(FileNotFoundError, match=r"there is no file w\.pt"):
        origins.load(**given)
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 5))
    torch.save(model.state_dict(), "w.pt")
    assert origins.load(**given).nb_classes == 5
    with pytest.raises(ValueError, match="my_own_models has no function 'nte'"):
        origins.load(**{**given, "factory": "my_own_models:nte"})
    with pytest.raises(ValueError, match="there is no module 'my_other_models'"):
        origins.load(**{**given, "factory": "my_other_models:net"})
    with pytest.raises(ValueError, match=r"cannot be made: .*unexpected keyword"):
        origins.load(**{**given, "arguments": {"m": 5}})


def probabilities():
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(1))


def no_tensor():
    from torch import nn

    class Pair(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)), x

    return Pair(12, 3)


@pytest.mark.parametrize(
    ("factory", "changed", "message"),
    [
        (probabilities, {}, "gives probabilities, and logits are needed"),
        (no_tensor, {}, "gives a tuple, and not one tensor of logits"),
        (no_tensor, {"input_shape": [3, 5, 5]}, "does not run on images of shape (3, 5, 5)"),
        (probabilities, {"input_shape": None}, "give input_shape too"),
    ],
)
def test_models_that_are_no_classifiers(factory, changed, message, tmp_path):
    import torch

    torch.save(factory().state_dict(), tmp_path / "w.pt")
    given = {
        "checkpoint": tmp_path / "w.pt",
        "factory": f"{__name__}:{factory.__name__}",
        "input_shape": [3, 2, 2],
        "mean": 0,
        "std": 1,
        **changed,
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        origins.load(**given)


# What is refused before any library is asked

FILE = {"checkpoint": "w.pt", "factory": "a:b", "mean": 0, "std": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resnet": "50"}, "give one of {torchvision: …}, {timm: …}"),
        ({"timm": "a", "keras": "b"}, "A model comes from one place"),
        ({"timm": "a", "class": [1]}, "A model of timm has no 'class'. Did you mean 'classes'?"),
        ({"timm": ""}, "timm: ''; give the name of a model as text."),
        ({"timm": 3}, "timm: 3; give the name of a model as text."),
        ({"timm": "a", "classes": [3, 1, 3]}, "classes has 3 twice"),
        ({"timm": "a", "classes": [3]}, "give two classes or more"),
        ({"timm": "a", "classes": [3, -1]}, "classes[1]=-1; give a whole number of at least 0"),
        ({"timm": "a", "classes": [3, 1.5]}, "classes[1]=1.5"),
        ({"timm": "a", "classes": "dogs"}, "classes='dogs'; give a list of classes"),
        ({"timm": "a", "input_shape": 224}, "input_shape=224; give three sizes"),
        ({"timm": "a", "input_shape": [3, 224]}, "give three sizes"),
        ({"timm": "a", "input_shape": [3, 0, 1]}, "input_shape[1]=0"),
        ({"timm": "a", "input_shape": [3, 10**6, 1]}, "from 1 to 65535"),
        ({"timm": "a", "clip_values": [1, 0]}, "the least and the greatest value"),
        ({"timm": "a", "clip_values": [0, np.inf]}, "the least and the greatest value"),
        ({"timm": "a", "mean": 0.5}, "Give mean and std together"),
        ({"timm": "a", "mean": 0, "std": [1, 0, 1]}, "give numbers above 0"),
        ({"timm": "a", "mean": "0", "std": 1}, "mean='0'; give a number, or a list"),
        ({"timm": "a", "mean": [0, None], "std": 1}, "give a number, or one for each channel"),
        ({"timm": "a", "weights": 3}, "weights=3; give 'default', a file, or null"),
        ({"timm": "a", "nb_classes": 10}, "nb_classes is for a model with weights of a file"),
        ({"timm": "a", "nb_classes": 1, "weights": None}, "nb_classes=1"),
        ({"timm": "a", "arguments": ["x"]}, "give a mapping from names to values"),
        ({"robustbench": "a"}, "threat is missing; give one of Linf, L2"),
        ({"robustbench": "a", "threat": "linf"}, "Did you mean 'Linf'?"),
        ({"robustbench": "a", "threat": "L2", "dataset": "cifar"}, "Did you mean 'cifar10'?"),
        ({"robustbench": "a", "threat": "L2", "weights": "w.pt"}, "folder/dataset/threat/name.pt"),
        ({"robustbench": "a", "threat": "L2", "folder": 3}, "folder=3; give the path"),
        ({**FILE, "factory": "a.b"}, 'as "package.module:function"'),
        ({**FILE, "mean": None, "std": None}, "give mean and std, or mean: 0, std: 1 if"),
        ({**FILE, "entry": 1}, "entry=1; give the name of an entry"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises((ValueError, TypeError)) as error:
        origins.origin(given)
    assert message in str(error.value)


@pytest.mark.parametrize("library", ["torchvision", "timm", "robustbench", "transformers"])
def test_a_library_that_is_not_installed(library, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Hiding(library), *sys.meta_path])
    key = {"transformers": "huggingface"}.get(library, library)
    threat = {"threat": "Linf"} if library == "robustbench" else {}
    with pytest.raises(ImportError, match=f"pip install '{library}'"):
        origins.load(**{key: "x"}, **threat)


class _Hiding:
    """Finds that a library is not there."""

    def __init__(self, library):
        self._library = library

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self._library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


# keras.applications


@pytest.fixture(params=["mobilenet_v2", "densenet", "vgg16", "convnext"])
def application(request, monkeypatch):
    """A small model of keras.applications with the `preprocess_input` of a real one."""
    import keras

    def Tiny(  # noqa: N802
        weights="imagenet", classes=7, input_shape=(16, 16, 3), classifier_activation="softmax"
    ):
        return keras.Sequential(
            [
                keras.Input(input_shape),
                keras.layers.Conv2D(4, 3, activation="relu"),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(classes, activation=classifier_activation),
            ]
        )

    Tiny.__module__ = f"keras.src.applications.{request.param}"
    monkeypatch.setattr(keras.applications, "Tiny", Tiny, raising=False)
    return sys.modules[Tiny.__module__].preprocess_input


def test_images_of_keras_are_prepared_as_its_own_function_does(application):
    classifier = origins.load(keras="Tiny", weights=None, input_shape=(12, 14, 3), nb_classes=5)
    assert (tuple(classifier.input_shape), classifier.nb_classes) == ((12, 14, 3), 5)
    x = np.random.default_rng(0).random((4, 12, 14, 3), np.float32)
    network = next((part for part in classifier.model.layers if hasattr(part, "layers")), None)
    expected = logits("tensorflow", network or classifier.model, application(255 * x.copy()))
    np.testing.assert_allclose(classifier.predict(x), expected, rtol=1e-4, atol=1e-5)
    again = unpacked(packed(classifier))
    np.testing.assert_allclose(again.predict(x), classifier.predict(x), rtol=1e-6)


def test_a_real_application_with_a_file_of_weights(tmp_path):
    import keras

    given = {"alpha": 0.35}
    model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=6, **given)
    model.save_weights(tmp_path / "mine.weights.h5")
    classifier = origins.load(
        keras="MobileNetV2",
        weights=tmp_path / "mine.weights.h5",
        nb_classes=6,
        input_shape=(32, 32, 3),
        arguments=given,
    )
    x = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    given_logits = classifier.predict(x)
    shares = np.exp(given_logits) / np.exp(given_logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, model(2 * x - 1, training=False).numpy(), atol=1e-5)


def test_what_keras_does_not_have(tmp_path):
    with pytest.raises(
        ValueError, match=r"Unknown model of keras 'MobileNetv2'\. Did you mean 'Mob"
    ):
        origins.load(keras="MobileNetv2")
    with pytest.raises(FileNotFoundError, match=r"there is no file 'w\.h5'"):
        origins.load(keras="MobileNetV2", weights="w.h5")
    with pytest.raises(ValueError, match=r"keras: MobileNetV2 cannot be made: .*'alpah'"):
        origins.load(keras="MobileNetV2", weights=None, arguments={"alpah": 1})


def test_keras_models_whose_scaling_is_left_out_need_mean_and_std():
    given = {
        "keras": "MobileNetV3Small",
        "weights": None,
        "input_shape": (32, 32, 3),
        "nb_classes": 3,
        "arguments": {"include_preprocessing": False, "minimalistic": True},
    }
    with pytest.raises(ValueError, match="does not say how its images are standardised"):
        origins.load(**given)
    assert origins.load(**given, mean=0.5, std=0.5).nb_classes == 3


# Hugging Face


@pytest.fixture(scope="module")
def vit():
    """A small vision transformer of Hugging Face."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        num_labels=5,
    )
    return ViTForImageClassification(config).eval()


@pytest.fixture
def folder(vit, tmp_path):
    """The folder of such a model, with the file of its image processor."""
    vit.save_pretrained(tmp_path)
    processor = (
        '{"do_normalize": true, "do_rescale": true, "rescale_factor": 0.00392156862745098, '
        '"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], '
        '"size": {"height": 16, "width": 16}, "image_processor_type": "ViTImageProcessor"}'
    )
    (tmp_path / "preprocessor_config.json").write_text(processor)
    return tmp_path


def test_a_folder_of_hugging_face(vit, folder):
    import torch

    classifier = origins.load(huggingface=str(folder), classes=[4, 2])
    assert (tuple(classifier.input_shape), classifier.nb_classes) == ((3, 16, 16), 2)
    x = images()
    mean, std = (np.float32(m).reshape(3, 1, 1) for m in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        expected = vit(pixel_values=torch.from_numpy((x - mean) / std)).logits[:, [4, 2]]
    np.testing.assert_allclose(classifier.predict(x), expected.numpy(), atol=1e-5)
    again = unpacked(packed(classifier))
    np.testing.assert_allclose(again.predict(x), classifier.predict(x), atol=1e-6)


@pytest.mark.parametrize(
    ("processor", "mean", "std"),
    [
        ({"do_normalize": False, "do_rescale": True}, 0, 1),
        ({"image_mean": 0.5, "image_std": 0.25}, 0.5, 0.25),
        ({"do_normalize": False, "do_rescale": False}, 0, 1 / 255),
        ({"image_mean": [127.5] * 3, "image_std": [51] * 3, "do_rescale": False}, 0.5, 0.2),
        ({"do_normalize": False, "rescale_factor": 1 / 127.5}, 0, 0.5),
    ],
)
def test_what_an_image_processor_says(processor, mean, std, folder):
    import json

    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    preprocessing = origins.load(huggingface=str(folder)).preprocessing
    np.testing.assert_allclose(preprocessing.mean.ravel(), mean, atol=1e-6)
    np.testing.assert_allclose(preprocessing.std.ravel(), std, rtol=1e-6)


def test_a_folder_without_an_image_processor(folder):
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="does not say how its images are standardised"):
        origins.load(huggingface=str(folder))
    assert origins.load(huggingface=str(folder), mean=0.5, std=0.5).nb_classes == 5


def test_random_weights_are_the_same_each_time(folder):
    given = {"huggingface": str(folder), "weights": None, "nb_classes": 3}
    first, again = (origins.load(**given) for _ in range(2))
    assert first.nb_classes == 3
    assert fingerprint(first) == fingerprint(again)
    with pytest.raises(ValueError, match="give the folder of the weights as the name"):
        origins.load(**{**given, "weights": "w.pt"})


def test_no_such_folder_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="give a local file, or null for random ones"):
        origins.load(huggingface=str(tmp_path / "none"))
