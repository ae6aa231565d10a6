"""The models of Table I: their sizes, and that both frameworks compute the same."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from art_nip import zoo

torch = pytest.importorskip("torch")

SHARED = Path(__file__).resolve().parents[3] / "shared"

# Small images, and not square ones: exchanged axes would show. Odd ones where padding matters.
SHAPES = {
    "alexnet": (3, 12, 8),
    "lenet5": (1, 28, 32),
    "mobilenet": (3, 33, 48),
    "resnet20": (3, 17, 20),
    "vgg19": (3, 32, 64),
    "vgg19-small": (3, 64, 32),
}
COUNTS = [
    ("vgg19", (3, 32, 32), 10, 39_002_738),
    ("alexnet", (3, 32, 32), 10, 87_650_186),
    ("lenet5", (3, 48, 48), 43, 172_331),
    ("lenet5", (3, 32, 32), 43, 64_811),  # the size of our copy of GTSRB, not the paper's
    ("vgg19-small", (3, 32, 32), 10, 20_308_682),  # not in the table
    ("resnet20", (3, 32, 32), 43, 276_587),
    ("resnet20", (3, 48, 48), 43, 276_587),
    ("mobilenet", (3, 224, 224), 10, 3_238_986),
    ("vgg19", (3, 224, 224), 10, 139_666_034),
]


def make_keras(name, channels_first, nb_classes=10):
    """Make the Keras model for images of PyTorch's shape."""
    pytest.importorskip("keras")
    channels, *size = channels_first
    return zoo.create(
        name, framework="tensorflow", input_shape=(*size, channels), nb_classes=nb_classes
    )


def make_trained(name, x):
    """Make a PyTorch model as if trained: no BatchNorm is the identity, and no signal fades."""
    torch.manual_seed(0)
    model = zoo.create(name, input_shape=tuple(x.shape[1:]), nb_classes=10)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            module.momentum = 0.5
    with torch.no_grad():
        model.train()(x)
        model.train()(x)
    return model.eval()


def keras_output(model, x):
    return np.asarray(model(x.numpy().transpose(0, 2, 3, 1), training=False))


def images(name, count=8):
    return torch.rand(count, *SHAPES[name], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "shape", "nb_classes", "count"), COUNTS)
def test_pytorch_has_the_parameters_of_the_paper(name, shape, nb_classes, count):
    with torch.device("meta"):  # counts without allocating
        model = zoo.create(name, input_shape=shape, nb_classes=nb_classes)
    weights = (v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked"))
    assert sum(weight.numel() for weight in weights) == count


@pytest.mark.parametrize(("name", "shape", "nb_classes", "count"), COUNTS)
def test_keras_has_the_parameters_of_the_paper(name, shape, nb_classes, count):
    assert make_keras(name, shape, nb_classes).count_params() == count


@pytest.mark.parametrize("name", zoo.NAMES)
def test_both_frameworks_compute_the_same(name):
    x = images(name)
    source = make_trained(name, x)
    expected = source(x).detach().numpy()
    assert expected.std() > 0.3, "a test of logits near zero would pass for any model"

    keras_model = make_keras(name, SHAPES[name])
    zoo.copy_weights(source, keras_model)
    np.testing.assert_allclose(keras_output(keras_model, x), expected, atol=1e-4)

    back = zoo.create(name, input_shape=SHAPES[name], nb_classes=10).eval()
    zoo.copy_weights(keras_model, back)
    np.testing.assert_allclose(back(x).detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["alexnet", "resnet20"])
def test_neurons_of_the_flatten_layer_have_the_same_order(name):
    x = images(name)
    source = make_trained(name, x)
    keras_model = make_keras(name, SHAPES[name])
    zoo.copy_weights(source, keras_model)
    keras = sys.modules["keras"]
    flatten = keras.Model(keras_model.inputs[0], keras_model.get_layer("flatten").output)
    expected = source.flatten(source.features(x)).detach().numpy()
    np.testing.assert_allclose(keras_output(flatten, x), expected, atol=1e-4)


def test_training_moves_the_batch_norm_statistics_alike():
    x = images("resnet20", count=64)
    model = zoo.create("resnet20", input_shape=SHAPES["resnet20"], nb_classes=10)
    keras_model = make_keras("resnet20", SHAPES["resnet20"])
    zoo.copy_weights(model, keras_model)
    model.train()(x)
    keras_model(x.numpy().transpose(0, 2, 3, 1), training=True)
    ours, theirs = zoo.get_weights(model), zoo.get_weights(keras_model)
    for key in ours:
        np.testing.assert_allclose(theirs[key], ours[key], atol=1e-3, err_msg=key)


def test_a_keras_model_can_be_saved(tmp_path):
    model = make_keras("lenet5", SHAPES["lenet5"])
    model.save(tmp_path / "model.keras")
    loaded = sys.modules["keras"].saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        zoo.get_weights(loaded)["features.0.weight"], zoo.get_weights(model)["features.0.weight"]
    )


