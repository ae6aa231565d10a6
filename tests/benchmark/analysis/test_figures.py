"""The figures by hand, of attacks that know of the defence and of those that do not."""

from types import SimpleNamespace

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.preprocessor import (
    JpegCompression,
)

from art_nip import NIPPreprocessor
from art_nip.benchmark import Attack
from art_nip.metrics import wilson_interval
from tests.benchmark.helpers import (
    PGD,
    PROTOCOLS,
    classes,
    crafted,
    data,
    decibels,
    figure,
    kept_neurons,
    make,
    rows,
)
from tests.helpers import make_classifier


@pytest.fixture(scope="module")
def measured(framework, lenet, digits, tmp_path_factory):
    """PGD against JPEG and NIP, in both protocols and threats, one image labelled wrongly."""
    classifier = make_classifier(framework, lenet[framework])
    x, y, bank = data(digits, framework, n=30)
    y[0] = (y[0] + 1) % 10
    folder = tmp_path_factory.mktemp("measured")
    benchmark = make(
        classifier,
        [Attack("pgd", parameters=PGD), Attack("fgsm", label="half", limit=15)],
        ["jpeg", "nip"],
        protocols=PROTOCOLS,
        threats=["oblivious", "adaptive"],
        store=folder,
    )
    table = benchmark.run(x, y, bank)
    assert set(table.error) == {""}
    # By hand:
    adversarial = ProjectedGradientDescent(
        classifier, eps=0.2, eps_step=0.05, max_iter=6, verbose=False
    ).generate(x, y)
    nips = {}
    for protocol, (images, labels) in {"held-out": bank, "leaked": (x, y)}.items():
        nips[protocol] = NIPPreprocessor.for_estimator(classifier, verbose=False)
        nips[protocol].fit(images, labels)
    return SimpleNamespace(**locals())


def by_hand(measured, defence, protocol):
    """Return the function from images to what the classifier sees."""
    if defence == "nip":
        return lambda x: measured.nips[protocol](x)[0]
    if defence == "none":
        return lambda x: x
    first = measured.framework == "pytorch"
    return lambda x: JpegCompression((0, 1), quality=80, channels_first=first)(x)[0]


def assert_mean(row, values, most=np.inf):
    half = 1.959964 * values.std(ddof=1) / np.sqrt(len(values))
    low, high = np.clip([values.mean() - half, values.mean() + half], 0, most)
    expected = (values.mean(), low, high)
    assert (row["value"], row["low"], row["high"]) == pytest.approx(expected, rel=1e-4)
    assert row["n"] == len(values)


def assert_rate(row, hits):
    assert row["value"] == pytest.approx(hits.mean())
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(hits.sum(), len(hits)))
    assert row["n"] == len(hits)


def test_the_stored_examples_are_those_of_art(measured):
    stored = crafted(
        measured.folder, measured.benchmark, (measured.x, measured.y, measured.bank),
        attack="pgd", defence="none", protocol="held-out", threat="oblivious",
    )  # fmt: skip
    np.testing.assert_allclose(stored, measured.adversarial, atol=1e-6)
    assert stored.dtype == np.float32


