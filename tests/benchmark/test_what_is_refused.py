"""What users hand over wrongly is refused with a sentence before anything is computed."""

import numpy as np
import pytest
import torch
from art.attacks.evasion import (
    BoundaryAttack,
    CarliniL2Method,
    FastGradientMethod,
    ProjectedGradientDescent,
    SaliencyMapMethod,
)

from art_nip.benchmark import Attack, Benchmark, Defence
from tests.helpers import make_classifier


@pytest.fixture
def make(classifier, tmp_path):
    def made(*arguments, given=classifier, **keywords):
        return Benchmark(given, *arguments, store=tmp_path, verbose=False, **keywords)

    yield made
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attacks": "fgsm"}, r"attacks are 'fgsm'; give a list, also of one: \['fgsm'\]"),
        ({"attacks": Attack("fgsm")}, "attacks are one Attack; give a list"),
        ({"defences": "nip"}, r"defences are 'nip'; give a list"),
        ({"defences": Defence("nip")}, "defences are one Defence; give a list"),
        ({"protocols": "held-out"}, r"protocols are 'held-out'; give a list"),
        ({"threats": "adaptive"}, r"threats are 'adaptive'; give a list"),
        ({"protocols": []}, "no protocol: give one at least of held-out, leaked"),
        ({"attacks": ["FGSM"]}, "'fgsm'"),
        ({"attacks": ["Adaptive"], "threats": ["adaptive"]}, "Did you mean 'adaptive'"),
        ({"defences": ["NIP"]}, "Did you mean 'nip'"),
        ({"threats": ["Oblivious"]}, "Did you mean 'oblivious'"),
        ({"engine": "Ray"}, "Did you mean 'ray'"),
        ({"defences": [Defence("nip", parameters={"k1": -5})]}, "'nip'.*k1"),
        ({"defences": [Defence("nip", parameters={"retrieval": "nearst"})]}, "nip.*nearest"),
        ({"attacks": [Attack("pgd", parameters={"max_iter": "ten"})]}, "'pgd'"),
        ({"attacks": [Attack("fgsm", parameters={"eps": 8})]}, "'fgsm'.*Did you mean 8/255"),
        ({"attacks": [Attack("fgsm", parameters={"eps": [0.1, 0.2]})]}, "'fgsm'.*eps"),
        ({"attacks": ["steering"]}, "'steering' cannot be made for this classifier.*offers any"),
    ],
)  # fmt: skip
def test_a_slip_is_told(make, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(**{"attacks": ["fgsm"], **arguments})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_values": (0, 255)}, r"takes images of shape .* in \[ *0. 255.\]"),
        ({"input_shape": (32, 32, 3)}, r"takes images of shape \(32, 32, 3\) in"),
        ({"nb_classes": 9}, "knows 9 classes, and the benchmark's classifier 10"),
    ],
)
def test_a_trained_defence_takes_the_same_images(make, framework, lenet, settings, message):
    other = make_classifier(framework, lenet[framework], **settings)
    with pytest.raises(ValueError, match=f"The defence 'trained' {message}"):
        make(["fgsm"], {"trained": other})
    make(["fgsm"], {"trained": make_classifier(framework, lenet[framework])})


@pytest.mark.parametrize("kind", [Attack, Defence])
def test_labels_are_text_and_parameters_have_names(kind):
    with pytest.raises(TypeError, match="label=3; give text"):
        kind("nip", 3)
    with pytest.raises(TypeError, match="give a mapping from names to values"):
        kind("nip", parameters=["eps"])


def test_an_attack_made_for_a_defended_classifier_may_go_through_the_defence(make):
    make(["steering"], ["nip"], threats=["adaptive"])


def keras_model():
    import keras

    return keras.Sequential()


@pytest.mark.parametrize(
    "of", [lambda: torch.nn.Linear(2, 2), keras_model, lambda: torch.nn.Linear]
)
def test_a_bare_model_is_no_classifier(make, of):
    model = of()
    with pytest.raises(TypeError, match="A benchmark takes a classifier of ART, and got"):
        make(["fgsm"], given=model)


@pytest.mark.parametrize("bank", ["x", {"x": 1}, np.zeros((2, 1, 28, 28)), (np.zeros(2),)])
def test_a_bank_is_a_pair(make, images, bank):
    x, y = images["test"]
    with pytest.raises(TypeError, match=r"bank is one .*bank=\(bank_x, bank_y\)"):
        make(["fgsm"], ["nip"]).plan(x[:4], y[:4], bank)


def test_labels_are_numbers(make, images):
    x, y = images["test"]
    with pytest.raises(ValueError, match="Labels must be numbers"):
        make(["fgsm"]).plan(x[:4], y[:4].astype(str))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (ProjectedGradientDescent, {"targeted": True}), (CarliniL2Method, {"targeted": True}),
        (BoundaryAttack, {}), (FastGradientMethod, {"targeted": True}),
    ],
)  # fmt: skip
def test_targeted_attacks_are_refused(make, classifier, kind, parameters):
    extra = {} if kind is FastGradientMethod else {"verbose": False}
    with pytest.raises(ValueError, match=f"{kind.__name__} is targeted"):
        make([kind(classifier, **parameters, **extra)])


def test_an_attack_whose_labels_are_targets_gets_none(classifier, images, tmp_path):
    x, y = images["test"]
    attack = SaliencyMapMethod(classifier, theta=0.5, gamma=0.2, verbose=False)
    table = Benchmark(classifier, [attack], store=tmp_path, verbose=False).run(x[:3], y[:3])
    (asr,) = table[table.metric == "asr"].value
    assert asr > 0


def test_a_file_is_no_store(classifier, tmp_path):
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(NotADirectoryError, match=r"table\.csv is a file; give a folder"):
        Benchmark(classifier, ["fgsm"], store=tmp_path / "table.csv")
