"""Spec files: what they say, what is wrong in them and where, and the benchmark they stand for."""

import json
from pathlib import Path

import numpy as np
import pytest

from art_nip import zoo
from art_nip.benchmark import Attack, Defence
from art_nip.benchmark.spec import Spec
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import TrainedModel

WHOLE = """\
model: {weights: weights/gtsrb-lenet5.safetensors, framework: tensorflow}
data: {name: gtsrb, images: 30, bank: 200}
attacks:
  - fgsm
  - {name: pgd, eps: [1e-2, 8/255], limit: 50, max_iter: 3}
  - {name: bim, label: bim small, eps: 0.004}
  - {name: uap, attacker_params: {eps: 2/255}}
defences:
  - ss
  - {name: nip, k1: 10, label: "nip k1=10"}
  - {name: trained, weights: weights/gtsrb-lenet5-cas.safetensors}
  - {name: trained, weights: w.safetensors, label: mine}
protocols: [held-out, leaked]
threats: [adaptive]
seed: 3
store: elsewhere/results
"""
LEAST = "model: {weights: w.safetensors}\ndata: {name: gtsrb}\nattacks: [fgsm]\n"


@pytest.fixture
def written(tmp_path):
    """Write a spec file, and return its path."""

    def write(text):
        path = tmp_path / "runs.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_whole_file(written):
    spec = Spec.load(written(WHOLE))
    assert spec.model.weights == Path("weights/gtsrb-lenet5.safetensors")
    assert spec.model.framework == "tensorflow"
    assert (spec.data.name, spec.data.images, spec.data.bank) == ("gtsrb", 30, 200)
    assert [attack for item in spec.attacks for attack in item.variants()] == [
        Attack("fgsm", "fgsm"),
        Attack("pgd", "pgd ε=0.01", {"eps": 0.01, "max_iter": 3}, 50),
        Attack("pgd", "pgd ε=0.0314", {"eps": 8 / 255, "max_iter": 3}, 50),
        Attack("bim", "bim small", {"eps": 0.004}),
        Attack("uap", "uap", {"attacker_params": {"eps": 2 / 255}}),
    ]
    assert [defence for item in spec.defences for defence in item.variants()] == [
        Defence("ss", "ss"),
        Defence("nip", "nip k1=10", {"k1": 10}),
        Defence(Path("weights/gtsrb-lenet5-cas.safetensors"), "gtsrb-lenet5-cas"),
        Defence(Path("w.safetensors"), "mine"),
    ]
    assert (spec.protocols, spec.threats) == (["held-out", "leaked"], ["adaptive"])
    assert (spec.seed, spec.store) == (3, Path("elsewhere/results"))


def test_what_is_not_said(written):
    spec = Spec.load(written(LEAST))
    assert (spec.model.framework, spec.data.images, spec.data.bank) == ("pytorch", 300, 2000)
    assert (spec.defences, spec.protocols, spec.threats) == ([], ["held-out"], ["oblivious"])
    assert (spec.seed, spec.store) == (0, Path("results/runs"))


