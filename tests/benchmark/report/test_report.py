"""A report says what table.csv says, mixes no settings, stands alone, and survives any label."""

from __future__ import annotations

import html
import math
import re
import subprocess
import sys

import pytest

from art_nip.benchmark import report
from art_nip.metrics import wilson_interval
from tests.benchmark.report_builder import NASTY, SWEEP, Builder, page, rate, shown


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A finished run of everything, with a sweep."""
    attacks = {"fgsm": 0.03, "deepfool": None, **SWEEP}
    builder = Builder(tmp_path_factory.mktemp("full") / "store", attacks)
    return builder.fill(("held-out", "leaked"), ("oblivious", "adaptive"))


@pytest.fixture(scope="module")
def full_page(full):
    return page(full, examples=True)


def test_report_is_beside_the_table_which_it_leaves(tmp_path):
    folder = Builder(tmp_path / "store").fill().write()
    before = (folder / "table.csv").read_bytes()
    assert report.write(str(folder)) == folder / "report.html"
    assert (folder / "table.csv").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {
        *("adversarial", "benchmark.json", "images.safetensors"),
        *("report.html", "report.md", "table.csv"),
    }


@pytest.mark.parametrize("protocol", ["held-out", "leaked"])
@pytest.mark.parametrize(("threat", "metric"), [("oblivious", "dsr"), ("adaptive", "accuracy")])
def test_each_section_holds_all_rates_of_its_setting_and_no_others(
    full, full_page, protocol, threat, metric
):
    cells = full_page.table(f"{threat.capitalize()} attacks, {protocol}")
    expected = {("none", attack): "0.00" for attack in full.eps} if metric == "dsr" else {}
    for row in full.rows:
        attack, defence, kind = row[0], row[1], row[4]
        if row[2:4] == (protocol, threat) and attack == "benign" and kind == "accuracy":
            expected[defence, "benign accuracy"] = shown(row)
        elif row[2:4] == (protocol, threat) and kind == metric:
            expected[defence, attack] = shown(row)
    found = {
        (defence, column): cell.replace("*", "")
        for (defence, column), cell in cells.items()
        if defence != "n" and column not in {"mean DSR", "worst attack"}
    }
    assert found == expected


def test_markdown_says_what_the_page_says(full, full_page):
    text = (full.folder / "report.md").read_text(encoding="utf-8").replace("\xa0", " ")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections] == list(full_page.sections)
    for section in sections:
        heading, _, rest = section.partition("\n")
        if "attacks, " not in heading:
            continue
        table = rest.split("\n\n")[1]
        (_, *columns), _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")
        ]
        turned = {
            (column, row[0]): cell.replace("**", "")
            for row in rows
            for column, cell in zip(columns, row[1:], strict=True)
        }
        assert turned == {
            key: cell.replace("*", "") for key, cell in full_page.table(heading).items()
        }


def test_a_sweep_counts_once_in_the_mean(tmp_path):
    builder = Builder(tmp_path / "store", {"fgsm": 0.03, **SWEEP}, ("none", "nip")).fill()
    for attack, successes in zip(builder.eps, (10, 20, 30, 40), strict=True):
        builder.row(attack, "nip", "dsr", rate(successes, 40))
    cells = page(builder).table("Oblivious attacks, held-out")
    # 0.25 of fgsm, and 0.75 of the three of pgd.
    assert cells["nip", "mean DSR"] == "*0.50"
    assert cells["none", "mean DSR"] == "0.00"


def test_the_highest_as_printed_is_bold_and_so_are_ties(tmp_path):
    builder = Builder(tmp_path / "store", {"fgsm": 0.03}, ("none", "a", "b", "c")).fill()
    for defence, value in (("a", 0.501), ("b", 0.4991), ("c", 0.49)):
        builder.row("fgsm", defence, "dsr", (value, 0.4, 0.6, 100))
    cells = page(builder).table("Oblivious attacks, held-out")
    assert [cells[defence, "fgsm"][0] for defence in "abc"] == ["*", "*", "0"]
    assert "**0.50**" in (builder.folder / "report.md").read_text(encoding="utf-8")


def test_without_successful_examples_there_is_no_rate_and_no_part_in_the_mean(tmp_path):
    builder = Builder(tmp_path / "store", defences=("none", "nip")).fill()
    builder.row("fgsm", "nip", "dsr", (math.nan, 0, 1, 0))
    builder.row("deepfool", "nip", "dsr", rate(10, 40))
    found = page(builder)
    cells = found.table("Oblivious attacks, held-out")
    assert (cells["nip", "fgsm"], cells["none", "fgsm"], cells["n", "fgsm"]) == ("n/a", "n/a", "0")
    assert cells["nip", "mean DSR"] == "*0.25"


def test_the_worst_attack_has_its_name_and_is_a_bound_if_another_is_missing(tmp_path):
    attacks = {"fgsm": 0.03, "pgd": 0.03, "deepfool": None}
    builder = Builder(tmp_path / "store", attacks).fill(threats=("adaptive",))
    setting = ("held-out", "adaptive")
    for defence in builder.defences:
        builder.row("fgsm", defence, "accuracy", rate(10, 40), setting)
        builder.row("pgd", defence, "accuracy", rate(8, 40), setting)
        builder.row("deepfool", defence, "accuracy", rate(0, 40), setting)
    builder.fail("fgsm", "nip", "OOM", setting)
    for attack in builder.eps:
        builder.drop(attack=attack, defence="ss")
    cells = page(builder).table("Adaptive attacks, held-out")
    low, high = wilson_interval(8, 40)
    assert cells["none", "worst attack"] == f"*0.20 [{low:.2f}, {high:.2f}] pgd"
    assert cells["nip", "worst attack"] == f"≤ 0.20 [{low:.2f}, {high:.2f}] pgd"
    assert cells["ss", "worst attack"] == "–"
    assert cells["nip", "fgsm"] == "failed"


def test_attacks_without_size_are_told_by_their_distance(full, full_page):
    table = full_page.table("Adaptive attacks, held-out", place=1)
    assert {column for _, column in table} == {"deepfool"}
    (row,) = (
        row for row in full.rows if row[:5] == ("deepfool", "nip", "held-out", "adaptive", "l2")
    )
    assert table["nip", "deepfool"].replace("*", "") == shown(row)


def test_attacks_and_costs(full_page):
    cells = full_page.table("The attacks")
    assert cells["fgsm", "L2"] == "1.25 [1.12, 1.38]"
    assert cells["fgsm", "L∞"] == "0.031 [0.028, 0.034]"
    assert cells["fgsm", "PSNR, dB"] == "32.5 [29.2, 35.8]"
    assert cells["fgsm", "forward passes per image"] == "25,000"
    assert cells["fgsm", "backward passes per image"] == "10.5"
    assert cells["fgsm", "s per image"] == "0.25"
    assert (cells["fgsm", "ε"], cells["deepfool", "ε"]) == ("0.03", "")
    assert cells["fgsm", "images"] == "40"
    for place in range(2):
        cells = full_page.table("What the defences cost", place)
        assert cells["nip", "ms per image"] == "2.4"
        assert cells["none", "backward passes per image"] == "0"


def test_attacks_through_defences_are_listed_one_by_one(full, full_page):
    cells = full_page.table("Adaptive attacks, held-out", 3)
    (asr,) = [
        row for row in full.rows if row[:5] == ("deepfool", "ss", "held-out", "adaptive", "asr")
    ]
    assert cells["deepfool through ss", "ASR"] == shown(asr)
    assert not any("through none" in heading for heading, _ in cells)


def test_consistency_has_a_table_only_if_it_was_measured(full_page, tmp_path):
    assert sum("TKNC" in caption for caption in full_page.captions) == 4
    builder = Builder(tmp_path / "store").fill()
    builder.drop(metric="tknc")
    assert not any("TKNC" in caption for caption in page(builder).captions)


def test_means_of_any_size(tmp_path):
    builder = Builder(tmp_path / "store").fill()
    builder.row("fgsm", "none", "psnr", (math.inf, math.nan, math.nan, 3))
    builder.row("fgsm", "none", "l2", (0.004, -0.004, 0.012, 3))
    builder.row("fgsm", "none", "seconds_per_image", (0.00012345, math.nan, math.nan, 3))
    builder.row("fgsm", "none", "backward_passes", (0, math.nan, math.nan, 3))
    cells = page(builder).table("The attacks")
    assert cells["fgsm", "PSNR, dB"] == "∞"
    assert cells["fgsm", "L2"] == "0.00 [0.00, 0.01]"
    assert cells["fgsm", "s per image"] == "0.000123"
    assert cells["fgsm", "backward passes per image"] == "0"


def test_what_was_run_and_how_to_read_it(full, full_page):
    text = html.unescape((full.folder / "report.html").read_text(encoding="utf-8"))
    for fact in (
        "3fa9",
        "40 of 3 × 8 × 8",
        "2,000 other",
        "2026-11-23",
        "2 CPU cores",
        "torch 2.13.0",
    ):
        assert fact in text
    for word in ("held-out", "leaked", "oblivious", "adaptive", "Wilson"):
        assert word in text
    cells = full_page.table("Parameters")
    assert cells["pgd ε=0.01", "is"] == "pgd"
    assert cells["pgd ε=0.01", "with"] == "max_iter = 10, eps = 0.01"


def test_only_what_was_run_is_explained(tmp_path):
    builder = Builder(tmp_path / "store").fill()
    page(builder)
    text = (builder.folder / "report.md").read_text(encoding="utf-8")
    assert "**held-out**" in text
    assert "leaked" not in text
    assert "adaptive" not in text


def test_the_page_stands_alone_and_can_be_read_aloud(full_page):
    ids = [attributes["id"] for _, attributes in full_page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in full_page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/svg+xml;base64,"))
        assert tag not in {"script", "link", "iframe"}
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes["scope"] in {"row", "col"}
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    tables = [tag for tag, _ in full_page.tags if tag == "table"]
    assert len(full_page.captions) == len(tables)
    assert all(full_page.captions)


def test_the_figures(full_page, tmp_path):
    # Each of four settings has one over attacks and one over ε; and there are the examples.
    assert sum(tag == "img" for tag, _ in full_page.tags) == 9
    without_sweep = page(Builder(tmp_path / "store").fill())
    assert sum(tag == "img" for tag, _ in without_sweep.tags) == 1


def test_the_same_results_make_the_same_files(tmp_path):
    folder = Builder(tmp_path / "store").fill().write(examples=True)
    first = report.write(folder).read_bytes()
    assert report.write(folder).read_bytes() == first


def test_labels_are_shown_and_never_obeyed(tmp_path):
    attacks, defences = {NASTY: 0.1, "_": None, "None": None}, ("none", NASTY, "NaN", "benign")
    builder = Builder(tmp_path / "store", attacks, defences)
    builder.changes = {"name": NASTY, "model": NASTY, "machine": NASTY, "date": NASTY}
    builder.fill(threats=("oblivious", "adaptive"))
    builder.fail(NASTY, "NaN", NASTY)
    found = page(builder, examples=True)
    assert not {"script", "e"} & {tag for tag, _ in found.tags}
    cells = found.table("Oblivious attacks, held-out")
    assert {heading for heading, _ in cells} == {*defences, "n"}
    text = (builder.folder / "report.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    escaped = r'\</td\>\<script\>x\</script\>\|a\|\*b\* \_c\_ \`d\` [e\](f) \& "g" \$h\$ \\ i'
    assert f"- **model**: {escaped}\n" in text


def test_wide_markdown_tables_are_split_evenly(tmp_path):
    defences = ("none", *(f"d{number}" for number in range(10)))
    builder = Builder(tmp_path / "store", {"fgsm": 0.1}, defences).fill()
    page(builder)
    text = (builder.folder / "report.md").read_text(encoding="utf-8")
    columns = [line.count("|") - 2 for line in text.splitlines() if line.startswith("| attack |")]
    # DSR of eleven defences and n, then TKNC of eleven, then the attacks and their parameters.
    assert columns == [6, 6, 5, 6, 10, 2]


@pytest.mark.parametrize("threat", ["oblivious", "adaptive"])
def test_a_run_that_has_only_begun(tmp_path, threat):
    builder = Builder(tmp_path / "store").fill(threats=(threat,))
    builder.rows = []
    found = page(builder)
    assert list(found.sections) == ["What was run", "How to read it", "Parameters"]
    text = (builder.folder / "report.md").read_text(encoding="utf-8")
    assert "Unfinished: 9 of 9 cells" in text
    builder.fill(threats=(threat,))
    for attack in builder.eps:
        builder.drop(attack=attack)
    cells = page(builder).table(f"{threat.capitalize()} attacks, held-out")
    assert cells["nip", "benign accuracy"].startswith("*0.97")


def test_a_run_that_is_half_done(tmp_path):
    builder = Builder(tmp_path / "store").fill(threats=("oblivious", "adaptive"))
    builder.drop(attack="deepfool", defence="nip")
    builder.drop(attack="fgsm", threat="adaptive")
    cells = page(builder).table("Oblivious attacks, held-out")
    assert (cells["nip", "deepfool"], cells["nip", "mean DSR"]) == ("–", "–")
    assert cells["ss", "mean DSR"].startswith("*")
    text = (builder.folder / "report.md").read_text(encoding="utf-8")
    assert "Unfinished: 1 of 9 cells (attacks and benign images × defences) of oblivious" in text
    assert "Unfinished: 4 of 9 cells (attacks and benign images × defences) of adaptive" in text


def test_failures_are_listed_and_their_cells_say_so(tmp_path):
    builder = Builder(tmp_path / "store").fill()
    builder.fail("fgsm", "nip", "ValueError: no | gradient, at all")
    builder.fail("fgsm", "ss", "ValueError: no | gradient, at all")
    builder.fail("deepfool", "ss", "ValueError: no | gradient, at all")
    builder.fail("benign", "ss", "MemoryError: 12 GiB")
    found = page(builder)
    cells = found.table("Oblivious attacks, held-out")
    assert (cells["nip", "fgsm"], cells["ss", "benign accuracy"]) == ("failed", "failed")
    listed = found.table("Failures")
    assert listed["1", "which"] == (
        "fgsm on nip, ss (oblivious, held-out); deepfool on ss (oblivious, held-out)"
    )
    assert listed["1", "error"] == "ValueError: no | gradient, at all"
    assert (listed["1", "cells"], listed["2", "cells"]) == ("3", "1")
    assert listed["2", "error"] == "MemoryError: 12 GiB"
    assert "no \\| gradient" in (builder.folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("shape", "changes", "pictures"),
    [
        ((8, 8, 1), {"channels_first": False}, 2),
        ((1, 8, 8), {"clip_values": [[[0.0]], [[255.0]]]}, 2),
        ((20,), {}, 1),
        ((7, 8, 8), {}, 1),
    ],
    ids=["channels last", "clip values of channels", "no images", "seven channels"],
)
def test_examples_of_any_images(tmp_path, shape, changes, pictures):
    builder = Builder(tmp_path / "store", shape=shape).fill()
    builder.changes = changes
    found = page(builder, examples=True)
    assert sum(tag == "img" for tag, _ in found.tags) == pictures


@pytest.mark.parametrize(
    "name",
    [
        "benchmark.json",
        "table.csv",
        "images.safetensors",
        "adversarial/" + "0" * 32 + ".safetensors",
    ],
)
def test_missing_files(tmp_path, name):
    folder = Builder(tmp_path / "store").fill().write(examples=True)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"is not there\. Run `art-nip benchmark`"):
        report.write(folder)
    assert not list(folder.glob("report*"))


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere: give one that `art-nip"):
        report.write(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "benchmark.json",
            '{"format": 3}',
            "has the format 3, and this version of art-nip reads 2",
        ),
        ("benchmark.json", "[]", "has the format None"),
        ("benchmark.json", '{"format": 1}', "has the format 1 .*transductive"),
        ("benchmark.json", '{"format": 2}', "lacks name, attacks, defences"),
        ("benchmark.json", '{"format"', "is not JSON"),
        ("table.csv", "attack,defence\nfgsm,none\n", "row 1, is not as `art-nip benchmark` writes"),
        ("images.safetensors", "no tensors", "truncated or not a safetensors file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    folder = Builder(tmp_path / "store").fill().write()
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        report.write(folder)


def test_nothing_is_said_of_attacks_where_no_image_was_right(tmp_path):
    builder = Builder(tmp_path / "store").fill()
    nothing = (math.nan, 0.0, 1.0, 0)
    builder.row("fgsm", "none", "asr", nothing)
    builder.row("deepfool", "none", "asr", (0.0, 0.0, 0.1, 39))
    for attack in ("fgsm", "deepfool"):
        builder.row(attack, "none", "l2", (math.nan, math.nan, math.nan, 0))
        for defence in ("nip", "ss"):
            builder.row(attack, defence, "dsr", nothing)
    found = page(builder)
    cells = found.table("Oblivious attacks, held-out")
    assert (cells["nip", "fgsm"], cells["nip", "deepfool"]) == ("none right", "n/a")
    reached = found.table("The attacks")
    assert (reached["fgsm", "L2"], reached["deepfool", "L2"]) == ("none right", "n/a")
    text = (builder.folder / "report.md").read_text(encoding="utf-8")
    assert "none right: no image was classified right to begin with" in text


def test_reporting_needs_neither_art_nor_a_framework_nor_pandas(tmp_path):
    folder = Builder(tmp_path / "store").fill().write(examples=True)
    code = (
        "import sys; from art_nip.benchmark import report; "
        "from art_nip.benchmark.execution import store; "
        f"report.write({str(folder)!r}); "
        "print(*{'art', 'torch', 'tensorflow', 'keras', 'pandas'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout.split() == []
