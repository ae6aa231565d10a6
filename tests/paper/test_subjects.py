"""The models of the paper are what the names of their files say, and suit their images."""

import numpy as np
import pytest

from art_nip.paper.setting import Setting
from art_nip.paper.subjects import Loaded, names, subjects
from art_nip.zoo import classifiers
from art_nip.zoo.classifiers import TrainedModel


@pytest.mark.parametrize(
    ("of", "channels", "classes", "message"),
    [
        (TrainedModel("lenet5", (1, 28, 28), 4, 0.5, 0.25), 1, 4, None),
        (
            TrainedModel("resnet20", (1, 28, 28), 4, 0.5, 0.25),
            1,
            4,
            "gtsrb-lenet5.safetensors holds the weights of resnet20, and is to be lenet5 without a",
        ),
        (
            TrainedModel("lenet5", (1, 28, 28), 4, 0.5, 0.25, defence="cas"),
            1,
            4,
            "weights of lenet5 with cas, .* Train it: art-nip train gtsrb lenet5 --out ",
        ),
        (
            TrainedModel("lenet5", (1, 28, 28), 4, 0.5, 0.25),
            3,
            4,
            "gtsrb-lenet5: the test images of gtsrb do not suit it. Images have shape",
        ),
        (
            TrainedModel("lenet5", (1, 28, 28), 4, 0.5, 0.25),
            1,
            9,
            "do not suit it. Labels must be whole numbers from 0 to 3",
        ),
        (
            TrainedModel("lenet5", (1, 28, 28), 9, 0.5, 0.25),
            1,
            4,
            "do not suit it. The training images have 4 classes and the model 9",
        ),
    ],
)
def test_weights_of_another_model_are_refused(framework, tmp_path, of, channels, classes, message):
    classifiers.save(tmp_path / "gtsrb-lenet5.safetensors", of.create(framework), of)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        x = rng.random((60, channels, 28, 28), np.float32)
        np.savez(tmp_path / f"gtsrb-{part}.npz", x=x, y=np.arange(60) % classes)
    setting = Setting(
        tmp_path, weights=tmp_path, data=tmp_path, limit=5, framework=framework, verbose=False
    )
    if message is None:
        (subject,) = subjects(setting)
        assert subject.trained == of
    else:
        with pytest.raises(ValueError, match=message):
            subjects(setting)


def test_what_is_fitted_on_other_images_of_the_same_number_is_another_result():
    x, y = np.zeros((2, 1, 4, 4), np.float32), np.zeros(2, np.int64)
    a, b = (
        Loaded("a", "A", None, x, y, (bank, y), {"model": 1}, None, None, []).with_bank
        for bank in (x, x + 1)
    )
    assert a != b
    assert a["model"] == b["model"] == 1


@pytest.mark.parametrize("content", [b"a page of HTML", b"\x08" + bytes(7) + b"{}      "])
def test_weights_that_are_not_whole_are_one_sentence(tmp_path, content):
    path = tmp_path / "cifar10-vgg19.safetensors"  # of the one that may be bare
    path.write_bytes(content)
    setting = Setting(tmp_path, weights=tmp_path, verbose=False)
    with pytest.raises(ValueError, match=r"cifar10-vgg19.safetensors is .*safetensors file"):
        subjects(setting)


def test_a_model_that_is_named_twice_is_measured_once(tmp_path):
    (tmp_path / "gtsrb-lenet5.safetensors").write_bytes(b"")
    twice = Setting(tmp_path, weights=tmp_path, models=("gtsrb-lenet5", "gtsrb-lenet5"))
    assert names(twice) == ("gtsrb-lenet5",)
