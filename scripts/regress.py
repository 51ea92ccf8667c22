"""Runs the SQL suites under pg_regress/ with PostgreSQL's pg_regress against a new pair of servers.

    scripts/regress.py             run and compare with pg_regress/expected
    scripts/regress.py --accept    take what came out as what is expected (look at the diff before you commit it)
    scripts/regress.py NAME ...    only these suites (and `setup`)
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness.lake import Lake
from harness.places import REPO, new_run_dir

SUITES = REPO / "pg_regress"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true", help="take the results as expected")
    parser.add_argument("suites", nargs="*", metavar="NAME")
    arguments = parser.parse_args()

    base = new_run_dir("pg_lake_regress.")
    lake = Lake(base)
    work = lake.pg.user.own(base / "regress")
    for entry in ("sql", "expected"):
        shutil.copytree(SUITES / entry, work / entry)
    shutil.copy(SUITES / "schedule", work / "schedule")
    for suite in (work / "sql").glob("*.sql"):
        # A new suite has no expected file yet; pg_regress stops without one.
        (work / "expected" / f"{suite.stem}.out").touch()
    give(work, lake.pg.user.uid, lake.pg.user.gid)

    lake.start()
    try:
        status = run(lake, work, arguments.suites)
    finally:
        lake.stop()

    results = SUITES / "results"
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(work / "results", results)
    if arguments.accept:
        for result in results.glob("*.out"):
            shutil.copyfile(result, SUITES / "expected" / result.name)
        print(f"accepted {len(list(results.glob('*.out')))} results")
        return 0
    diffs = work / "regression.diffs"
    if status and diffs.exists():
        print(diffs.read_text(errors="replace"))
    return status


def run(lake: Lake, work: Path, suites: list[str]) -> int:
    """Calls pg_regress as PostgreSQL's user."""
    chosen = ["setup", *suites] if suites else [f"--schedule={work}/schedule"]
    command = [
        str(lake.pg.install.pg_regress),
        f"--inputdir={work}",
        f"--outputdir={work}",
        f"--bindir={lake.pg.install.bindir}",
        "--host=127.0.0.1",
        f"--port={lake.pg.port}",
        "--user=postgres",
        "--dbname=regression",
        *chosen,
    ]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(work)}
    return subprocess.run(command, cwd=work, env=environment, **lake.pg.user.popen_arguments()).returncode  # type: ignore[call-overload]


def give(directory: Path, uid: int, gid: int) -> None:
    """Makes a user the owner of a tree."""
    if os.getuid() == 0:
        for parent, _, names in os.walk(directory):
            for path in [parent, *(os.path.join(parent, name) for name in names)]:
                os.chown(path, uid, gid)


if __name__ == "__main__":
    sys.exit(main())
