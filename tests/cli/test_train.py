"""Training: the same schedule and augmentation for both frameworks, and files that either reads."""

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from art_nip import cli, data, zoo
from art_nip.cli import parser, train
from art_nip.utils.files import write_arrays
from art_nip.zoo import classifiers, training
from art_nip.zoo.architectures import BatchNorm
from art_nip.zoo.classifiers import TrainedModel, as_classifier
from art_nip.zoo.training import Recipe
from tests.helpers import FRAMEWORKS, to_framework

QUICK = Recipe(epochs=4, batch_size=50, shift=1, bfloat16=False)


def untrained(framework):
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    training.seed_weights(framework, 0)
    return zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10), shape


def test_a_trained_model_knows_digits(framework, images):
    model, shape = untrained(framework)
    x, y = images["train"]
    training.train(model, x[:1500], y[:1500], QUICK, mean=0.5, std=0.25, verbose=False)
    classifier = as_classifier(model, framework, shape, 10, preprocessing=(0.5, 0.25))
    x, y = images["test"]
    assert np.mean(classifier.predict(x).argmax(1) == y) > 0.85


def test_the_same_seed_gives_the_same_weights(framework, images):
    x, y = (part[:200] for part in images["train"])
    weights = []
    for seed in (0, 0, 1):
        model, _ = untrained(framework)
        training.train(model, x, y, QUICK, seed=seed, verbose=False)
        weights.append(np.concatenate([w.ravel() for w in zoo.get_weights(model).values()]))
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_bfloat16_learns_too(digits):
    import torch

    x, y = digits["train"]
    model, _ = untrained("pytorch")
    training.train(model, x[:1000], y[:1000], Recipe(epochs=3, batch_size=50), verbose=False)
    assert not model.training
    with torch.no_grad():
        assert (model(torch.from_numpy(x[:500])).argmax(1).numpy() == y[:500]).mean() > 0.7


def test_the_learning_rate_goes_up_once_and_down_to_nothing():
    rates = [training._cycle(progress) for progress in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1, abs=0.01)
    assert top == 25
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[0] < 0.1
    assert rates[-1] == 0


def test_augmentation_moves_whole_images_and_repeats_edges():
    x = np.arange(2 * 3 * 5 * 6, dtype=np.float32).reshape(2, 3, 5, 6)
    moved = training.augmented(x, 2, True, np.random.default_rng(3), channels_first=True)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    for image, result in zip(padded, moved, strict=True):
        windows = [
            window[:, :, ::step]
            for row in range(5)
            for column in range(5)
            for window in [image[:, row : row + 5, column : column + 6]]
            for step in (1, -1)
        ]
        assert any(np.array_equal(result, window) for window in windows)
    last = training.augmented(
        np.moveaxis(x, 1, -1), 2, True, np.random.default_rng(3), channels_first=False
    )
    assert np.array_equal(np.moveaxis(last, -1, 1), moved)
    still = training.augmented(x, 0, False, np.random.default_rng(0), channels_first=True)
    assert np.array_equal(still, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0; give a whole number of at least 1"),
        ({"shift": -1}, "shift=-1; give a whole number of at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan; give a number of at least 0"),
    ],
)
def test_a_wrong_recipe_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_too_few_images_are_refused(framework, images):
    model, _ = untrained(framework)
    x, y = images["train"]
    with pytest.raises(ValueError, match=r"49 images and 49 labels; .* one batch of 50"):
        training.train(model, x[:49], y[:49], QUICK)
    with pytest.raises(ValueError, match="60 images and 59 labels"):
        training.train(model, x[:60], y[:59], QUICK)


# Files


@pytest.fixture
def weights_file(lenet, tmp_path):
    path = tmp_path / "lenet.safetensors"
    trained = TrainedModel("lenet5", (1, 28, 28), 10, 0.25, 0.5, "as in the tests")
    classifiers.save(path, lenet["pytorch"], trained)
    return path


def test_a_file_serves_both_frameworks(weights_file, lenet, digits):
    x = digits["test"][0][:20]
    expected = as_classifier(
        lenet["pytorch"], "pytorch", (1, 28, 28), 10, preprocessing=(0.25, 0.5)
    ).predict(x)
    for framework in FRAMEWORKS:
        classifier = classifiers.load(weights_file, framework)
        found = classifier.predict(to_framework(x, framework))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_other_files_are_refused(weights_file, fitted_nips, tmp_path):
    weights_file.write_bytes(weights_file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        classifiers.load(weights_file, "pytorch")
    fitted_nips["pytorch"].save(tmp_path / "nip.safetensors")
    with pytest.raises(ValueError, match="but not one of `art-nip train`"):
        classifiers.load(tmp_path / "nip.safetensors", "pytorch")


# The command


@pytest.fixture(scope="module")
def data_folder(digits, tmp_path_factory):
    """A stand-in for GTSRB in the layout of its files: real digits as PNG."""
    folder = tmp_path_factory.mktemp("data")
    for part in ("train", "test"):
        rows = []
        for image, label in zip(*digits[part], strict=True):
            png = io.BytesIO()
            Image.fromarray((image[0] * 255).astype(np.uint8)).save(png, "PNG")
            rows.append({"image": {"bytes": png.getvalue()}, "label": int(label)})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"gtsrb-{part}.parquet")
    return folder


