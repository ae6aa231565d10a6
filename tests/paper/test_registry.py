"""Every table and figure is made of a handful of digits, in both frameworks, and not made twice."""

import numpy as np
import pytest
from matplotlib.image import imread

from art_nip import cli
from art_nip.attacks.deepfool import DeepFool
from art_nip.attacks.pwa import PointwiseAttack
from art_nip.benchmark import Attack, FailedCellsWarning
from art_nip.benchmark.execution.tasks import Crafting
from art_nip.paper import grids, tiny
from art_nip.paper.registry import EXHIBITS, Exhibit
from art_nip.paper.run import PAGE, make
from art_nip.paper.setting import Made, Setting

MADE = {
    "ladder": ["ladder.md", "ladder.png"],
    **{f"table-{number}": [f"table-{number}.md"] for number in range(1, 5)},
    "figure-7": ["figure-7.md", "figure-7-mnist-lenet5.png"],
    "figure-8": ["figure-8-mnist-lenet5.png"],
    "figure-10": ["figure-10-counts.png"],
    "figure-11": ["figure-11-layers.png"],
    "figure-13": ["figure-13-psnr.png"],
}
"""The files of an exhibit, where they are not one figure of the one model."""


@pytest.fixture(scope="module")
def made(framework, tmp_path_factory):
    out = tmp_path_factory.mktemp(framework)
    argv = ["paper", "--tiny", "--quiet", "--framework", framework, "--out", str(out)]
    assert cli.main(argv) == 0
    setting = Setting(out, limit=tiny.LIMIT, tiny=True, framework=framework, verbose=False)
    return setting, out / PAGE


def files(exhibit, framework):
    if exhibit.name == "figure-12" and framework == "tensorflow":
        return []  # Captum draws Grad-CAM of PyTorch's models only
    return MADE.get(exhibit.name, [f"{exhibit.name}-mnist-lenet5.png"])


def test_every_exhibit_is_made_and_on_the_page(made, framework):
    setting, page = made
    text = page.read_text()
    for exhibit in EXHIBITS:
        for name in files(exhibit, framework):
            path = setting.out / name
            assert path.is_file(), name
            if path.suffix == ".png":
                assert np.ptp(imread(path)) > 0.5
                assert f"]({name})" in text
            else:
                assert path.read_text().strip() in text
        assert exhibit.claim in text


def test_tables_have_a_row_for_each_attack_and_defence(made):
    setting, _ = made
    examples, benign, seconds = (
        (setting.out / f"table-{number}.md").read_text().splitlines()[2:] for number in (2, 3, 4)
    )
    assert len(examples) == 11
    assert len(benign) == 11  # seven reactive ones, NIP in two forms, and these leaked
    assert len(seconds) == 8
    rates = (setting.out / "figure-7.md").read_text().splitlines()[2:]
    assert len(rates) == 11
    for line in rates:
        _, _, mean, *cells = line.strip("| ").split(" | ")
        assert float(mean) == pytest.approx(
            np.mean([float(cell.split()[0]) for cell in cells if cell != "–"]), abs=0.011
        )
    assert not any("nan" in line for line in (*examples, *benign, *seconds, *rates))


def test_nothing_is_crafted_twice(made, monkeypatch):
    setting, page = made
    before = page.read_text()

    def never(*_):
        raise AssertionError("crafted again")

    monkeypatch.setattr(Crafting, "run", never)
    grids.comparison.cache_clear()
    assert make(EXHIBITS[1:5], setting).read_text() == before


def test_fewer_images_than_attacks_are_fewer_rows(tmp_path):
    """Figure 15 has another image in each of three rows."""
    argv = ["paper", "--tiny", "--quiet", "--only", "figure-15", "--limit", "1"]
    assert cli.main([*argv, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "figure-15-mnist-lenet5.png").is_file()


def test_where_no_attack_succeeds_the_page_says_so(monkeypatch, tmp_path):
    nothing = {"eps": 1e-7, "draws": 1}
    monkeypatch.setattr(grids, "_attack", lambda name, setting: Attack("noise", name, nothing))
    monkeypatch.setattr(tiny, "SIZES", (1e-6,))
    setting = Setting(tmp_path, limit=2, tiny=True, seed=5, verbose=False)
    chosen = [one for one in EXHIBITS if one.name in ("figure-2", "figure-7", "figure-8")]
    page = make(chosen, setting).read_text()
    assert page.count("No figure of LeNet-5, MNIST: no attack succeeded") == len(chosen)
    assert not list(tmp_path.glob("figure-*.png"))


def test_a_table_of_another_run_goes_where_there_is_none_any_more(monkeypatch, tmp_path):
    setting = Setting(tmp_path, limit=2, tiny=True, seed=5, verbose=False)
    (exhibit,) = (one for one in EXHIBITS if one.name == "table-1")
    assert "LeNet-5" in make([exhibit], setting).read_text().partition("## ")[2]
    monkeypatch.setattr(Exhibit, "make", lambda self, setting: Made())
    assert "## " not in make([exhibit], setting).read_text()


def test_an_attack_that_failed_leaves_a_gap(monkeypatch, tmp_path):
    def raising(self, *arguments, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(PointwiseAttack, "_adversarial", raising)
    monkeypatch.setattr(DeepFool, "generate", raising)
    argv = ["paper", "--tiny", "--quiet", "--limit", "3", "--seed", "6", "--out", str(tmp_path)]
    with pytest.warns(FailedCellsWarning, match="out of memory"):
        assert cli.main([*argv, "--only", "figure-15", "figure-18"]) == 1
    for name in ("figure-15", "figure-18"):
        assert (tmp_path / f"{name}-mnist-lenet5.png").is_file()
