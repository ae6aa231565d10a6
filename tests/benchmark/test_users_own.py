"""Attacks, defences and classifiers of the user's own."""

import numpy as np
import pandas as pd
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import AutoProjectedGradientDescent, FastGradientMethod
from art.defences.preprocessor import (
    GaussianAugmentation,
    JpegCompression,
)
from art.estimators.classification import PyTorchClassifier

from art_nip import NIPPreprocessor, attacks
from art_nip.benchmark import Attack, Benchmark, Defence, NoSuccessWarning
from art_nip.benchmark.plan.attacks import attack_entries
from art_nip.utils.seeds import seeded
from tests.benchmark.helpers import (
    PGD,
    PROTOCOLS,
    Darken,
    Shift,
    cell_of,
    crafted,
    data,
    decibels,
    figure,
    files,
    make,
    pgd,
    rows,
)
from tests.helpers import make_classifier


def test_an_attack_of_art_gives_what_its_name_gives(classifier, arrays, tmp_path):
    named = Attack("pgd", "by name", parameters=PGD)
    benchmark = make(
        classifier, [pgd(classifier), named], ["nip", "jpeg"], store=tmp_path,
        threats=["oblivious", "adaptive"],
    )  # fmt: skip
    table = benchmark.run(*arrays)
    assert set(table.error) == {""}
    columns = [column for column in table.columns if column not in ("attack", "seconds")]
    own, by_name = (
        rows(table, attack=label)[columns][lambda t: t.metric != "seconds_per_image"]
        for label in ("ProjectedGradientDescent", "by name")
    )
    assert own.reset_index(drop=True).equals(by_name.reset_index(drop=True))
    assert (own.eps == 0.2).all()


@pytest.mark.parametrize(
    ("low", "high"), [(0, 255), (-1, 1), ([[[0]], [[0]], [[-1]]], [[[2]], [[1]], [[1]]])]
)
def test_the_eps_of_an_attack_of_art_is_of_images_in_the_unit_range(low, high):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    clip_values = tuple(np.array(bound, np.float32) for bound in (low, high))
    classifier = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), (3, 2, 2), 2, clip_values=clip_values
    )
    given = 0.1 * float((clip_values[1] - clip_values[0]).min())
    own = FastGradientMethod(classifier, eps=given)
    named = attacks.get("fgsm").create(classifier, eps=0.1)
    for attack in (own, named):
        (entry,) = attack_entries([attack], classifier)
        assert entry.eps == pytest.approx(0.1)


def test_attacks_with_their_own_estimator_go_through_defences(classifier, arrays, tmp_path):
    """AutoPGD makes itself a classifier with another loss."""

    def apgd(estimator):
        return AutoProjectedGradientDescent(
            estimator, eps=0.2, eps_step=0.05, max_iter=4, nb_random_init=1, verbose=False,
            loss_type="cross_entropy",
        )  # fmt: skip

    benchmark = make(
        classifier, [apgd(classifier)], ["nip"], store=tmp_path, threats=["oblivious", "adaptive"]
    )
    assert set(benchmark.run(*arrays).error) == {""}
    where = {"attack": "AutoProjectedGradientDescent", "defence": "nip"}
    cell = cell_of(benchmark, arrays, **where, threat="adaptive")
    adaptive = crafted(tmp_path, benchmark, arrays, **where, threat="adaptive")
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(*arrays[2])
    with seeded(int(cell.adversarial[:8], 16)):
        expected = apgd(nip.attach(classifier)).generate(*arrays[:2])
    np.testing.assert_allclose(adaptive, expected, atol=1e-5)


def test_an_attack_of_the_users_own(classifier, arrays, tmp_path):
    x, y, _ = arrays
    table = make(classifier, [Shift(classifier), Attack(Shift(classifier, 0.1), "weak", limit=4)],
                 ["ss"], store=tmp_path).run(x, y)  # fmt: skip
    adversarial = Shift(classifier).generate(x, y)
    after = classifier.predict(adversarial.astype(np.float32)).argmax(axis=1)
    where = {"defence": "none"}
    assert figure(table, "accuracy", attack="Shift", **where)["value"] == (after == y).mean()
    assert figure(table, "accuracy", attack="weak", **where)["n"] == 4
    assert np.isnan(rows(table, attack="Shift").eps).all()


