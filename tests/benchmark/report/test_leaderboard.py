"""One page over many folders of results says what their tables say, and mixes nothing."""

import html
import json
import math
import re
import shutil
import subprocess

import pytest

from art_nip.benchmark.report import leaderboard
from art_nip.benchmark.schema.rows import COLUMNS
from tests.benchmark.report_builder import NASTY, Builder, Page, rate, suite

ADAPTIVE, HELD_OUT = "Adaptive attacks, held-out", "Oblivious attacks, held-out"


BOGUS = "fgsm,none,transductive,oblivious,asr,0.5,0,1,2,1,0.1,,linf"
"""A row of a protocol that there is not."""


def board(tmp_path, *folders):
    path = tmp_path / "leaderboard.html"
    remarks = leaderboard.write(folders, path)
    return Page(path.read_text(encoding="utf-8")), remarks


def cells(page, section):
    """Cells of each row by the headings of columns."""
    (table,) = page.sections[section]
    headings, *rows = table
    return [dict(zip(headings, row, strict=True)) for row in rows]


def oblivious(folder, name="mnist-lenet5", data="mnist", images="a", **rates):
    builder = Builder(folder, {"fgsm": 0.1}).fill(("held-out", "leaked"))
    builder.changes = {"name": name, "data": data, "images": images}
    for defence, hits in rates.items():
        builder.row("fgsm", defence, "dsr", rate(hits, 40))
    return builder.write()


def test_rows_of_all_folders_from_high_to_low(tmp_path):
    folders = [
        oblivious(tmp_path / "a", "one", nip=10, ss=30),
        oblivious(tmp_path / "b", "two", nip=20, ss=5),
    ]
    page, remarks = board(tmp_path, *folders)
    assert list(page.sections) == [
        *("What is compared", HELD_OUT, "Oblivious attacks, leaked", "Intervals"),
    ]
    found = [
        (row["benchmark"].split()[0], row["defence"], row["mean DSR"])
        for row in cells(page, HELD_OUT)
    ]
    assert found == [
        *(("one", "ss", "0.75"), ("two", "nip", "0.50"), ("one", "nip", "0.25")),
        *(("two", "ss", "0.12"), ("one", "none", "0.00"), ("two", "none", "0.00")),
    ]
    first = cells(page, HELD_OUT)[0]
    assert first["lowest DSR"] == "0.75 [0.60, 0.86] fgsm"
    assert first["attacks"] == "1 fgsm"
    assert remarks == []


def test_the_worst_case_with_its_interval_and_what_the_checklist_says(tmp_path):
    page, _ = board(tmp_path, suite(tmp_path / "store"))
    nip, none = cells(page, ADAPTIVE)
    assert (nip["defence"], nip["data set"], nip["ε"]) == ("nip", "gtsrb", "8/255")
    assert nip["robust accuracy"] == "0.20 [0.10, 0.35] n = 40"
    assert nip["attacked by"] == "suite adaptive"
    assert (nip["difference to none"], nip["p"]) == ("0.03 [-0.03, 0.08]", "0.030")
    assert (nip["items failed"], none["items failed"]) == ("1 of 2", "0 of 2")
    assert (none["difference to none"], none["p"]) == ("–", "–")


def adaptive(folder, attacks, **accuracies):
    builder = Builder(folder, attacks, ("none", "nip")).fill(threats=("adaptive",))
    builder.changes["data"] = "gtsrb"
    for defence, hits in accuracies.items():
        for attack, n in zip(attacks, hits, strict=True):
            builder.row(attack, defence, "accuracy", rate(n, 40), ("held-out", "adaptive"))
    return builder


def test_sizes_are_not_mixed_and_attacks_without_one_do_not_count(tmp_path):
    attacks = {"fgsm": 0.1, "pgd": 0.1, "pgd 2": 0.2, "deepfool": None}
    builder = adaptive(tmp_path / "store", attacks, none=(8, 4, 2, 0), nip=(12, 10, 6, 0))
    found = cells(board(tmp_path, builder.write())[0], ADAPTIVE)
    assert [
        (row["defence"], row["ε"], row["robust accuracy"][:4], row["attacked by"]) for row in found
    ] == [
        *(("nip", "0.1", "0.25", "worst of 2: pgd"), ("nip", "0.2", "0.15", "pgd 2")),
        *(("none", "0.1", "0.10", "worst of 2: pgd"), ("none", "0.2", "0.05", "pgd 2")),
    ]


def test_norms_are_not_mixed(tmp_path):
    builder = adaptive(tmp_path / "store", {"pgd": 0.5, "pgd l2": 0.5}, none=(4, 20), nip=(4, 30))
    builder.rows = [(*row[:-1], "l2") if row[0] == "pgd l2" else row for row in builder.rows]
    builder.changes["attacks"] = [
        {"label": "pgd", "name": "pgd", "eps": 0.5, "norm": "linf"},
        {"label": "pgd l2", "name": "pgd", "eps": 0.5, "norm": "l2"},
    ]
    found = cells(board(tmp_path, builder.write())[0], ADAPTIVE)
    assert {(row["defence"], row["ε"], row["robust accuracy"][:4]) for row in found} == {
        *(("none", "0.5", "0.10"), ("none", "L2 0.5", "0.50")),
        *(("nip", "0.5", "0.10"), ("nip", "L2 0.5", "0.75")),
    }


