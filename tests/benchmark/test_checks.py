"""Arguments, images and labels that are refused, and what is left as it was."""

import json
import os

import numpy as np
import pytest
from art.defences.preprocessor import (
    FeatureSqueezing,
    GaussianAugmentation,
    JpegCompression,
    SpatialSmoothing,
)

from art_nip.benchmark import Attack, Benchmark, Defence
from tests.benchmark.helpers import PGD, Darken, black_box, make, pgd, rows
from tests.helpers import make_classifier


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"attacks": ["pdg"]}, ValueError, "no attack 'pdg'. The nearest is 'pgd'"),
        ({"attacks": [Attack("pgd", parameters={"epss": 1})]}, ValueError,
         "no parameter 'epss'. The nearest is 'eps'"),
        ({"attacks": ["fgsm", "fgsm"]}, ValueError, "Two attacks are called 'fgsm'"),
        ({"attacks": ["fgsm", Attack("bim", "fgsm")]}, ValueError, "Two attacks are called"),
        ({"attacks": [Attack("fgsm", "benign")]}, ValueError, "No attack can be called 'benign'"),
        ({"attacks": [Attack("fgsm", limit=0)]}, ValueError, "limit=0; give a whole number"),
        ({"attacks": [3]}, TypeError, "3 is no attack: give a name"),
        ({"attacks": [JpegCompression((0, 1))]}, TypeError, "is no attack"),
        ({"defences": ["jpg"]}, ValueError, "Unknown defence 'jpg'. Did you mean 'jpeg'"),
        ({"defences": [Defence("jpeg", parameters={"qualty": 1})]}, ValueError,
         "'qualty'. Did you mean 'quality'"),
        ({"defences": ["ss", "ss"]}, ValueError, "Two defences are called 'ss'"),
        ({"attacks": [Attack("fgsm", "nearest")]}, ValueError, "No attack can be called 'nearest'"),
        ({"defences": {"none": "ss"}}, ValueError, "No defence can be called 'none'"),
        ({"defences": [Defence("ss", "none")]}, ValueError, "No defence can be called 'none'"),
        ({"defences": [3]}, TypeError, "3 is no defence: give a name"),
        ({"defences": [Defence(JpegCompression((0, 1)), parameters={"quality": 3})]}, ValueError,
         "has its parameters already"),
        ({"defences": {"g": GaussianAugmentation()}}, ValueError,
         "'g' is one of training.*apply_predict=True"),
        ({"protocols": ["heldout"]}, ValueError, "Unknown protocol 'heldout'. Did you mean"),
        ({"threats": ["adaptve"]}, ValueError, "'adaptve'. Did you mean 'adaptive'"),
        ({"engine": "rey"}, ValueError, "Unknown engine 'rey'. Did you mean 'ray'"),
        ({"address": "here:1"}, ValueError, "of no use to the engine \"local\""),
        ({"jobs": 0}, ValueError, "jobs=0; give a whole number"),
        ({"seed": -1}, ValueError, "seed=-1; give a whole number"),
        ({"seed": 0.5}, ValueError, "seed=0.5; give a whole number"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_at_once(arguments, error, message, tmp_path):
    folder = tmp_path / "store"
    defaults = {"classifier": black_box(), "attacks": ["auna"], "store": folder}
    with pytest.raises(error, match=message):
        Benchmark(**{**defaults, **arguments})
    assert not folder.exists()


def test_parameters_of_an_attack_of_art_are_its_own(classifier):
    with pytest.raises(ValueError, match="has its parameters already"):
        make(classifier, [Attack(pgd(classifier), parameters={"eps": 1})], store="nowhere")


def test_the_classifier_must_have_clip_values():
    with pytest.raises(ValueError, match="has no clip_values"):
        make(black_box(clip_values=None), ["auna"], store="nowhere")


def test_an_attack_on_another_classifier_is_refused(framework, classifier, lenet, retrained, nip):
    """It would attack that one whatever defence it is to go through."""
    others = [
        make_classifier(framework, retrained[framework]),
        make_classifier(framework, lenet[framework], preprocessing_defences=SpatialSmoothing(2)),
        nip.attach(classifier),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"made for another classifier.*adaptive"):
            make(classifier, [pgd(other)], store="nowhere")


@pytest.mark.parametrize("shared", [0, 59])
def test_evaluated_images_must_not_be_in_the_bank(classifier, arrays, tmp_path, shared):
    x, y, (bank, labels) = arrays
    bank = bank.copy()
    bank[shared] = x[3]
    benchmark = make(classifier, ["fgsm"], ["nip"], store=tmp_path / "a")
    for call in (benchmark.run, benchmark.plan):
        with pytest.raises(ValueError, match="1 of the 10 evaluated images are in the bank too"):
            call(x, y, (bank, labels))
    # Where nothing is learnt from it, this does no harm.
    make(classifier, ["fgsm"], ["ss"], store=tmp_path / "b").plan(x, y, (bank, labels))
    leaked = make(classifier, ["fgsm"], ["nip"], store=tmp_path / "c", protocols=["leaked"])
    leaked.plan(x, y, (bank, labels))


def test_what_learns_needs_a_bank(classifier, arrays, tmp_path):
    x, y, _ = arrays
    benchmark = make(classifier, ["fgsm"], ["ss", "nip", Darken()], store=tmp_path / "a")
    with pytest.raises(ValueError, match="nip, Darken learns from benign images: give bank"):
        benchmark.run(x, y)
    assert not (tmp_path / "a").exists()
    make(classifier, ["fgsm"], ["ss"], store=tmp_path / "b").plan(x, y)
    make(classifier, ["fgsm"], ["nip"], store=tmp_path, protocols=["leaked"]).plan(x, y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x, y[:-1]), ValueError, r"Labels have shape \(9,\); for 10 images"),
        (lambda x, y: (x, y + 10), ValueError, "whole numbers from 0 to 9"),
        (lambda x, y: (x * 255, y), ValueError, "outside the clip_values"),
        (lambda x, y: (x[:, :, :-1], y), ValueError, "Images have shape"),
        (lambda x, y: (x * np.nan, y), ValueError, "NaN"),
        (lambda x, y: (x.astype(str), y), TypeError, "array of numbers"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "no image"),
    ],
)
def test_wrong_images_and_labels_are_refused(classifier, arrays, tmp_path, change, error, message):
    x, y, _ = arrays
    folder = tmp_path / "store"
    benchmark = make(classifier, ["fgsm"], ["nip"], store=folder)
    with pytest.raises(error, match=message):
        benchmark.run(*change(x, y), arrays[2])
    with pytest.raises(error, match=message):
        benchmark.run(*arrays[2], change(x, y))
    assert not folder.exists()


