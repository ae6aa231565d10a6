"""CAS, feature denoising, adversarial training: what they do to a model, and how it is trained."""

import copy
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.ndimage import median_filter

from art_nip import NIPPreprocessor, cli, zoo
from art_nip.cli import parser, train
from art_nip.zoo import adversarial, classifiers, training
from art_nip.zoo.architectures import ARCHITECTURES, Median, ReLU, Residual, Suppress
from art_nip.zoo.classifiers import TrainedModel
from art_nip.zoo.median import median
from art_nip.zoo.suppression import auxiliary_logits
from art_nip.zoo.training import Recipe
from tests.helpers import ON_GPU, make_classifier, to_framework

torch = pytest.importorskip("torch")

DEFENCES = tuple(zoo.TRAINED_DEFENCES)


def create(framework, defence=None, name="lenet5", side=28, nb_classes=10):
    training.seed_weights(framework, 0)
    shape = (1, side, side) if framework == "pytorch" else (side, side, 1)
    return zoo.create(
        name, framework=framework, input_shape=shape, nb_classes=nb_classes, defence=defence
    )


def warm(framework, defence, lenet):
    """Return LeNet-5 with a defence, and the weights of the one trained without."""
    model = create(framework, defence)
    zoo.set_weights(model, {**zoo.get_weights(model), **zoo.get_weights(lenet[framework])})
    return model.eval() if framework == "pytorch" else model


def output(model, x, framework):
    """Return what a model makes of images with channels first."""
    if framework == "pytorch":
        with torch.no_grad():
            images = torch.from_numpy(x).to(next(model.parameters()).device)
            return model(images).numpy(force=True)
    return np.asarray(model(to_framework(x, framework), training=False))


def layers_of(model):
    return list(model.modules()) if isinstance(model, torch.nn.Module) else model.layers


def tensor(x, framework):
    if framework == "pytorch":
        return torch.from_numpy(np.ascontiguousarray(x))
    return pytest.importorskip("tensorflow").constant(x)


# The median filter

IMAGES = arrays(
    np.float32,
    st.tuples(*[st.integers(1, 6)] * 4),
    elements=st.integers(-3, 3).map(float),  # many are equal
)


@pytest.mark.parametrize("kind", ["numpy", "pytorch", "tensorflow"])
@settings(max_examples=25)
@given(IMAGES)
def test_the_median_is_that_of_scipy(kind, x):
    expected = median_filter(x, (1, 1, 3, 3), mode="nearest")
    given = x if kind == "numpy" else tensor(x, kind)
    np.testing.assert_array_equal(np.asarray(median(given, (2, 3))), expected)


@given(st.tuples(*[st.integers(1, 6)] * 4), st.integers(0, 99))
def test_the_gradient_of_the_median_is_that_of_its_minima_and_maxima(shape, seed):
    from art_nip.zoo.pytorch.median import Median as Module

    rng = np.random.default_rng(seed)
    x, weights = (torch.from_numpy(rng.normal(size=shape)) for _ in range(2))
    x.requires_grad_()
    ours, theirs = (
        torch.autograd.grad((weights * filtered).sum(), x)[0]
        for filtered in (Module()(x), median(x, (2, 3)))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_equal_pixels_share_the_gradient_of_the_median():
    from art_nip.zoo.pytorch.median import Median as Module

    x = torch.zeros(1, 1, 5, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(Module()(x)[0, 0, 2, 2], x)
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = 1 / 9
    np.testing.assert_allclose(gradient[0, 0], expected, atol=1e-7)


# What the defences do to a model


def blocks(architecture):
    return [
        layer
        for layer in architecture.features
        if isinstance(layer, Residual) and any(isinstance(each, Median) for each in layer.body)
    ]


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("alexnet", [256, 256]),
        ("lenet5", [6, 16]),
        ("mobilenet", [64, 128, 256, 512, 1024]),
        ("resnet20", [16, 32, 64]),
        ("vgg19", [64, 128, 256, 512, 512]),
        ("vgg19-small", [64, 128, 256, 512, 512]),
    ],
)
def test_where_the_defences_are(name, channels):
    plain = ARCHITECTURES[name](7)
    denoising = zoo.TRAINED_DEFENCES["feature-denoising"](plain, 7)
    assert [block.body[2].channels for block in blocks(denoising)] == channels
    assert len(denoising.features) == len(plain.features)
    assert denoising.classifier == plain.classifier
    suppressing = zoo.TRAINED_DEFENCES["cas"](plain, 7)
    before, after = (
        [*architecture.features, *architecture.classifier] for architecture in (plain, suppressing)
    )
    (place,) = (index for index, layer in enumerate(after) if layer == Suppress(7))
    assert before[place] == ReLU()
    assert ReLU() not in before[place + 1 :]
    assert [*after[:place], ReLU(), *after[place + 1 :]] == before