def test_a_random_defence_is_ranked_by_its_worst_draw(tmp_path):
    builder = adaptive(tmp_path / "store", {"fgsm": 0.1}, none=(8,), nip=(20,))
    builder.row("fgsm", "nip", "accuracy_worst_draw", rate(2, 40), ("held-out", "adaptive"))
    none, nip = cells(board(tmp_path, builder.write())[0], ADAPTIVE)
    assert (none["robust accuracy"][:4], nip["robust accuracy"][:4]) == ("0.20", "0.05")


def test_what_another_attack_may_lower_has_no_rank(tmp_path):
    builder = adaptive(tmp_path / "store", {"fgsm": 0.1, "pgd": 0.1}, none=(8, 4), nip=(40, 0))
    builder.fail("pgd", "nip", "OOM", ("held-out", "adaptive"))
    page, remarks = board(tmp_path, builder.write())
    none, nip = cells(page, ADAPTIVE)
    assert (none["defence"], nip["robust accuracy"][:6]) == ("none", "≤ 1.00")
    assert "cells that raised an error: 1" in remarks[0]


def test_the_lower_of_a_suite_and_of_another_attack_counts(tmp_path):
    folder = suite(tmp_path / "store")
    description = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    description["attacks"].append({"label": "mine", "name": "mine", "eps": 8 / 255, "norm": "linf"})
    (folder / "benchmark.json").write_text(json.dumps(description), encoding="utf-8")
    text = (folder / "table.csv").read_text(encoding="utf-8")
    line = f"mine,nip,held-out,adaptive,accuracy,0.05,0.01,0.1,40,1.5,{8 / 255},,linf\n"
    (folder / "table.csv").write_text(text + line, encoding="utf-8")
    none, nip = cells(board(tmp_path, folder)[0], ADAPTIVE)
    assert (none["attacked by"], nip["attacked by"]) == ("suite adaptive", "mine")
    assert nip["robust accuracy"].startswith("0.05")
    assert nip["items failed"] == nip["p"] == "–"


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (("mnist", "a"), ("gtsrb", "b"), "The folders are of 2 data sets (mnist, gtsrb)"),
        (("mnist", "a"), ("mnist", "b"), "on mnist saw 2 different sets of images"),
        ((None, "a"), (None, "b"), "It is not known whether 'x', 'y' saw the same images"),
        (("mnist", None), ("mnist", None), "It is not known whether 'x', 'y' saw the same images"),
    ],
)
def test_what_must_not_be_compared_is_said(tmp_path, one, other, sentence):
    folders = [
        oblivious(tmp_path / name, name, *given) for name, given in (("x", one), ("y", other))
    ]
    _, remarks = board(tmp_path, *folders)
    assert len(remarks) == 1
    assert sentence in remarks[0]
    text = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert html.escape(remarks[0]) in text