def test_weights_of_keras_survive_a_safetensors_file():
    safetensors = pytest.importorskip("safetensors.numpy")
    weights = zoo.get_weights(make_keras("resnet20", (3, 8, 8)))
    for key, value in safetensors.load(safetensors.save(weights)).items():
        np.testing.assert_array_equal(value, weights[key])


def test_weights_are_copies():
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    before = zoo.get_weights(model)["features.0.bias"]
    with torch.no_grad():
        model.features[0].bias += 1
    assert not np.allclose(before, zoo.get_weights(model)["features.0.bias"])


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("alexnet", 4), ("lenet5", 16), ("mobilenet", 1), ("resnet20", 1), ("vgg19", 32)],
)
@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_images_may_be_small_but_not_too_small(framework, name, smallest):
    def create(side):
        shape = (1, side, side) if framework == "pytorch" else (side, side, 1)
        return zoo.create(name, framework=framework, input_shape=shape, nb_classes=2)

    pytest.importorskip(framework.replace("pytorch", "torch"))
    create(smallest)
    if smallest > 1:
        with pytest.raises(ValueError, match=f"at least {smallest}×{smallest}"):
            create(smallest - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vgg-19"}, "Did you mean 'vgg19'.*Allowed: alexnet, lenet5, mobilenet, resnet20"),
        ({"framework": "tf"}, "Allowed: pytorch, tensorflow"),
        ({"input_shape": (32, 32)}, r"three positive numbers, \(C, H, W\)"),
        ({"input_shape": (3, 0, 32)}, "three positive numbers"),
        ({"input_shape": (32, 32, 3)}, r"32×3 pixels.*was read as \(C, H, W\)"),
        ({"input_shape": "3×32"}, "input_shape '3×32' is not a shape of pytorch images"),
        ({"input_shape": (3.0, 32, 32)}, "three positive numbers"),
        ({"nb_classes": 1}, "at least 2"),
        ({"nb_classes": 10.0}, "nb_classes=10.0; give a whole number of at least 2"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, message):
    allowed = {"name": "vgg19", "input_shape": (3, 32, 32), "nb_classes": 10}
    with pytest.raises(ValueError, match=message):
        zoo.create(**{**allowed, **arguments})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (("lenet5", (1, 32, 32), 10), "'classifier.0.weight'.*same name, input_shape and nb_cl"),
        (("lenet5", (1, 28, 28), 43), r"'classifier.4.weight'.*\(43, 84\) in the weights"),
        (("resnet20", (1, 28, 28), 10), "'features.0.weight'"),
    ],
)
@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_weights_of_another_architecture_do_not_fit(framework, other, message):
    name, shape, nb_classes = other
    source = zoo.create(name, input_shape=shape, nb_classes=nb_classes)
    if framework == "pytorch":
        target = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    else:
        target = make_keras("lenet5", (1, 28, 28))
    before = zoo.get_weights(target)
    with pytest.raises(ValueError, match=message):
        zoo.copy_weights(source, target)
    for key, value in zoo.get_weights(target).items():
        np.testing.assert_array_equal(value, before[key])


def test_keras_must_run_on_tensorflow(monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match=r"runs on 'torch'.*unset KERAS_BACKEND"):
        make_keras("lenet5", (1, 28, 28))


def test_only_models_have_weights():
    with pytest.raises(TypeError, match=r"got str.*give its `model`"):
        zoo.get_weights("lenet5")


def test_importing_the_zoo_imports_no_framework():
    code = "import sys, art_nip.zoo; assert not {'torch', 'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_shared_weights_classify_cifar10(framework):
    weights_path = SHARED / "weights" / "cifar10-vgg19.safetensors"
    images_path = SHARED / "data" / "cifar10-test.parquet"
    if not (weights_path.exists() and images_path.exists()):
        pytest.skip(f"needs the weights and images of {SHARED}, which are not part of the project")
    image = pytest.importorskip("PIL.Image")
    rows = pytest.importorskip("pyarrow.parquet").read_table(images_path).slice(0, 200)
    weights = pytest.importorskip("safetensors.numpy").load_file(weights_path)
    encoded = (cell["bytes"].as_py() for cell in rows["image"])
    x = np.stack([np.asarray(image.open(io.BytesIO(cell))) for cell in encoded])
    x = torch.from_numpy((x.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.25)

    if framework == "pytorch":
        model = zoo.create("vgg19-small", input_shape=(3, 32, 32), nb_classes=10).eval()
        model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        with torch.no_grad():
            logits = model(x).numpy()
    else:
        model = make_keras("vgg19-small", (3, 32, 32))
        zoo.set_weights(model, weights)
        logits = keras_output(model, x)
    accuracy = (logits.argmax(axis=1) == rows["label"].to_numpy()).mean()
    assert 0.8 < accuracy < 0.92  # 85.5 % on the whole test set