@pytest.mark.parametrize("defence", DEFENCES)
@pytest.mark.parametrize("name", ["lenet5", "mobilenet", "resnet20", "vgg19-small"])
def test_weights_keep_their_names(name, defence):
    plain = zoo.get_weights(create("pytorch", None, name, side=32))
    defended = zoo.get_weights(create("pytorch", defence, name, side=32))
    assert plain.keys() < defended.keys()
    assert all(defended[key].shape == weight.shape for key, weight in plain.items())


@pytest.mark.parametrize(
    ("defence", "weight"),
    [("cas", "classifier.3.weight"), ("feature-denoising", "features.1.body.3.weight")],
)
def test_a_new_defence_changes_nothing(framework, defence, weight, lenet, digits):
    x = digits["test"][0][:50]
    model = warm(framework, defence, lenet)
    expected = output(lenet[framework], x, framework)
    np.testing.assert_allclose(
        output(model, x, framework), expected, rtol=0, atol=1e-5 if ON_GPU else 0
    )
    weights = zoo.get_weights(model)
    weights[weight] += 1
    zoo.set_weights(model, weights)
    assert np.abs(output(model, x, framework) - expected).max() > 0.1


@pytest.mark.parametrize("defence", DEFENCES)
@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_both_frameworks_compute_the_same(name, defence):
    pytest.importorskip("keras")
    models = {fw: create(fw, defence, name, side=17) for fw in ("pytorch", "tensorflow")}
    rng = np.random.default_rng(0)
    weights = {
        key: value + rng.uniform(0, 0.2, value.shape).astype(np.float32)
        for key, value in zoo.get_weights(models["pytorch"]).items()
    }
    for model in models.values():
        zoo.set_weights(model, weights)
    x = rng.random((6, 1, 17, 17), np.float32)
    expected = output(models["pytorch"].eval(), x, "pytorch")
    assert expected.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(
        output(models["tensorflow"], x, "tensorflow"), expected, rtol=1e-3, atol=1e-4
    )
    gradients = [
        make_classifier(fw, models[fw], x.shape[1:] if fw == "pytorch" else (17, 17, 1))
        .loss_gradient(to_framework(x, fw), np.eye(10)[np.arange(6)])
        .reshape(-1)
        for fw in models
    ]
    assert np.abs(gradients[0]).max() > 0
    np.testing.assert_allclose(*gradients, atol=2e-3 * np.abs(gradients[0]).max())


@pytest.mark.parametrize("size", [(4, 3), ()])
def test_channels_are_multiplied_by_the_row_of_their_class(framework, size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 5, *size)) + rng.normal(scale=3, size=(8, 5, *[1] * len(size)))
    x = x.astype(np.float32)
    weight = rng.normal(size=(3, 5)).astype(np.float32)
    bias = rng.normal(size=3).astype(np.float32)
    if framework == "pytorch":
        from art_nip.zoo.pytorch.models import Suppress as Layer

        layer = Layer(5, 3)
        layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
        images = torch.from_numpy(x)
    else:
        pytest.importorskip("keras")
        from art_nip.zoo.tensorflow.models import Suppress as Layer

        images = np.moveaxis(x, 1, -1)
        layer = Layer(3)
        layer(images)
        layer.set_weights([weight.T, bias])

    def suppressed():
        result = layer(images)
        if framework == "pytorch":
            return result.detach().numpy()
        return np.moveaxis(np.asarray(result), -1, 1)

    def expected(classes):
        return np.maximum(x, 0) * weight[classes].reshape(8, 5, *[1] * len(size))

    logits = np.maximum(x, 0).reshape(8, 5, -1).mean(2) @ weight.T + bias
    predicted = logits.argmax(1)
    assert len(set(predicted)) > 1
    np.testing.assert_allclose(suppressed(), expected(predicted), rtol=1e-5)

    labels = (predicted + 1) % 3
    told = torch.from_numpy(labels) if framework == "pytorch" else labels
    with auxiliary_logits([layer, object()], told) as noted:
        np.testing.assert_allclose(suppressed(), expected(labels), rtol=1e-5)
    assert len(noted) == 1
    np.testing.assert_allclose(
        noted[0].detach() if framework == "pytorch" else noted[0], logits, atol=1e-5
    )
    with auxiliary_logits([layer], None) as noted:
        np.testing.assert_allclose(suppressed(), expected(predicted), rtol=1e-5)
    assert (len(noted), layer.auxiliary) == (1, None)