def test_train_command(framework, data_folder, tmp_path, capsys, digits):
    out = tmp_path / "new" / "w.safetensors"
    argv = ["train", "gtsrb", "lenet5", "--data", str(data_folder), "--out", str(out)]
    argv += ["--framework", framework, "--epochs", "2", "--limit", "1500", "--quiet"]
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("accuracy on 200 test images: ")
    x, y = digits["test"]
    right = classifiers.load(out, "pytorch").predict(x).argmax(1) == y
    assert f"{100 * right.mean():.1f} %" in printed
    assert right.mean() > 0.5


def test_train_command_at_another_side_from_a_convolutional_part(
    framework, data_folder, tmp_path, weights_file, capsys
):
    trained, weights = classifiers.read(weights_file)
    header = {"format": classifiers.FORMAT, "trained": json.dumps(asdict(trained))}
    without = {k: v for k, v in weights.items() if k != "features.0.bias"}
    write_arrays(tmp_path / "start.safetensors", without, header)
    out = tmp_path / "w.safetensors"
    argv = ["train", "gtsrb", "lenet5", "--data", str(data_folder), "--out", str(out), "--quiet"]
    argv += ["--framework", framework, "--side", "32", "--limit", "300", "--epochs", "1"]
    argv += ["--start", str(tmp_path / "start.safetensors")]
    assert cli.main(argv) == 0
    found, after = classifiers.read(out)
    assert found.image_shape == (1, 32, 32)
    assert "from the convolutional part of start.safetensors, " in found.note
    assert "shift=2" in found.note
    for name in ("features.0.weight", "features.3.weight", "features.3.bias"):
        np.testing.assert_allclose(after[name], weights[name], atol=0.02)
    assert np.abs(after["features.0.bias"]).max() < 0.02
    assert after["classifier.0.weight"].shape != weights["classifier.0.weight"].shape


def test_a_start_with_another_convolutional_part_is_refused(data_folder, tmp_path, capsys):
    other = TrainedModel("resnet20", (1, 28, 28), 10, 0.5, 0.25)
    classifiers.save(tmp_path / "other.safetensors", other.create("pytorch"), other)
    argv = ["train", "gtsrb", "lenet5", "--data", str(data_folder), "--out", str(tmp_path / "w")]
    assert cli.main([*argv, "--limit", "300", "--start", str(tmp_path / "other.safetensors")]) == 2
    assert "or one with the same convolutional part" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("name", train.RATES)
def test_rates_are_of_models_that_normalise_nothing(name):
    assert not any(isinstance(layer, BatchNorm) for layer in zoo.architecture_of(name, 10).features)


def test_the_command_offers_what_there_is(tmp_path):
    assert set(parser.DATA) == set(train.RECIPES) == set(data.NAMES)
    assert set(parser.MODELS) == set(zoo.NAMES)
    with pytest.raises(ValueError, match="no recipe for 'digits'; there is for mnist, gtsrb"):
        train.train("digits", "lenet5", folder=tmp_path, out=tmp_path / "w")


def test_train_command_without_data(tmp_path, capsys):
    argv = ["train", "cifar10", "vgg19", "--data", str(tmp_path), "--quiet"]
    assert cli.main(argv) == 2
    assert "cifar10-train.parquet" in capsys.readouterr().err
    for wrong in (["train", "digits", "lenet5"], ["train", "gtsrb", "lenet5", "--epochs", "0"]):
        with pytest.raises(SystemExit):
            cli.main([*wrong, "--data", "."])


def test_train_command_on_images_that_do_not_fit(tmp_path, capsys):
    x, y = np.zeros((60, 28, 28)), np.arange(60) % 2
    np.savez(tmp_path / "gtsrb-train.npz", x=x, y=y, names=["a", "b"])
    np.savez(tmp_path / "gtsrb-test.npz", x=x, y=y, names=["a", "c"])
    argv = ["train", "gtsrb", "lenet5", "--data", str(tmp_path), "--out", str(tmp_path / "w")]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("art-nip: The classes of the training and test images differ: class 1")
    assert not (tmp_path / "w").exists()


def test_train_command_takes_the_hub_without_a_folder(tmp_path):
    program = (
        "import sys; from art_nip import cli; sys.exit(cli.main(['train', 'gtsrb', 'lenet5']))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("art-nip: gtsrb could not be loaded from the hub: ")
    assert "--data FOLDER" in last


def test_a_place_where_no_file_can_be_is_said_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "load", None)
    assert cli.main(["train", "mnist", "lenet5", "--out", str(tmp_path)]) == 2
    assert "is a folder; give the name of a file in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n", "test_classes", "message"),
    [
        (127, 4, "There are 127 training images, and a batch of gtsrb takes 128: give more"),
        (128, 6, "The training images have 4 classes, and test images are of class 5, counted"),
    ],
)
def test_images_that_nothing_can_be_learned_of(tmp_path, capsys, n, test_classes, message):
    x = np.zeros((n, 28, 28), np.uint8)
    for part, classes in (("train", 4), ("test", test_classes)):
        np.savez(tmp_path / f"gtsrb-{part}.npz", x=x, y=np.arange(n) % classes)
    out = tmp_path / "weights.safetensors"
    argv = ["train", "gtsrb", "lenet5", "--data", str(tmp_path), "--out", str(out), "--epochs", "1"]
    assert cli.main(argv) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
