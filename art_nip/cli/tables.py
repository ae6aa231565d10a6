"""The table of a benchmark as text for a terminal."""

from __future__ import annotations

import math

import pandas as pd

ATTACK_COLUMN = "attack succeeds"
"""Heading of the column of attack success rates."""


def success_rates(table: pd.DataFrame) -> str:
    """Return, for each protocol, how well defences do against oblivious attacks.

    Attacks stand in the rows and defences in the columns. The first row is the accuracy on benign
    images; each other cell is the share of an attack's successful examples that the defence puts
    right (DSR). One more column says how often the attack succeeds on the undefended classifier.

    :param table: the table that `Benchmark.run` returns.
    """
    oblivious = table[table["threat"] == "oblivious"]
    if oblivious[oblivious["metric"] == "dsr"].empty:
        return "There is no defence success rate: no oblivious attack met a defence.\n"
    texts = []
    for protocol, rows in oblivious.groupby("protocol", sort=False):
        heading = f"{protocol}, oblivious: accuracy on benign images, and DSR, in %"
        texts.append(f"{heading}\n{_square(_with_success(rows)).to_string()}\n")
    return "\n".join(texts)


def robust_accuracies(table: pd.DataFrame) -> str:
    """Return, for each protocol, the accuracy under attacks that go through each defence.

    :param table: the table that `Benchmark.run` returns.
    """
    adaptive = table[(table["threat"] == "adaptive") & (table["metric"] == "accuracy")]
    texts = []
    for protocol, rows in adaptive.groupby("protocol", sort=False):
        heading = f"{protocol}, adaptive: accuracy on benign images, and under attack, in %"
        texts.append(f"{heading}\n{_square(rows).to_string()}\n")
    return "\n".join(texts)


def worst_cases(table: pd.DataFrame) -> str:
    """Return the worst-case accuracies of a benchmark, if there are any.

    Behind them stands how far they are above that of no defence.

    :param table: the table that `Benchmark.run` returns.
    """
    lines = []
    index = ["attack", "protocol", "defence"]
    found = table[table["metric"] == "worst_case_difference"].set_index(index)
    ps = table[table["metric"] == "worst_case_p"].set_index(index)["value"]
    for (suite, protocol), rows in table[table["metric"] == "worst_case_accuracy"].groupby(
        ["attack", "protocol"], sort=False
    ):
        lines.append(f"Worst-case accuracy in %, {protocol}, suite {suite!r}")
        for row in rows.itertuples():
            line = f"{row.defence}  {_percent(row.value, row.low, row.high)}"
            key = (suite, protocol, row.defence)
            if key in found.index:
                other = found.loc[key]
                difference = _percent(other["value"], other["low"], other["high"], sign="+")
                line += f"  difference to none {difference}, {_p_value(ps[key])}"
            lines.append(line)
        lines.append("")
    return "\n".join(lines)


def _with_success(rows: pd.DataFrame) -> pd.DataFrame:
    """Return benign accuracies and DSRs, and as a column of its own how often attacks succeed."""
    benign = (rows["attack"] == "benign") & (rows["metric"] == "accuracy")
    shown = rows[benign | rows["metric"].isin(["dsr", "asr"])]
    labelled: pd.DataFrame = shown.assign(
        defence=shown["defence"].where(shown["metric"] != "asr", ATTACK_COLUMN)
    )
    return labelled


def _square(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rates as text: attacks down, defences across."""
    numbers = rows[["value", "low", "high"]].to_numpy(dtype=float)
    cells = rows.assign(text=[_percent(*line) for line in numbers])
    # Pivoting sorts, so attacks and defences are put back into the order of the run.
    columns = sorted(cells["defence"].unique(), key=lambda column: column != ATTACK_COLUMN)
    square: pd.DataFrame = (
        cells.pivot(index="attack", columns="defence", values="text")
        .reindex(index=cells["attack"].unique(), columns=columns)
        .rename_axis(index=None, columns=None)
        .fillna("")
    )
    return square


def _p_value(p: float) -> str:
    """Return a p-value as text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _percent(value: float, low: float, high: float, sign: str = "") -> str:
    """Return a rate and its interval, or "-" if there is no rate.

    :param sign: "+" for a sign before positive numbers too.
    """
    if math.isnan(value):
        return "-"
    # Rounding may leave a minus before zero.
    rate, least, most = (f"{round(100 * number) + 0.0:{sign}.0f}" for number in (value, low, high))
    return f"{rate} [{least}, {most}]"
