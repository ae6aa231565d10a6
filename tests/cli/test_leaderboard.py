"""The command `leaderboard`."""

from art_nip import cli
from tests.benchmark.report_builder import Builder, suite


def test_leaderboard_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suite(tmp_path / "robust")
    Builder(tmp_path / "store").fill().write()
    assert cli.main(["leaderboard", "robust", "store"]) == 0
    *remarks, last = capsys.readouterr().out.splitlines()
    assert last == "Leaderboard: leaderboard.html"
    assert remarks[0].startswith("The folders are of 2 data sets (gtsrb, not said)")
    assert (tmp_path / "leaderboard.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert cli.main(["leaderboard", "store", "--out", "other.html"]) == 0
    assert (tmp_path / "other.html").is_file()


def test_mistakes_end_in_a_sentence(tmp_path, capsys):
    assert cli.main(["leaderboard", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("art-nip: There is no folder")
    folder = str(Builder(tmp_path / "store").fill().write())
    assert cli.main(["leaderboard", folder, folder]) == 2
    assert "are the same folder" in capsys.readouterr().err
    assert cli.main(["leaderboard", folder, "--out", str(tmp_path / "no" / "a.html")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("art-nip: ")
    assert len(error.splitlines()) == 1