def test_the_attack_by_hand(measured):
    where = {"attack": "pgd", "defence": "none", "protocol": "held-out", "threat": "oblivious"}
    before, after = classes(measured, measured.x), classes(measured, measured.adversarial)
    right = before == measured.y
    hit = right & (after != measured.y)
    assert 3 < hit.sum() < right.sum() < len(right)
    assert_rate(figure(measured.table, "accuracy", **where), after == measured.y)
    assert_rate(figure(measured.table, "asr", **where), hit[right])
    difference = (measured.adversarial - measured.x)[hit].reshape(hit.sum(), -1)
    assert_mean(figure(measured.table, "l2", **where), np.linalg.norm(difference, axis=1))
    assert figure(measured.table, "linf", **where)["value"] == pytest.approx(0.2, abs=1e-6)
    psnr = decibels(measured.x, measured.adversarial)[hit]
    assert_mean(figure(measured.table, "psnr", **where), psnr)
    kept = kept_neurons(measured, measured.adversarial)[hit]
    assert_mean(figure(measured.table, "tknc", **where), kept, most=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("defence", ["jpeg", "nip"])
def test_a_defence_by_hand(measured, defence, protocol):
    where = {"attack": "pgd", "defence": defence, "protocol": protocol, "threat": "oblivious"}
    seen = by_hand(measured, defence, protocol)(measured.adversarial)
    final = classes(measured, seen)
    before, after = classes(measured, measured.x), classes(measured, measured.adversarial)
    hit = (before == measured.y) & (after != measured.y)
    assert_rate(figure(measured.table, "accuracy", **where), final == measured.y)
    assert_rate(figure(measured.table, "dsr", **where), (final == measured.y)[hit])
    assert_mean(figure(measured.table, "psnr", **where), decibels(measured.x, seen)[hit])
    kept = kept_neurons(measured, seen)[hit]
    assert_mean(figure(measured.table, "tknc", **where), kept, most=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("defence", ["none", "jpeg", "nip"])
def test_benign_images_by_hand(measured, defence, protocol):
    where = {"attack": "benign", "defence": defence, "protocol": protocol, "threat": "oblivious"}
    seen = by_hand(measured, defence, protocol)(measured.x)
    right = classes(measured, seen) == measured.y
    assert_rate(figure(measured.table, "accuracy", **where), right)
    if defence != "none":
        assert_mean(figure(measured.table, "psnr", **where), decibels(measured.x, seen))
        kept = kept_neurons(measured, seen)
        assert_mean(figure(measured.table, "tknc", **where), kept, most=1)


def test_a_limited_attack_is_measured_on_the_first_images(measured):
    where = {"attack": "half", "defence": "jpeg", "protocol": "held-out", "threat": "oblivious"}
    stored = crafted(
        measured.folder, measured.benchmark, (measured.x, measured.y, measured.bank), **where
    )
    final = classes(measured, by_hand(measured, "jpeg", "")(stored))
    before, after = classes(measured, measured.x[:15]), classes(measured, stored)
    hit = (before == measured.y[:15]) & (after != measured.y[:15])
    assert_rate(figure(measured.table, "accuracy", **where), final == measured.y[:15])
    assert figure(measured.table, "dsr", **where)["n"] == hit.sum()


def defended_by_hand(measured, defence, protocol="held-out"):
    if defence == "nip":
        return measured.nips[protocol].attach(measured.classifier)
    jpeg = JpegCompression((0, 1), quality=80, channels_first=measured.framework == "pytorch")
    return make_classifier(
        measured.framework, measured.lenet[measured.framework], preprocessing_defences=jpeg
    )


@pytest.mark.parametrize(
    ("defence", "protocol"),
    [("jpeg", "held-out"), ("nip", "held-out"), ("nip", "leaked")],
)
def test_adaptive_examples_are_those_of_art_through_the_defence(measured, defence, protocol):
    where = {"attack": "pgd", "defence": defence, "protocol": protocol}
    arrays = (measured.x, measured.y, measured.bank)
    adaptive, oblivious = (
        crafted(measured.folder, measured.benchmark, arrays, **where, threat=threat)
        for threat in ("adaptive", "oblivious")
    )
    target = defended_by_hand(measured, defence, protocol)
    expected = ProjectedGradientDescent(
        target, eps=0.2, eps_step=0.05, max_iter=6, verbose=False
    ).generate(measured.x, measured.y)
    np.testing.assert_allclose(adaptive, expected, atol=1e-6)
    assert not np.allclose(adaptive, oblivious, atol=1e-3)
    np.testing.assert_allclose(oblivious, measured.adversarial, atol=1e-6)
    # And they are measured on the defended classifier:
    before, after = (target.predict(each).argmax(axis=1) for each in (measured.x, adaptive))
    right = before == measured.y
    found = figure(measured.table, "asr", **where, threat="adaptive")
    assert_rate(found, (after != measured.y)[right])
    hit = right & (after != measured.y)
    difference = (adaptive - measured.x)[hit].reshape(hit.sum(), -1)
    l2 = figure(measured.table, "l2", **where, threat="adaptive")
    assert_mean(l2, np.linalg.norm(difference, axis=1))


def test_going_through_no_defence_is_not_knowing_of_one(measured):
    columns = [column for column in measured.table.columns if column != "threat"]
    adaptive, oblivious = (
        rows(measured.table, defence="none", threat=threat)[columns].reset_index(drop=True)
        for threat in ("adaptive", "oblivious")
    )
    assert adaptive.equals(oblivious)


def test_success_is_of_the_defence_or_of_the_attack(measured):
    found = measured.table[measured.table.attack != "benign"]
    with_dsr = set(rows(found, metric="dsr")[["defence", "threat"]].itertuples(index=False))
    assert {tuple(each) for each in with_dsr} == {("jpeg", "oblivious"), ("nip", "oblivious")}
    for metric in ("asr", "l2", "linf", "forward_passes"):
        cells = rows(found, metric=metric)[["defence", "threat"]].itertuples(index=False)
        assert {tuple(each) for each in cells} == {
            ("none", "oblivious"), ("none", "adaptive"), ("jpeg", "adaptive"), ("nip", "adaptive")
        }  # fmt: skip


def test_attacking_through_nip_costs_twice_as_much(measured):
    where = {"attack": "half", "protocol": "held-out", "threat": "adaptive"}
    for way, factor in {"forward": 2, "backward": 2}.items():
        bare, nip = (
            figure(measured.table, f"{way}_passes", defence=defence, **where)["value"]
            for defence in ("none", "nip")
        )
        assert nip == factor * bare