def test_a_defence_that_there_is_not():
    with pytest.raises(ValueError, match=r"Unknown trained defence 'csa'. Did you mean 'cas'\?"):
        create("pytorch", "csa")


@pytest.mark.parametrize("defence", DEFENCES)
def test_a_keras_model_can_be_saved(defence, tmp_path, digits):
    pytest.importorskip("keras")
    model = create("tensorflow", defence)
    model.save(tmp_path / "model.keras")
    loaded = sys.modules["keras"].saving.load_model(tmp_path / "model.keras")
    x = digits["test"][0][:5]
    np.testing.assert_array_equal(output(loaded, x, "tensorflow"), output(model, x, "tensorflow"))


# Training


@pytest.mark.parametrize("defence", DEFENCES)
def test_training_lowers_the_loss(framework, defence, images):
    model = create(framework, defence)
    step = training.training_step(model, Recipe(bfloat16=False), 0.5, 0.25)
    x, y = (part[:64] for part in images["train"])
    losses = [step(x, x, y, 3e-3) for _ in range(12)]
    assert max(losses[-3:]) < 0.9 * losses[0]


def test_the_loss_counts_the_auxiliary_logits(framework, images):
    x, y = (part[:64] for part in images["train"])
    losses = {}
    for auxiliary in (0.0, 1.0, 3.0):
        model = create(framework, "cas")
        recipe = Recipe(bfloat16=False, auxiliary=auxiliary)
        loss = training.training_step(model, recipe, 0.5, 0.25)(x, x, y, 0.0)
        losses[auxiliary] = float(loss)
    share = losses[1.0] - losses[0.0]
    assert share > 1  # as that of a guess
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * share, rel=1e-4)


@pytest.mark.parametrize("defence", DEFENCES)
def test_a_defended_model_knows_digits(framework, defence, lenet, images):
    model = warm(framework, defence, lenet)
    x, y = images["train"]
    training.train(model, x[:500], y[:500], Recipe(2, 50, bfloat16=False), verbose=False)
    assert all(layer.auxiliary is None for layer in layers_of(model) if hasattr(layer, "auxiliary"))
    classifier = make_classifier(framework, model)
    x, y = images["test"]
    assert np.mean(classifier.predict(x).argmax(1) == y) > 0.85
    assert np.abs(classifier.loss_gradient(x[:5], np.eye(10)[y[:5]])).max() > 0
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(*(part[:200] for part in images["bank"]))
    assert nip(x[:5])[0].shape == x[:5].shape
    if framework == "pytorch":
        again = copy.deepcopy(model)
        np.testing.assert_array_equal(output(again, x, framework), output(model, x, framework))


# Adversarial training


