"""What the benchmarks share: a pair of servers as in production, CPU time, medians, tables."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import psycopg

from harness.lake import Lake
from harness.places import new_run_dir
from harness.postgres import DURABLE
from harness.process import cpu_seconds


@dataclass
class Timing:
    """Wall time and CPU time (seconds) of one measured piece of work."""

    wall: float = 0.0
    postgresql: float = 0.0
    server: float = 0.0


@contextlib.contextmanager
def durable_lake(**settings: str) -> Iterator[Lake]:
    """A pair with syncing switched on, as two users, over TCP; its files are removed afterwards.

    `settings` (with __ for the dot) go to postgresql.conf.
    """
    base = new_run_dir("pg_lake_bench.")
    lake = Lake(base, pg_settings=DURABLE | {"shared_buffers": "1GB", "autovacuum": "off", "max_wal_size": "8GB"})
    lake.pg.settings |= {name.replace("__", "."): value for name, value in settings.items()}
    lake.start()
    try:
        yield lake
    finally:
        lake.stop()


@contextlib.contextmanager
def measured(lake: Lake, session: psycopg.Connection) -> Iterator[Timing]:
    """Measures what a session and the server do inside the block."""
    timing = Timing()
    backend, server = session.info.backend_pid, lake.duck.pid
    before = cpu_seconds(backend), cpu_seconds(server)
    started = time.perf_counter()
    yield timing
    timing.wall = time.perf_counter() - started
    timing.postgresql = cpu_seconds(backend) - before[0]
    timing.server = cpu_seconds(server) - before[1]


def median(timings: list[Timing]) -> Timing:
    """The run with the median wall time."""
    return sorted(timings, key=lambda timing: timing.wall)[len(timings) // 2]


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    return statistics.fmean(values)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Prints rows in columns, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(cells), flush=True)


def seconds_to_sync(directory: Path, times: int = 50) -> float:
    """Median time that writing and syncing a small new file and its directory takes: the floor under every commit."""
    taken = []
    for number in range(times):
        path = directory / f"sync_{number}"
        started = time.perf_counter()
        with path.open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        taken.append(time.perf_counter() - started)
        path.unlink()
    return statistics.median(taken)


def step(text: str) -> None:
    """Says what happens now."""
    print(f"--> {text}", flush=True)
