"""The command `paper`; what it makes is tested with each table and figure."""

import pytest

from art_nip import cli
from art_nip.cli import paper, parser
from art_nip.paper.registry import NAMES
from art_nip.paper.subjects import SUBJECTS


def test_the_parser_knows_all_names():
    assert parser.EXHIBITS == NAMES
    assert tuple(parser.PAPER_MODELS) == tuple(SUBJECTS)


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_paper_says_where_its_page_is(framework, tmp_path, capsys):
    argv = ["paper", "--only", "table-1", "--tiny", "--limit", "6", "--quiet"]
    argv += ["--framework", framework, "--out", str(tmp_path)]
    for _ in range(2):
        assert cli.main(argv) == 0
        assert capsys.readouterr().out == f"Written to {tmp_path / 'paper.md'}\n"
    assert (tmp_path / "table-1.md").read_text().strip() in (tmp_path / "paper.md").read_text()


def test_what_another_run_has_made_is_not_taken_for_this_ones(tmp_path, capsys):
    page = tmp_path / "paper.md"

    def make(table, *more):
        argv = ["paper", "--only", table, "--tiny", "--quiet", "--out", str(tmp_path), *more]
        assert cli.main(argv) == 0
        return page.read_text().split("## ")

    make("table-1", "--limit", "6")
    head, first, second = make("figure-8", "--limit", "4")
    assert "Attacked images: LeNet-5, MNIST: 4. pytorch, seed 0" in head
    assert "**Made in another run**" in first
    assert "LeNet-5, MNIST: 6. pytorch, seed 0" in first
    assert "another run" not in second
    assert "](figure-8-mnist-lenet5.png)" in second
    (tmp_path / "figure-8-of-another-model.png").write_bytes(b"")
    _, first, second = make("table-1", "--limit", "4")
    assert "another run" not in first + second
    assert "another-model" not in second
    _, first, second = make("table-1", "--limit", "4", "--bank", "20")
    assert "another run" not in first
    assert "seed 0, 100 images to fit on" in second.partition("another run")[2]
    again = ["paper", "--only", "table-1", "--tiny", "--limit", "4", "--out", str(tmp_path)]
    for damaged in ("{", "[]", "null", '{"ladder": {}}'):
        (tmp_path / "made.json").write_text(damaged)
        capsys.readouterr()
        assert cli.main(again) == 2
        assert "made.json is damaged. Delete it" in capsys.readouterr().err


def test_a_file_is_no_folder_of_results(tmp_path, capsys):
    (tmp_path / "notes").write_text("")
    for out in (tmp_path / "notes", tmp_path / "notes" / "results"):
        argv = ["paper", "--only", "table-1", "--tiny", "--quiet", "--out", str(out)]
        assert cli.main(argv) == 2
        assert f"{tmp_path / 'notes'} is a file, and no folder" in capsys.readouterr().err


def test_missing_weights_are_one_sentence(tmp_path, capsys):
    assert cli.main(["paper", "--weights", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "art-nip train cifar10 vgg19" in capsys.readouterr().err


def test_tiny_tables_stay_apart_from_the_papers(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paper, "make", lambda chosen, setting: made.append(setting.out))
    assert cli.main(["paper", "--tiny"]) == cli.main(["paper"]) == 0
    assert [str(out) for out in made] == ["results/paper-tiny", "results/paper"]
    capsys.readouterr()
    assert cli.main(["paper", "--tiny", "--models", "gtsrb-lenet5"]) == 2
    assert "has a model of its own, and not gtsrb-lenet5" in capsys.readouterr().err


def test_an_interrupted_run_shows_no_traceback(tmp_path, monkeypatch, capsys):
    def interrupted(chosen, setting):
        raise KeyboardInterrupt

    monkeypatch.setattr(paper, "make", interrupted)
    assert cli.main(["paper", "--tiny", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "art-nip: interrupted.\n"