@pytest.mark.parametrize("kind", ["numpy", "pytorch", "tensorflow"])
@settings(max_examples=25)
@given(
    x=arrays(np.float32, (2, 1, 3, 3), elements=st.floats(0, 1, width=32)),
    seed=st.integers(0, 99),
    eps=st.floats(1e-3, 1),
    steps=st.integers(1, 4),
)
def test_an_attack_stays_in_its_ball_and_among_images(kind, x, seed, eps, steps):
    rng = np.random.default_rng(seed)
    start = x + rng.uniform(-2 * eps, 2 * eps, x.shape).astype(np.float32)
    direction = rng.normal(size=x.shape).astype(np.float32)
    convert = np.asarray if kind == "numpy" else lambda each: tensor(each, kind)
    seen = []

    def gradient(images):
        seen.append(np.asarray(images))
        return convert(direction)

    attacked = np.asarray(adversarial.worst(convert(x), convert(start), gradient, eps, steps))
    for each in (attacked, *seen):
        assert np.abs(each - x).max() <= eps + 1e-6
        assert (each.min() >= 0, each.max() <= 1) == (True, True)
    assert len(seen) == steps
    if steps > 1:  # 2.5 ε in all lead from anywhere to the worst corner
        corner = np.clip(x + eps * np.sign(direction), 0, 1)
        np.testing.assert_allclose(attacked, corner, atol=1e-6)


def test_training_on_attacks_resists_them(framework, lenet, images):
    from art_nip import attacks

    steps = {"pytorch": 1, "tensorflow": 2}[framework]
    model = create(framework)
    zoo.copy_weights(lenet[framework], model)
    x, y = images["train"]
    recipe = Recipe(4, 50, bfloat16=False, adversarial=0.15, attack_steps=steps)
    training.train(model, x[:1000], y[:1000], recipe, verbose=False)
    x, y = (part[:100] for part in images["test"])
    robust = []
    for each in (lenet[framework], model):
        classifier = make_classifier(framework, each)
        attacked = attacks.get("pgd").create(classifier, eps=0.15).generate(x, y)
        robust.append(np.mean(classifier.predict(attacked).argmax(1) == y))
    assert robust[1] > robust[0] + 0.1
    assert np.mean(make_classifier(framework, model).predict(x).argmax(1) == y) > 0.8


def test_batch_norm_sees_each_batch_once(digits):
    x, y = (part[:32] for part in digits["train"])
    moved = []
    for eps in (1e-9, None):
        model = create("pytorch", "feature-denoising")
        recipe = Recipe(bfloat16=False, adversarial=eps, attack_steps=3 if eps else 1)
        training.training_step(model, recipe, 0.5, 0.25)(x, x, y, 0.0)
        moved.append(zoo.get_weights(model)["features.1.body.3.running_mean"])
    assert np.abs(moved[0]).max() > 0
    np.testing.assert_allclose(*moved, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adversarial": 0.0}, r"adversarial=0.0; give an ε above 0 and at most 1"),
        ({"adversarial": 8}, "adversarial=8; give an ε above 0"),
        ({"adversarial": float("nan")}, "adversarial=nan"),
        ({"attack_steps": 0}, "attack_steps=0; give a whole number of at least 1"),
        ({"attack_steps": 2}, "attack_steps=2 are of adversarial training: give its ε"),
        ({"adversarial": True}, "adversarial=True; give an ε above 0"),
        ({"attack_steps": 1.5}, r"attack_steps=1\.5; give a whole number"),
        ({"auxiliary": -1.0}, "auxiliary=-1.0; give a number of at least 0"),
    ],
)
def test_a_wrong_recipe_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_images_must_be_in_the_range_of_the_attack(images):
    x, y = images["train"]
    recipe = Recipe(adversarial=0.1)
    with pytest.raises(ValueError, match=r"takes images in \[0, 1\]; these range from 0 to 255"):
        training.train(create("pytorch"), 255 * x, y, recipe)


# Files and the command


@pytest.mark.parametrize("defence", DEFENCES)
def test_a_file_serves_both_frameworks(defence, tmp_path, digits):
    pytest.importorskip("keras")
    model = create("tensorflow", defence)
    trained = TrainedModel("lenet5", (1, 28, 28), 10, 0.25, 0.5, defence=defence)
    classifiers.save(str(tmp_path / "w.safetensors"), model, trained)
    x = digits["test"][0][:20]
    expected = output(model, (x - 0.25) / 0.5, "tensorflow")
    for framework in ("pytorch", "tensorflow"):
        found = classifiers.load(str(tmp_path / "w.safetensors"), framework)
        np.testing.assert_allclose(found.predict(to_framework(x, framework)), expected, atol=1e-4)