@pytest.mark.parametrize(
    ("changed", "to", "message"),
    [
        # unknown keys and names
        (
            "attacks: [",
            "attack: [",
            "line 3, attack: there is no such key. Did you mean 'attacks'?",
        ),
        ("data: {", "data: {image: 3, ", "line 2, data.image: there is no such key. Did you mean"),
        ("fgsm", "fsgm", "line 3, attacks[0]: There is no attack 'fsgm'. The nearest is 'fgsm'"),
        ("fgsm", "{name: pgd, epss: 1}", "'pgd' has no parameter 'epss'. The nearest is 'eps'"),
        ("fgsm", "{name: deepfool, eps: 1}", "'deepfool' has no parameter 'eps'"),
        ("]", "]\ndefences: [ss, npi]", "line 4, defences[1]: Unknown defence 'npi'. Did you mean"),
        ("]", "]\ndefences: [{name: nip, k3: 1}]", "'k3'. Did you mean 'k2'?"),
        (
            "]",
            "]\ndefences: [trian]",
            "line 4, defences[0]: Unknown defence 'trian'. Did you mean 'tra",
        ),
        ("]", "]\ndefences: [trained]", "Give a trained defence as {name: trained, weights: FILE}"),
        (
            "]",
            "]\ndefences: [{name: trained, weights: 3}]",
            "with a label or without; got {'weights'",
        ),
        ("]", "]\ndefences: [{name: trained, weights: w, k1: 3}]", "'weights': 'w', 'k1': 3}"),
        ("]", "]\ndefences:\n- ss\n- none", "line 6, defences[1]: 'none' is in every benchmark"),
        ("]", "]\nprotocols: [heldout]", "line 4, protocols[0]: Unknown protocol 'heldout'. Did"),
        ("]", "]\nthreats: [adaptiv]", "Did you mean 'adaptive'? Allowed: oblivious, adaptive"),
        ("}", ", framework: torch}", "line 1, model.framework: Unknown framework 'torch'. Did you"),
        # models by their origin
        ("weights: w.safetensors", "timm: a, keras: b", "line 1, model: A model comes from one pl"),
        ("weights:", "timm: a, class:", "model of timm has no 'class'. Did you mean 'classes'?"),
        ("{weights: w.safetensors}", "{timm: 3}", "line 1, model: timm: 3; give the name of a mo"),
        (
            "]",
            "]\ndefences: [{name: trained, timm: 3}]",
            "line 4, defences[0]: timm: 3; give the n",
        ),
        (
            "]",
            "]\ndefences: [{name: trained, timm: a, k: 3}]",
            "A model of timm has no 'k'. Did you",
        ),
        # wrong types and values
        ("data: {", "data: {images: many, ", "data.images: this should be a whole number; got 'ma"),
        ("data: {", "data: {bank: 0, ", "line 2, data.bank: this should be at least 1; got 0."),
        ("gtsrb", "7", "data.name: this should be text; put it in quotes if it looks like a nu"),
        ("[fgsm]", "fgsm", "line 3, attacks: this should be a list, [like, this]; got 'fgsm'."),
        ("[fgsm]", "[]", "attacks: this should be a list of at least one; got []."),
        ("fgsm", "3", "attacks[0]: Give a name, or a mapping such as {name: …, label: …}; got 3."),
        ("fgsm", "{eps: 0.1}", "line 3, attacks[0].name: this is missing."),
        ("fgsm", "{name: pgd, eps: [0.1, big]}", "attacks[0].eps[1]: this should be a number; got"),
        ("fgsm", "{name: pgd, eps: 0}", "attacks[0].eps[0]: this should be above 0.0; got 0."),
        ("fgsm", "{name: pgd, limit: 2.5}", "attacks[0].limit: this should be a whole number"),
        ("{weights: w.safetensors}", "w", "model: this should be a mapping, {key: value}; got 'w'"),
        ("]", "]\nseed: true", "line 4, seed: this should be a whole number; got True."),
        ("]", "]\nstore: 3", "line 4, store: this should be a path; got 3."),
        ("attacks: [fgsm]", "", "line 1, attacks: this is missing."),
        (LEAST, "", "line 1: this should be a mapping, {key: value}; got None."),
        # the same twice
        ("fgsm", "fgsm, fgsm", "attacks: Two are called 'fgsm': give one another label"),
        ("fgsm", "{name: pgd, eps: [0.1, 0.1]}", "Two are called 'pgd ε=0.1'"),
        ("]", "]\ndefences: [nip, {name: nip, k1: 3}]", "Two are called 'nip'"),
        ("]", "]\nprotocols: [held-out, held-out]", "Give each one once; got held-out, held-out."),
        # no YAML
        ("[fgsm]", "[fgsm", "line 4: this is not valid YAML: expected ',' or ']', but got"),
        (
            "]",
            "]\nattacks: [pgd]",
            "line 4: the key 'attacks' is there twice",
        ),
        ("]", "]\n1: 2", "line 4: a key must be text: put it in quotes."),
        *(
            ("]", f"]\nseed: {number}", f"line 4: {number} is a number that is not to the base of")
            for number in ("017", "0o17", "0x1F", "0b11", "1:30", "1:30.5", "-017")
        ),
        *(
            ("fgsm", f"{{name: fgsm, label: {word}}}", f"line 3: {word} stands for true or false")
            for word in ("yes", "No", "on", "OFF")
        ),
        ("fgsm", "Adaptive", "Did you mean 'adaptive'?"),
        ("fgsm", "{name: adaptive, eps: 8}", "at most 1. Did you mean 8/255?"),
        ("[fgsm]", "\0", "this is not valid YAML: unacceptable character"),
        # what YAML's own readers stumble over
        ("fgsm", "!!timestamp x", "line 3: this cannot be read as the timestamp that it is taken"),
        ("fgsm", "!!int x", "line 3: x is a number that is not to the base of"),
        ("fgsm", "!!float x", "line 3: this cannot be read as the float that it is taken for."),
        ("fgsm", "!fraction x", "line 3: this cannot be read as the fraction that it is taken for"),
        ("fgsm", "2001-99-99", "line 3: this cannot be read as the timestamp that it is taken for"),
        ("fgsm", "9" * 400 + "/1", "line 3: this cannot be read as the fraction that it is taken"),
        ("fgsm", "9" * 5000, "line 3: this cannot be read as the int that it is taken for."),
        ("fgsm", "[" * 2000, "this is nested too deeply to be read."),
    ],
)
def test_a_mistake_is_told_with_its_place(written, changed, to, message):
    path = written(LEAST.replace(changed, to, 1))
    with pytest.raises(ValueError, match="^" + str(path).replace(".", r"\.")) as error:
        Spec.load(path)
    assert message in str(error.value)
    assert "\n" not in message
    assert "pydantic" not in str(error.value)