def test_a_fitted_nip_is_fitted_anew_and_left_as_it_was(classifier, arrays, images, tmp_path):
    x, y, bank = arrays
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, k1=3)
    nip.fit(images["train"][0][:50], images["train"][1][:50])
    before, fit = nip(x)[0], nip._fitted
    defences = {
        "mine": nip,
        "named": Defence("nip", parameters={"k1": 3}),
        "jpeg": JpegCompression((0, 1), quality=10, channels_first=x.shape[1] == 1),
    }
    attack = Attack("pgd", parameters=PGD)
    table = make(classifier, [attack], defences, store=tmp_path, protocols=PROTOCOLS).run(*arrays)
    for protocol, (seen, labels) in {"held-out": bank, "leaked": (x, y)}.items():
        expected = NIPPreprocessor.for_estimator(classifier, verbose=False, k1=3)
        expected.fit(seen, labels)
        found = figure(table, "psnr", attack="benign", defence="mine", protocol=protocol)
        assert found["value"] == pytest.approx(decibels(x, expected(x)[0]).mean(), rel=1e-5)
        by_name = figure(table, "psnr", attack="benign", defence="named", protocol=protocol)
        assert by_name["value"] == found["value"]
    assert nip._fitted is fit
    assert np.array_equal(nip(x)[0], before)
    jpeg = defences["jpeg"](x)[0]
    found = figure(table, "psnr", attack="benign", defence="jpeg", protocol="held-out")
    assert found["value"] == pytest.approx(decibels(x, jpeg).mean(), rel=1e-5)


def test_a_defence_of_the_users_own_that_learns(classifier, arrays, tmp_path):
    x, _, bank = arrays
    darken = Darken()
    attack = Attack("pgd", parameters=PGD)
    table = make(classifier, [attack], [darken], store=tmp_path, protocols=PROTOCOLS).run(*arrays)
    for protocol, images in {"held-out": bank[0], "leaked": x}.items():
        found = figure(table, "psnr", attack="benign", defence="Darken", protocol=protocol)
        expected = decibels(x, x * (1 - images.mean())).mean()
        assert found["value"] == pytest.approx(expected, rel=1e-5)
    assert darken.by == 0.5


def test_a_trained_classifier_is_a_defence(framework, classifier, retrained, arrays, tmp_path):
    x, y, _ = arrays
    other = make_classifier(framework, retrained[framework])
    benchmark = make(
        classifier, [pgd(classifier)], {"trained": other}, store=tmp_path,
        threats=["oblivious", "adaptive"],
    )  # fmt: skip
    table = benchmark.run(x, y)
    assert set(table.error) == {""}
    examples = {"oblivious": pgd(classifier).generate(x, y), "adaptive": pgd(other).generate(x, y)}
    for threat, adversarial in examples.items():
        where = {"attack": "ProjectedGradientDescent", "defence": "trained", "threat": threat}
        stored = crafted(tmp_path, benchmark, arrays, **where)
        np.testing.assert_allclose(stored, adversarial, atol=1e-6)
        expected = (other.predict(adversarial).argmax(axis=1) == y).mean()
        assert figure(table, "accuracy", **where)["value"] == pytest.approx(expected)
    # What they see says nothing of the neurons of another model.
    assert not set(rows(table, defence="trained").metric) & {"psnr", "tknc"}


def test_a_defence_stands_before_those_that_the_classifier_has(framework, lenet, arrays, tmp_path):
    """For benign images, oblivious attacks and adaptive ones alike."""
    from art.defences import preprocessor

    first = framework == "pytorch"
    suffix = "PyTorch" if first else "TensorFlowV2"
    smooth = getattr(preprocessor, f"SpatialSmoothing{suffix}")(3, channels_first=first)
    smoothing = make_classifier(framework, lenet[framework], preprocessing_defences=smooth)
    x, y, bank = arrays[0][:6], arrays[1][:6], arrays[2]
    attack = pgd(smoothing, max_iter=3, eps_step=0.1)
    threats = ["oblivious", "adaptive"]
    benchmark = make(smoothing, [attack], ["nip"], store=tmp_path, threats=threats)
    table = benchmark.run(x, y, bank)
    assert set(table.error) == {""}
    nip = NIPPreprocessor.for_estimator(smoothing, verbose=False)
    nip.fit(*bank)
    both = make_classifier(framework, lenet[framework], preprocessing_defences=[nip, smooth])
    where = {"attack": "ProjectedGradientDescent", "defence": "nip", "threat": "adaptive"}
    stored = crafted(tmp_path, benchmark, (x, y, bank), **where)
    expected = pgd(both, max_iter=3, eps_step=0.1).generate(x, y)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    found = figure(table, "accuracy", **where)
    assert found["value"] == pytest.approx((both.predict(stored).argmax(axis=1) == y).mean())
    assert smoothing.preprocessing_defences == [smooth]


