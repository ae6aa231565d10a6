"""What keeps tables and reports of many cells fast, and that it changes no figure."""

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file

from art_nip.benchmark import Attack
from art_nip.benchmark.report import figures
from art_nip.benchmark.schema.rows import Row
from tests.benchmark.helpers import data, make
from tests.helpers import make_classifier


def test_norms_are_kept_and_are_those_of_the_images(lenet, digits, tmp_path):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y, _ = data(digits, "pytorch")

    def benchmark():
        return make(classifier, ["fgsm", "deepfool"], ["ss"], store=tmp_path)

    table = benchmark().run(x, y)
    files = sorted((tmp_path / "adversarial").glob("*.safetensors"))
    assert len(files) == 2
    for path in files:
        with safe_open(path, "numpy") as file:
            metadata, images = file.metadata(), file.get_tensor("x")
            flat = (images - x).reshape(len(x), -1).astype(np.float64)
            np.testing.assert_allclose(
                file.get_tensor("l2"), np.linalg.norm(flat, axis=1), rtol=1e-5
            )
            np.testing.assert_allclose(file.get_tensor("linf"), abs(flat).max(axis=1), rtol=1e-5)
        save_file({"x": images}, path, metadata)
    # A store of before has the images alone.
    pd.testing.assert_frame_equal(benchmark().run(x, y), table)


def test_figures_draw_the_first_dozen_and_say_so():
    attacks = [f"attack {place}" for place in range(20)]
    defences = [f"defence {place}" for place in range(15)]
    measured = {
        (attack, defence, "dsr"): _row(attack, defence)
        for attack in attacks
        for defence in defences
    }
    picture = figures.rates(measured, attacks, defences, "dsr", "DSR", "oblivious")
    assert picture.caption.endswith(
        " Drawn are the first 12 of 20 attacks. Drawn are the first 12 of 15 defences."
    )
    assert "defence 11" in picture.svg
    assert "defence 12" not in picture.svg
    few = figures.rates(measured, attacks[:12], defences[:12], "dsr", "DSR", "oblivious")
    assert "Drawn" not in few.caption


def test_examples_are_of_the_first_dozen_attacks(lenet, digits, tmp_path):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y, _ = data(digits, "pytorch", n=4)
    attacks = [Attack("fgsm", f"fgsm {place}", {"eps": place / 255}) for place in range(1, 14)]
    benchmark = make(classifier, attacks, store=tmp_path)
    benchmark.run(x, y)
    text = benchmark.report().read_text()
    assert "Drawn are the first 12 of 13 attacks." in text


def _row(attack, defence):
    texts = {
        "attack": attack, "defence": defence, "protocol": "held-out", "threat": "oblivious",
        "metric": "dsr", "value": "0.5", "low": "0.4", "high": "0.6", "n": "10",
        "seconds": "1", "eps": "", "error": "",
    }  # fmt: skip
    return Row.from_texts(texts)