def test_all_mistakes_are_told_at_once(written):
    path = written("model: {weight: w}\ndata: {name: gtsrb}\nattacks:\n- fgsm\n- psd\nsed: 3\n")
    with pytest.raises(ValueError, match="model") as error:
        Spec.load(path)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        f"{path}, line 1, model.weights",
        f"{path}, line 1, model.weight",
        f"{path}, line 5, attacks[1]",
        f"{path}, line 6, sed",
    ]


def test_keys_may_be_merged(written):
    common = "- &common {name: pgd, max_iter: 3}\n- {<<: *common, label: other, max_iter: 4}\n"
    spec = Spec.load(written(LEAST.replace("[fgsm]", f"\n{common}")))
    assert [item.parameters for item in spec.attacks] == [{"max_iter": 3}, {"max_iter": 4}]


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        Spec.load(tmp_path / "none.yaml")


# The benchmark


@pytest.fixture(scope="module")
def folder(digits, lenet, tmp_path_factory):
    """Weights, and digits as somebody's own data set."""
    folder = tmp_path_factory.mktemp("own")
    for part, name in (("train", "bank"), ("test", "test")):
        x, y = digits[name]
        np.savez(folder / f"own-{part}.npz", x=x, y=y, names=list("0123456789"))
    trained = TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0)
    classifiers.save(folder / "own-lenet5.safetensors", lenet["pytorch"], trained)
    return folder


@pytest.fixture
def own(written, folder, tmp_path):
    """Return a spec of these, with lines changed."""

    def load(images=30, bank=100, framework="pytorch", more=""):
        return Spec.load(
            written(
                f"model: {{weights: {folder}/own-lenet5.safetensors, framework: {framework}}}\n"
                f"data: {{name: own, images: {images}, bank: {bank}}}\n"
                f"attacks: [fgsm]\ndefences: [ss, nip]\nstore: {tmp_path}/store\n{more}"
            )
        )

    return load


def test_a_benchmark_runs(own, folder, framework, digits, tmp_path):
    benchmark, x, y, bank = own(framework=framework).benchmark(data=folder, verbose=False)
    expected = digits["test"][0][:30]
    if framework == "tensorflow":
        expected = np.moveaxis(expected, 1, -1)
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(y, digits["test"][1][:30])
    assert (len(bank[0]), np.ptp(np.bincount(bank[1], minlength=10)) <= 1) == (100, True)
    assert not benchmark.plan(x, y, bank=bank)["cached"].any()
    table = benchmark.run(x, y, bank=bank)
    assert not (table["metric"] == "error").any()
    assert set(table["defence"]) == {"none", "ss", "nip"}
    assert benchmark.plan(x, y, bank=bank)["cached"].all()
    assert (tmp_path / "store" / "table.csv").exists()