def test_the_classifier_is_left_as_it_was(classifier, arrays, tmp_path, framework):
    x = arrays[0]
    scores = classifier.predict(x)
    operations = list(classifier.preprocessing_operations)
    attributes = set(vars(classifier.model))
    make(classifier, ["fgsm", Attack("pgd", parameters=PGD)], ["nip", "cbdr"], store=tmp_path,
         threats=["oblivious", "adaptive"]).run(*arrays)  # fmt: skip
    assert np.array_equal(classifier.predict(x), scores)
    assert classifier.preprocessing_operations == operations
    assert classifier.preprocessing_defences is None
    assert set(vars(classifier.model)) == attributes
    if framework == "pytorch":
        assert all(each.requires_grad for each in classifier.model.parameters())
        assert not any(module._forward_hooks for module in classifier.model.modules())


def test_numbers_of_numpy_are_numbers(classifier, arrays, tmp_path):
    chosen = [Attack("fgsm", parameters={"eps": np.float32(0.1)}, limit=np.int64(3))]
    benchmark = make(classifier, chosen, store=tmp_path, seed=np.uint32(3))
    table = benchmark.run(*arrays)
    assert rows(table, attack="fgsm").eps.to_numpy() == pytest.approx(0.1)
    assert json.loads((tmp_path / "benchmark.json").read_text())["seed"] == 3


def test_what_is_said_twice_is_done_once(classifier, arrays, tmp_path):
    twice = {"protocols": ["held-out"] * 2, "threats": ["oblivious"] * 2}
    plan = make(classifier, ["fgsm"], ["ss"], store=tmp_path, **twice).plan(*arrays)
    assert len(plan) == 4


def test_a_defence_under_two_labels_shares_its_results(classifier, arrays, tmp_path):
    defences = {"a": FeatureSqueezing((0, 1), bit_depth=3), "b": FeatureSqueezing((0, 1), 3)}
    table = make(classifier, ["fgsm"], defences, store=tmp_path).run(*arrays)
    assert len(list((tmp_path / "predictions").iterdir())) == 2 * 2
    a, b = (rows(table, defence=label).drop(columns="defence") for label in "ab")
    assert a.reset_index(drop=True).equals(b.reset_index(drop=True))


def test_names_of_classes_stand_for_what_has_no_label(classifier, arrays, tmp_path):
    defences = [JpegCompression((0, 1), channels_first=True), "none", Defence("ss", "median")]
    table = make(classifier, [pgd(classifier)], defences, store=tmp_path).plan(*arrays)
    assert list(table.defence.unique()) == ["none", "JpegCompression", "median"]
    assert list(table.attack.unique()) == ["benign", "ProjectedGradientDescent"]
    assert os.listdir(tmp_path) == []


def test_a_store_of_an_older_version_is_refused(classifier, tmp_path):
    old = tmp_path / "benchmark.json"
    old.write_text('{"format": 1, "protocols": ["transductive"]}')
    with pytest.raises(ValueError, match=r"format 1 .*transductive.*into another folder"):
        make(classifier, ["fgsm"], store=tmp_path)
    assert old.read_text() == '{"format": 1, "protocols": ["transductive"]}'