def test_a_file_from_before_there_were_defences(lenet, tmp_path, digits):
    path = tmp_path / "w.safetensors"
    classifiers.save(path, lenet["pytorch"], TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0))
    with safe_open(path, "numpy") as file:
        header = file.metadata()
    entries = json.loads(header["trained"])
    assert entries.pop("defence") is None
    header["trained"] = json.dumps(entries)
    save_file(zoo.get_weights(lenet["pytorch"]), path, header)
    x = digits["test"][0][:20]
    np.testing.assert_allclose(
        classifiers.load(path, "pytorch").predict(x),
        output(lenet["pytorch"], x, "pytorch"),
        atol=1e-5,
    )


@pytest.fixture
def folder(digits, lenet, tmp_path, monkeypatch):
    """A working directory with digits as a stand-in for GTSRB, and weights to start from."""
    monkeypatch.chdir(tmp_path)
    for part in ("train", "test"):
        x, y = digits[part]
        np.savez(f"gtsrb-{part}.npz", x=x[:400], y=y[:400], names=list("0123456789"))
    trained = TrainedModel("lenet5", (1, 28, 28), 10, train.MEAN, train.STD)
    classifiers.save(tmp_path / "plain.safetensors", lenet["pytorch"], trained)
    return tmp_path


@pytest.mark.parametrize(
    ("framework", "defence"), [("pytorch", "feature-denoising"), ("tensorflow", "cas")]
)
def test_train_command(framework, defence, folder, capsys, digits):
    argv = ["train", "gtsrb", "lenet5", "--data", ".", "--framework", framework]
    argv += ["--epochs", "1", "--quiet", "--start", "plain.safetensors"]
    argv += ["--defence", defence, "--adversarial", "0.05", "--attack-steps", "2"]
    assert cli.main(argv) == 0
    out = folder / "weights" / f"gtsrb-lenet5-{defence}-adversarial.safetensors"
    assert str(out.relative_to(folder)) in capsys.readouterr().out
    trained, _ = classifiers.read(out)
    assert trained.defence == defence
    for part in ("from plain.safetensors", "adversarial=0.05", "attack_steps=2"):
        assert part in trained.note
    x, y = digits["test"]
    assert np.mean(classifiers.load(out, "pytorch").predict(x).argmax(1) == y) > 0.8


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ([], "gtsrb-lenet5"),
        (["--defence", "cas"], "gtsrb-lenet5-cas"),
        (["--adversarial"], "gtsrb-lenet5-adversarial"),
    ],
)
def test_names_of_files_and_the_paper_s_eps(more, name, folder):
    argv = ["train", "gtsrb", "lenet5", "--data", ".", "--epochs", "1", "--limit", "128", "--quiet"]
    assert cli.main([*argv, *more]) == 0
    (file,) = (folder / "weights").iterdir()
    assert file.name == f"{name}.safetensors"
    eps = 8 / 255 if "--adversarial" in more else None
    assert f"adversarial={eps}," in classifiers.read(file)[0].note


@pytest.mark.parametrize("eps", ["0", "-1/255", "2", "nan", "8/0", "much"])
def test_an_eps_that_is_none(eps, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "gtsrb", "lenet5", f"--adversarial={eps}"])
    assert "is not a number above 0 and at most 1, such as 0.03 or 8/255" in capsys.readouterr().err


@pytest.mark.parametrize("defence", ["cas", None])
def test_a_start_of_another_model(defence, folder, capsys):
    other = TrainedModel(
        "lenet5", (1, 28, 28), 10, train.MEAN, train.STD, defence="feature-denoising"
    )
    classifiers.save(folder / "other.safetensors", create("pytorch", other.defence), other)
    argv = ["train", "gtsrb", "lenet5", "--data", ".", "--quiet", "--start", "other.safetensors"]
    argv += ["--defence", defence] if defence else []
    assert cli.main(argv) == 2
    assert "only the same model can, with the same defence or with none" in capsys.readouterr().err
    assert not (folder / "weights").exists()


def test_no_file_to_start_from(folder, capsys):
    argv = ["train", "gtsrb", "lenet5", "--data", ".", "--quiet", "--start", "none.safetensors"]
    assert cli.main(argv) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_the_command_offers_what_there_is():
    assert parser.MODEL_DEFENCES == DEFENCES
