"""Tables as text for a terminal."""

import math

import pandas as pd

from art_nip.benchmark.schema.rows import COLUMNS
from art_nip.cli.tables import worst_cases


def test_worst_cases_stand_beside_their_difference_to_none():
    rows = [
        ("none", "worst_case_accuracy", 0.5, 0.4, 0.6),
        ("nip", "worst_case_accuracy", 0.62, 0.52, 0.71),
        ("ss", "worst_case_accuracy", 0.499, 0.4, 0.6),
        ("nip", "worst_case_difference", 0.12, 0.05, 0.19),
        ("nip", "worst_case_p", 0.0004, math.nan, math.nan),
        ("ss", "worst_case_difference", -0.001, -0.04, 0.04),
        ("ss", "worst_case_p", 1.0, math.nan, math.nan),
    ]
    where = {"attack": "adaptive", "protocol": "held-out", "threat": "adaptive", "n": 100}
    table = pd.DataFrame(
        [
            where | dict(zip(("defence", "metric", "value", "low", "high"), row, strict=True))
            for row in rows
        ],
        columns=list(COLUMNS),
    )
    assert worst_cases(table).splitlines() == [
        "Worst-case accuracy in %, held-out, suite 'adaptive'",
        "none  50 [40, 60]",
        "nip  62 [52, 71]  difference to none +12 [+5, +19], p < 0.001",
        "ss  50 [40, 60]  difference to none +0 [-4, +4], p = 1.000",
    ]
    assert worst_cases(table[table["metric"] == "accuracy"]) == ""
