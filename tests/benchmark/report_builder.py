"""Folders of results that nothing was computed for, and pages read as a browser would."""

from __future__ import annotations

import csv
import json
import math
from html.parser import HTMLParser

import numpy as np
from safetensors.numpy import save_file

from art_nip.benchmark import report
from art_nip.benchmark.schema.rows import COLUMNS
from art_nip.metrics import wilson_interval

VOID = {"meta", "img", "br", "link", "hr", "input"}


SWEEP = {"pgd": 0.03, "pgd ε=0.01": 0.01, "pgd ε=0.06": 0.06}


def rate(successes, n):
    """Value, interval and number of a rate, as the table holds them."""
    return (successes / n if n else math.nan, *wilson_interval(successes, n), n)


class Builder:
    """Writes a folder of results, with rates that differ between all cells."""

    def __init__(self, folder, attacks=None, defences=("none", "nip", "ss"), n=40, shape=(3, 8, 8)):
        self.folder, self.n, self.shape = folder, n, shape
        self.eps = {"fgsm": 0.03, "deepfool": None} if attacks is None else attacks
        self.defences = list(defences)
        self.protocols, self.threats = ["held-out"], ["oblivious"]
        self.changes, self.rows = {}, []
        self.generator = np.random.default_rng(0)

    def row(self, attack, defence, metric, numbers, setting=("held-out", "oblivious"), error=""):
        value, low, high, n = numbers
        eps = self.eps.get(attack)
        norm = "linf" if eps else ""
        cells = (attack, defence, *setting, metric, value, low, high, n, 1.5, eps, error, norm)
        self.rows = [row for row in self.rows if row[:5] != cells[:5]]
        self.rows.append(cells)

    def drop(self, **where):
        """Leave out the rows that are all this."""
        places = {COLUMNS.index(column): value for column, value in where.items()}
        self.rows = [
            row for row in self.rows if any(row[place] != value for place, value in places.items())
        ]

    def fail(self, attack, defence, error, setting=("held-out", "oblivious")):
        self.drop(attack=attack, defence=defence, protocol=setting[0], threat=setting[1])
        self.row(attack, defence, "error", (math.nan, math.nan, math.nan, 0), setting, error)

    def fill(self, protocols=("held-out",), threats=("oblivious",)):
        """Measure every cell."""
        self.protocols, self.threats = list(protocols), list(threats)
        for setting in [(p, t) for t in threats for p in protocols]:
            for defence in self.defences:
                self._benign(defence, setting)
                for attack in self.eps:
                    self._attacked(attack, defence, setting)
        return self

    def _mean(self, value):
        return value, 0.9 * value, 1.1 * value, self.n

    def _draw(self, n):
        return rate(int(self.generator.integers(n + 1)), n)

    def _benign(self, defence, setting):
        self.row("benign", defence, "accuracy", rate(self.n - 1, self.n), setting)
        cost = self.defences.index(defence)
        for metric, value in (
            ("seconds_per_image", 0.0012 * (1 + cost)),
            ("forward_passes", 1 + cost),
            ("backward_passes", cost),
        ):
            self.row("benign", defence, metric, (value, math.nan, math.nan, self.n), setting)

    def _attacked(self, attack, defence, setting):
        self.row(attack, defence, "accuracy", self._draw(self.n), setting)
        self.row(attack, defence, "tknc", self._mean(self.generator.random()), setting)
        if defence != "none" and setting[1] == "oblivious":
            self.row(attack, defence, "dsr", self._draw(self.n - 3), setting)
            return
        self.row(attack, defence, "asr", self._draw(self.n - 1), setting)
        for metric, value in (("l2", 1.25), ("linf", 0.031), ("psnr", 32.5)):
            self.row(attack, defence, metric, self._mean(value), setting)
        for metric, value in (
            ("seconds_per_image", 0.25),
            ("forward_passes", 25000),
            ("backward_passes", 10.5),
        ):
            self.row(attack, defence, metric, (value, math.nan, math.nan, self.n), setting)

    def attacked_images(self, x):
        """Images as each attack leaves them, of an attack with a limit the first few only."""
        changed = {}
        for place, attack in enumerate(self.eps):
            noise = self.generator.uniform(-1, 1, x.shape) * (self.eps[attack] or 0.02)
            changed[attack] = np.clip(x + noise, 0, 1)[: len(x) - 20 * (place % 2)]
        return changed

    def write(self, examples=False):
        """Write all files; adversarial examples, which take long to draw, only on demand."""
        self.folder.mkdir(exist_ok=True)
        x = self.generator.random((self.n, *self.shape), np.float32)
        adversarial = {}
        (self.folder / "adversarial").mkdir(exist_ok=True)
        attacked = self.attacked_images(x) if examples else {}
        for place, (attack, images) in enumerate(attacked.items()):
            adversarial[attack] = f"{place:032x}"
            path = self.folder / "adversarial" / f"{adversarial[attack]}.safetensors"
            save_file({"x": images.astype(np.float32)}, path)
        save_file({"x": x, "y": np.arange(self.n) % 4}, self.folder / "images.safetensors")
        description = {
            "format": 2,
            "name": "gtsrb-lenet5",
            "model": "PyTorchClassifier of Sequential, fingerprint 3fa9",
            "n_images": self.n,
            "n_bank": 2000,
            "seed": 7,
            "date": "2026-11-23",
            "machine": "x86_64, 2 CPU cores",
            "versions": {"art-nip": "0.1.0", "torch": "2.13.0"},
            "protocols": self.protocols,
            "threats": self.threats,
            "cells": [
                {"threat": threat, "protocol": each, "n": (1 + len(self.eps)) * len(self.defences)}
                for threat in self.threats
                for each in self.protocols
            ],
            "attacks": [
                {
                    "label": label,
                    "name": label.split()[0],
                    "parameters": {"max_iter": 10} | ({"eps": eps} if eps else {}),
                    "limit": None,
                    "eps": eps,
                    "norm": "linf" if eps else "",
                }
                for label, eps in self.eps.items()
            ],
            "defences": [
                {"label": label, "name": label, "parameters": {}} for label in self.defences
            ],
            "channels_first": True,
            "clip_values": [0.0, 1.0],
            "adversarial": adversarial,
        } | self.changes
        (self.folder / "benchmark.json").write_text(json.dumps(description), encoding="utf-8")
        with open(self.folder / "table.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in self.rows:
                writer.writerow(
                    "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else cell
                    for cell in row
                )
        return self.folder


ADAPTIVE = ("held-out", "adaptive")


def suite(
    folder,
    eps=8 / 255,
    defences=("none", "nip"),
    failed="AutoAttack raises no flag",
    p=0.03,
    error="",
):
    """A folder with an adaptive suite; of the last defence an item of the checklist failed.

    With an error, an attack on it failed too.
    """
    builder = Builder(folder, {"adaptive autoattack": eps, "adaptive pgd": eps}, defences)
    builder.fill(threats=("adaptive",))
    builder.eps["adaptive"] = eps
    for place, defence in enumerate(defences):
        builder.row("adaptive autoattack", defence, "accuracy", rate(9 + place, 40), ADAPTIVE)
        builder.row("adaptive", defence, "worst_case_accuracy", rate(7 + place, 40), ADAPTIVE)
        if defence != "none":
            difference = (place / 40, place / 40 - 0.05, place / 40 + 0.05, 40)
            builder.row("adaptive", defence, "worst_case_difference", difference, ADAPTIVE)
            builder.row("adaptive", defence, "worst_case_p", (p, math.nan, math.nan, 40), ADAPTIVE)
    del builder.eps["adaptive"]
    if error:
        builder.fail("adaptive pgd", defences[-1], error, ADAPTIVE)
    builder.changes = {
        "data": "gtsrb",
        "attacks": [
            {
                "label": f"adaptive {name}",
                "name": name,
                "suite": "adaptive",
                "eps": eps,
                "norm": "linf",
            }
            for name in ("autoattack", "pgd")
        ],
    }
    builder.write()
    items = [
        {
            "suite": "adaptive",
            "defence": defence,
            "protocol": "held-out",
            "item": item,
            "status": "failed" if (defence, item) == (defences[-1], failed) else "passed",
            "evidence": "…",
        }
        for defence in defences
        for item in ("AutoAttack raises no flag", "random noise adds nothing")
    ]
    (folder / "checklist.json").write_text(json.dumps(items), encoding="utf-8")
    return folder


class Page(HTMLParser):
    """Reads a page: its tags balance, and its tables by section as rows of texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sections, self.captions = [], [], {}, []
        self._heading, self._text = None, []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"h2", "th", "td", "caption"}:
            self._text = []
        if tag == "table":
            self.sections[self._heading].append([])
        if tag == "tr":
            self.sections[self._heading][-1].append([])
        if tag == "b":
            self._text.append("*")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        text = "".join(self._text).strip()
        if tag == "h2":
            self._heading = text
            self.sections[text] = []
        if tag in {"th", "td"}:
            self.sections[self._heading][-1][-1].append(text)
        if tag == "caption":
            self.captions.append(text)

    def handle_data(self, data):
        self._text.append(data)

    def table(self, section, place=0):
        """Cells of a table by the headings of row and column."""
        (_, *columns), *rows = self.sections[section][place]
        return {
            (heading, column): cell
            for heading, *cells in rows
            for column, cell in zip(columns, cells, strict=True)
        }


def page(builder, examples=False):
    return Page(report.write(builder.write(examples)).read_text(encoding="utf-8"))


def shown(row):
    """A row of table.csv as its cell says it."""
    value, low, high = row[5:8]
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


NASTY = '</td><script>x</script>|a|*b* _c_ `d` [e](f) & "g" $h$ \\ \n i'
