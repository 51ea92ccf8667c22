"""Thousands of random statements in interleaved transactions: a lake table and its heap twin are equal after each of them.

LAKE_TWIN_SEED repeats a run, LAKE_TWIN_STEPS makes it longer or shorter.
"""

from __future__ import annotations

import os
import random

import pytest

from harness.database import Database
from harness.random_sql import RandomSql
from harness.workload import Workload
from test_types import ARRAYS, TYPES

STEPS = int(os.environ.get("LAKE_TWIN_STEPS", 400))


def without_negative_zero(values: list[str]) -> list[str]:
    """The sign of zero has a test of its own (test_types)."""
    return [value.replace("-0,", "") for value in values if value != "'-0'"]


ALL_TYPES = {f"c{number}": (sql_type, without_negative_zero(values)) for number, (sql_type, (_, values)) in enumerate(TYPES.items())} | {
    f"a{number}": (f"{element}[]", without_negative_zero(values)) for number, (element, values) in enumerate(ARRAYS.items())
}

# A few columns only: statements are faster, and more of them meet the same rows.
FEW_TYPES = {"i": ("bigint", ["0", "1", "2", "-9223372036854775808"]), "t": ("text", ["''", "'a'", "'b'", r"'\N'", "repeat('long ', 100000)"]),
             "f": ("double precision", ["0", "'NaN'", "'Infinity'", "1.5"]), "d": ("date", ["'1970-01-01'", "'0001-01-01'", "'9999-12-31'"])}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("columns", [ALL_TYPES, FEW_TYPES], ids=["all types", "few columns"])
def test_a_random_workload_does_the_same_on_both(any_db: Database, columns: dict[str, tuple[str, list[str]]]) -> None:
    seed = int(os.environ.get("LAKE_TWIN_SEED") or random.SystemRandom().randrange(1_000_000_000))
    print(f"LAKE_TWIN_SEED={seed} LAKE_TWIN_STEPS={STEPS}")
    workload = Workload(any_db, RandomSql(seed, columns))
    try:
        workload.run(STEPS)
    finally:
        print(f"{workload.transactions} transactions, statements: {dict(workload.counts)}")
        workload.close()