def test_what_is_unfinished_is_said(tmp_path):
    builder = Builder(tmp_path / "store").fill()
    builder.drop(attack="fgsm", defence="nip")
    _, remarks = board(tmp_path, builder.write())
    assert "is unfinished; cells to go: 1." in remarks[-1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "benchmark.json",
            '{"format": 3}',
            "has the format 3, and this version of art-nip reads 2",
        ),
        ("benchmark.json", "{", "is not JSON"),
        ("benchmark.json", '{"format": 2, "attacks": [3]}', "benchmark.json is not as"),
        ("benchmark.json", '{"format": 2, "cells": [{"n": 3}]}', "benchmark.json is not as"),
        ("table.csv", "attack,defence\nfgsm,none\n", r"row 1, is not as .*lacks eps, error"),
        ("table.csv", "", "row 1, is not as"),
        ("table.csv", f"{','.join(COLUMNS)}\nfgsm,none,held-out\n", "row 2, is not as"),
        ("table.csv", f"{','.join(COLUMNS)}\n{BOGUS}\n", "row 2, is not as .*'transductive'"),
        ("images.safetensors", "no tensors", "truncated or not a safetensors file"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, name, content, message):
    good, bad = oblivious(tmp_path / "good"), oblivious(tmp_path / "bad")
    (bad / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        board(tmp_path, good, bad)
    assert not (tmp_path / "leaderboard.html").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[{}]", "is not as"), ('{"item": 1}', "is not as")],
)
def test_a_damaged_checklist_is_refused(tmp_path, content, message):
    folder = suite(tmp_path / "store")
    (folder / "checklist.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"checklist\.json {message}"):
        board(tmp_path, folder)


def test_another_format_is_no_reason_to_go_on_in_the_same_folder(tmp_path):
    folder = oblivious(tmp_path / "store")
    (folder / "benchmark.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ValueError, match="into another folder") as refused:
        board(tmp_path, folder)
    assert "goes on where it was" not in str(refused.value)


def test_folders_of_one_name_are_told(tmp_path):
    folders = [oblivious(tmp_path / place, "same") for place in "ab"]
    assert any("2 folders are called 'same'" in remark for remark in board(tmp_path, *folders)[1])


def test_folders_that_cannot_be(tmp_path):
    folder = oblivious(tmp_path / "a")
    with pytest.raises(ValueError, match="are the same folder"):
        board(tmp_path, folder, tmp_path / "a" / ".." / "a")
    with pytest.raises(ValueError, match="There is no folder: give one"):
        board(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        board(tmp_path, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*none: make it"):
        board(tmp_path / "none", folder)


def test_it_stands_alone_and_is_read_aloud(tmp_path):
    builder = Builder(tmp_path / "store", {NASTY: 0.1}, ("none", NASTY))
    builder.changes = {"name": NASTY, "data": NASTY}
    page, _ = board(tmp_path, builder.fill(threats=("oblivious", "adaptive")).write())
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any({"src", "href"} & attributes.keys() for tag, attributes in page.tags
                   if tag != "a")  # fmt: skip
    assert all(value.startswith("#") for _, attributes in page.tags
               if (value := attributes.get("href")))  # fmt: skip
    sorted_by = [attributes for tag, attributes in page.tags if "aria-sort" in attributes]
    assert [attributes["aria-sort"] for attributes in sorted_by] == ["descending"] * 2
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert len(page.captions) == 3


# In a browser

CLICKS = """
<script>
const said = [];
const names = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden)
  .map((row) => `${row.cells[0].textContent}=${row.cells[3].firstChild.textContent}`).join(" ");
const table = document.querySelector("table.sortable");
const press = (name) => [...table.tHead.rows[0].cells]
  .find((cell) => cell.textContent === name).firstChild.click();
const sorting = () => [...table.tHead.rows[0].cells].filter((cell) => cell.ariaSort)
  .map((cell) => `${cell.textContent} ${cell.ariaSort}`).join();
said.push(names(table), sorting());
for (const name of ["mean DSR", "mean DSR", "defence", "defence"]) {
  press(name);
  said.push(names(table), sorting());
}
const choose = (name, value) => {
  const select = document.querySelector(`select[name="${name}"]`);
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  const sections = [...document.querySelectorAll("section[data-threat]")];
  said.push(document.querySelector("output").value,
    sections.filter((section) => !section.hidden).map((section) => section.id).join());
};
choose("data set", "gtsrb");
choose("protocol", "leaked");
choose("data set", "");
choose("protocol", "");
const result = document.createElement("pre");
result.id = "said";
result.textContent = JSON.stringify(said);
document.body.append(result);
</script>
"""


def test_sorting_and_filters_in_a_browser(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium, to run the page's script")
    folders = [
        oblivious(tmp_path / "a", "one", nip=10, ss=4),
        oblivious(tmp_path / "b", "two", "gtsrb", nip=36, ss=0),
    ]
    builder = Builder(tmp_path / "c", {"fgsm": 0.1}, ("none", "unrated")).fill()
    builder.changes = {"data": "mnist", "images": "a"}
    builder.row("fgsm", "unrated", "dsr", (math.nan, 0, 1, 0))
    builder.row("benign", "unrated", "accuracy", rate(1, 4))
    path = tmp_path / "leaderboard.html"
    leaderboard.write([*folders, builder.write()], path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("</body>", f"{CLICKS}</body>"), encoding="utf-8")
    command = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"),
        path.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', run.stdout)[1]))
    high = "nip=0.90 nip=0.25 ss=0.10"
    assert said[0].startswith(high)
    assert said[1] == "mean DSR descending"
    assert said[2].endswith("ss=0.10 nip=0.25 nip=0.90 none=–")
    assert said[3] == "mean DSR ascending"
    # What has no rate stays at the end.
    assert said[4].startswith(high)
    assert said[4].endswith("none=–")
    assert said[5] == "mean DSR descending"
    assert [name.split("=")[0] for name in said[6].split()] == [
        *["nip"] * 2,
        *["none"] * 3,
        *["ss"] * 2,
    ]
    assert said[7] == "defence ascending"
    assert said[8].startswith("ss=0.10 ss=0.00 none=")
    assert said[9] == "defence descending"
    assert said[10:] == [
        *("6 of 13 rows", "section-2,section-3"),
        *("3 of 13 rows", "section-3"),
        *("6 of 13 rows", "section-3"),
        *("13 of 13 rows", "section-2,section-3"),
    ]


def test_an_eps_in_another_norm_is_not_taken_for_one_of_these(tmp_path):
    builder = adaptive(tmp_path / "store", {"elastic": 3.0}, none=(8,), nip=(20,))
    place = COLUMNS.index("norm")
    builder.rows = [(*row[:place], "", *row[place + 1 :]) for row in builder.rows]
    none, _ = cells(board(tmp_path, builder.write())[0], ADAPTIVE)
    assert "3 in a norm of its own" in none.values()