def test_defences_that_leave_the_range_are_measured(classifier, arrays, tmp_path):
    noise = GaussianAugmentation(sigma=0.5, augmentation=False, apply_fit=False, apply_predict=True)
    table = make(classifier, ["fgsm"], {"noise": noise}, store=tmp_path).run(*arrays)
    assert set(table.error) == {""}
    found = rows(table, defence="noise", attack="benign")
    assert {"psnr", "tknc"} <= set(found.metric)


def test_labels_may_be_one_hot_and_images_double(classifier, arrays, tmp_path):
    x, y, (others, labels) = arrays
    benchmark = make(classifier, ["fgsm"], ["nip"], store=tmp_path)
    table = benchmark.run(x, y, (others, labels))
    before = files(tmp_path)
    again = benchmark.run(
        x.astype(np.float64), np.eye(10)[y], (others.astype(np.float64), np.eye(10)[labels])
    )
    assert again.equals(table)
    assert files(tmp_path) == before


def test_a_keras_classifier(lenet, digits, tmp_path):
    import keras
    from art.estimators.classification import KerasClassifier

    model = keras.models.clone_model(lenet["tensorflow"])
    model.set_weights(lenet["tensorflow"].get_weights())
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, optimizer="sgd")
    classifier = KerasClassifier(model, use_logits=True, clip_values=(0, 1))
    arrays = data(digits, "tensorflow")
    chosen = [Attack("pgd", parameters=PGD)]
    table = make(classifier, chosen, ["nip", "jpeg"], store=tmp_path / "keras").run(*arrays)
    other = make_classifier("tensorflow", lenet["tensorflow"])
    expected = make(other, chosen, ["nip", "jpeg"], store=tmp_path / "tf").run(*arrays)
    found, wanted = (
        each[each.metric.isin(["accuracy", "asr", "dsr", "forward_passes"])]
        .drop(columns="seconds")
        .reset_index(drop=True)
        for each in (table, expected)
    )
    pd.testing.assert_frame_equal(found, wanted)


def test_a_black_box(digits, lenet, tmp_path):
    """Nothing of it is seen but what it predicts."""
    from art.estimators.classification import BlackBoxClassifier

    white = make_classifier("pytorch", lenet["pytorch"])
    black = BlackBoxClassifier(
        lambda x: white.predict(x.astype(np.float32)), (1, 28, 28), 10, clip_values=(0, 1)
    )
    x, y, _ = data(digits, "pytorch")
    table = make(black, ["auna"], ["jpeg", "tvm"], store=tmp_path).run(x, y)
    assert set(table.error) == {""}
    assert not set(table.metric) & {"tknc", "forward_passes"}
    assert {"psnr", "dsr", "asr", "l2"} <= set(table.metric)


class HandingOn(EvasionAttack):
    """An attack around another one, which gets the same labels."""

    attack_params = (*EvasionAttack.attack_params, "inner")
    _estimator_requirements = ()

    def __init__(self, estimator, inner):
        super().__init__(estimator=estimator)
        self.inner = inner

    def generate(self, x, y=None, **kwargs):
        return self.inner.generate(x, y)


def test_an_attack_that_hands_true_classes_on_as_targets_does_nothing_and_is_told_of(
    classifier, arrays, tmp_path
):
    around = HandingOn(classifier, pgd(classifier, targeted=True))
    benchmark = Benchmark(classifier, [around], store=tmp_path, verbose=False)
    with pytest.warns(NoSuccessWarning, match="'HandingOn' led none of .* labels for targets"):
        table = benchmark.run(*arrays)
    assert rows(table, metric="asr").value.tolist() == [0]