@pytest.fixture
def by_origin(written, lenet, tmp_path):
    """Return a spec of a checkpoint of LeNet-5, which keeps its first digits, with more lines."""
    import torch

    path = tmp_path / "lenet.pt"
    torch.save(lenet["pytorch"].state_dict(), path)
    origin = (
        f"checkpoint: {path}, factory: 'art_nip.zoo:create', "
        "arguments: {name: lenet5, input_shape: [1, 28, 28], nb_classes: 10}, "
        "input_shape: [1, 28, 28], mean: 0, std: 1, classes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    )

    def load(more=""):
        return Spec.load(
            written(
                f"model: {{{origin}}}\ndata: {{name: own, images: 30, bank: 100}}\n"
                f"attacks: [fgsm]\nstore: {tmp_path}/store\n{more.replace('ORIGIN', origin)}"
            )
        )

    return load


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_model_by_its_origin(by_origin, lenet, folder, jobs, tmp_path):
    spec = by_origin("defences: [ss, {name: trained, ORIGIN, label: itself}]\n")
    benchmark, x, y, bank = spec.benchmark(data=folder, verbose=False, jobs=jobs)
    table = benchmark.run(x, y, bank=bank)
    assert not (table["metric"] == "error").any()
    expected = classifiers.as_classifier(lenet["pytorch"], "pytorch", (1, 28, 28), 10).predict(x)
    for defence in ("none", "itself"):
        row = f"defence == {defence!r} and attack == 'benign' and metric == 'accuracy'"
        assert table.query(row)["value"].item() == np.mean(expected.argmax(1) == y)
    again, *_ = spec.benchmark(data=folder, verbose=False)
    assert again.plan(x, y, bank=bank)["cached"].all()
    told = json.loads((tmp_path / "store" / "benchmark.json").read_text())["model"]
    assert told.startswith(f"checkpoint: {tmp_path}/lenet.pt, PyTorchClassifier of SelectedLogits")


def test_a_trained_defence_is_its_own_classifier(written, folder, digits, tmp_path):
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10, defence="cas")
    trained = TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0, defence="cas")
    classifiers.save(tmp_path / "own-cas.safetensors", model, trained)
    spec = Spec.load(
        written(
            f"model: {{weights: {folder}/own-lenet5.safetensors}}\n"
            f"data: {{name: own, images: 30, bank: 100}}\nattacks: [fgsm]\n"
            f"defences: [{{name: trained, weights: {tmp_path}/own-cas.safetensors, label: cas}}]\n"
            f"store: {tmp_path}/store\n"
        )
    )
    benchmark, x, y, bank = spec.benchmark(data=folder, verbose=False)
    table = benchmark.run(x, y, bank=bank)
    assert not (table["metric"] == "error").any()
    untrained = classifiers.load(tmp_path / "own-cas.safetensors", "pytorch").predict(x).argmax(1)
    (measured,) = table.query("defence == 'cas' and attack == 'benign' and metric == 'accuracy'")[
        "value"
    ]
    assert measured == pytest.approx(np.mean(untrained == y))
    assert measured < 0.5


def test_the_bank_follows_the_seed(own, folder):
    banks = [
        own(more=f"seed: {seed}").benchmark(data=folder, verbose=False)[3][0] for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(banks[0], banks[1])
    assert (banks[0] != banks[2]).any()


def test_no_bank_is_read_that_no_protocol_asks_for(own, folder):
    spec = own(bank=10**6, more="protocols: [leaked]")
    assert spec.benchmark(data=folder, verbose=False)[3] is None


def test_a_limit_caps_the_images(own, folder):
    assert len(own().benchmark(data=folder, limit=7, verbose=False)[1]) == 7
    assert len(own().benchmark(data=folder, limit=70, verbose=False)[1]) == 30


def test_too_few_images(own, folder):
    message = "data.images asks for 201 images, and the test part of own has 200"
    with pytest.raises(ValueError, match=message):
        own(images=201).benchmark(data=folder, verbose=False)
    with pytest.raises(ValueError, match=r"bank \(data.bank: 601\): .* together 600"):
        own(bank=601).benchmark(data=folder, verbose=False)


@pytest.mark.parametrize(
    ("weights", "data", "message"),
    [
        ("w/gtsrb-vgg19-small.st", "gtsrb", "art-nip train gtsrb vgg19-small --out w/gtsrb-vgg19-"),
        (
            "mine.st",
            "mnist",
            "art-nip train mnist MODEL --out mine.st, with one of alexnet, lenet5",
        ),
        (
            "w/gtsrb-lenet5-cas.st",
            "gtsrb",
            "train gtsrb lenet5 --defence cas --out w/gtsrb-lenet5-c",
        ),
        (
            "cifar10-resnet20-feature-denoising-adversarial.st",
            "gtsrb",
            "art-nip train cifar10 resnet20 --defence feature-denoising --adversarial --out",
        ),
        ("mine.st", "own", "There are no weights mine.st. Write them with art_nip.zoo.classifiers"),
    ],
)
def test_missing_weights_say_how_to_make_them(written, weights, data, message):
    spec = Spec.load(
        written(f"model: {{weights: {weights}}}\ndata: {{name: {data}}}\nattacks: [pgd]")
    )
    with pytest.raises(FileNotFoundError) as error:
        spec.benchmark()
    assert message in str(error.value)
