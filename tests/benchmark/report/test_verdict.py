"""A report begins with what is best for each threat, and whether that is to be believed."""

import pytest

from art_nip.benchmark.report.results import Results
from art_nip.benchmark.report.verdict import verdict
from tests.benchmark.report_builder import Builder, page, rate, suite

ADAPTIVE = ("held-out", "adaptive")


def said(folder):
    return dict(verdict(Results(folder)).facts)


def test_it_stands_first_on_the_page(tmp_path):
    assert next(iter(page(Builder(tmp_path / "store").fill()).sections)) == "Verdict"


def test_the_best_defence_of_oblivious_attacks(tmp_path):
    builder = Builder(tmp_path / "store").fill(("held-out", "leaked"))
    for protocol in ("held-out", "leaked"):
        for attack in builder.eps:
            builder.row(attack, "nip", "dsr", rate(30, 40), (protocol, "oblivious"))
            builder.row(attack, "ss", "dsr", rate(10, 40), (protocol, "oblivious"))
    found = said(builder.write())
    assert list(found) == ["oblivious, held-out", "oblivious, leaked"]
    text = found["oblivious, held-out"]
    assert text.startswith("nip puts most adversarial examples right")
    assert "mean DSR 0.75. Accuracy on benign images: 0.97 of nip, 0.97 of none." in text
    assert "Not what to expect in use" not in text
    assert "Not what to expect in use" in found["oblivious, leaked"]


def test_several_are_best_as_printed(tmp_path):
    builder = Builder(tmp_path / "store", {"fgsm": 0.1}).fill()
    builder.row("fgsm", "nip", "dsr", (0.501, 0.4, 0.6, 100))
    builder.row("fgsm", "ss", "dsr", (0.4991, 0.4, 0.6, 100))
    assert said(builder.write())["oblivious, held-out"].startswith("nip and ss put most")


def test_nothing_repaired_and_nothing_measured(tmp_path):
    builder = Builder(tmp_path / "store", {"fgsm": 0.1}).fill()
    for defence in ("nip", "ss"):
        builder.row("fgsm", defence, "dsr", rate(0, 40))
    found = said(builder.write())["oblivious, held-out"]
    assert found == "No defence puts any adversarial example right."
    builder.drop(attack="fgsm")
    found = said(builder.write())
    assert "so none is best" in found["oblivious, held-out"]
    assert found["unfinished"] == "3 cells still to be computed may change this."


@pytest.mark.parametrize(("p", "by_chance"), [(0.03, False), (0.4, True)])
def test_the_worst_case_beside_that_of_no_defence(tmp_path, p, by_chance):
    found = said(suite(tmp_path / "store", p=p))["adaptive, held-out"]
    assert "nip has the highest worst-case accuracy under the suite 'adaptive', 0.20 [" in found
    assert "n = 40; without a defence it is 0.17 [" in found
    assert f"nip is 0.03 [-0.03, 0.08] from none on the same images (p = {p:.3f})." in found
    assert ("No defence is above none by more than chance" in found) == by_chance


def test_what_the_checklist_says_of_the_best(tmp_path):
    found = said(suite(tmp_path / "a", failed="random noise adds nothing"))["adaptive, held-out"]
    assert "Checklist of nip, failed: random noise adds nothing. So a stronger attack" in found
    found = said(suite(tmp_path / "b", failed=None))["adaptive, held-out"]
    assert "Checklist of nip: nothing failed." in found


def test_attacks_of_the_suite_that_failed(tmp_path):
    whole = said(suite(tmp_path / "a"))["adaptive, held-out"]
    assert "failed, see Failures" not in whole
    found = said(suite(tmp_path / "b", error="ValueError: none"))["adaptive, held-out"]
    assert "Attacks of the suite 'adaptive' failed, see Failures: 1 on nip. What they" in found


def test_adaptive_attacks_without_the_suite(tmp_path):
    builder = Builder(tmp_path / "store").fill(threats=("adaptive",))
    builder.row("fgsm", "nip", "accuracy", rate(20, 40), ADAPTIVE)
    builder.row("fgsm", "ss", "accuracy", rate(3, 40), ADAPTIVE)
    builder.row("fgsm", "none", "accuracy", rate(4, 40), ADAPTIVE)
    found = said(builder.write())["adaptive, held-out"]
    assert found.startswith("nip keeps the highest accuracy under the worst attack that has an ε: ")
    assert "0.50 [0.35, 0.65]" in found
    assert "there is no checklist" in found


def test_what_failed(tmp_path):
    builder = Builder(tmp_path / "store").fill()
    builder.fail("fgsm", "nip", "ValueError: no gradient")
    builder.fail("deepfool", "ss", "OOM")
    found = said(builder.write())
    assert found["failed"] == "2 cells raised an error and left no number; see Failures."
    assert "No defence has a rate under every attack yet" in found["oblivious, held-out"]
