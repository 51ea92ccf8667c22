"""Shows that a session which never touches a lake table behaves the same with and without the library.

Runs PostgreSQL's own regression suite (of Debian's source package) twice, on a cluster without and on one with the library
preloaded, and compares all that psql printed, byte by byte.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness.pg_install import PgInstall, private_install, system_install
from harness.places import DEPS, REPO, new_run_dir
from harness.postgres import Postgres
from harness.unix_users import UnixUser

# Libraries that the suite loads from the directory of regress.so, and which PostgreSQL installs elsewhere.
_CONTRIB = ("autoinc.so", "refint.so")


def main() -> int:
    """Returns the exit status."""
    source = DEPS / "pg_core_regress"
    subprocess.run([str(REPO / "scripts" / "fetch_pg_source"), str(source)], check=True)
    libraries = build_libraries(source)

    base = new_run_dir("pg_lake_core_regress.")
    without = run(base / "without", source, libraries, with_library=False)
    with_library = run(base / "with", source, libraries, with_library=True)
    return compare(without, with_library)


def build_libraries(source: Path) -> Path:
    """Compiles regress.so, as the suite needs it, with PostgreSQL's headers. Returns its directory."""
    directory = source / "libraries"
    if not (directory / "regress.so").exists():
        directory.mkdir(exist_ok=True)
        includes = subprocess.run(["pg_config", "--includedir-server"], capture_output=True, text=True, check=True).stdout.strip()
        command = ["gcc", "-O1", "-fPIC", "-shared", "-w", f"-I{includes}", str(source / "regress.c"), "-o", str(directory / "regress.so")]
        subprocess.run(command, check=True)
    for name in _CONTRIB:
        shutil.copyfile(system_install().pkglibdir / name, directory / name)
    return directory


def run(base: Path, source: Path, libraries: Path, *, with_library: bool) -> Path:
    """One run of the suite on a new cluster; returns the directory of its results."""
    base.mkdir()
    base.chmod(0o755)
    install = private_install(base / "install", with_extension=with_library)
    cluster = Postgres(base / "postgresql", install, with_library=with_library)
    work = cluster.user.own(base / "regress")
    for entry in ("sql", "expected", "data", "parallel_schedule", "resultmap"):
        copy = shutil.copytree if (source / entry).is_dir() else shutil.copyfile
        copy(source / entry, work / entry)
    shutil.copytree(libraries, work / "libraries")
    _give(work, cluster.user)

    cluster.init()
    cluster.start()
    started = time.monotonic()
    try:
        passed, failed = _pg_regress(cluster, install, work)
    finally:
        cluster.stop()
    print(
        f"    {'with' if with_library else 'without'} the library: {passed} suites as PostgreSQL expects them, {failed} not"
        f" ({time.monotonic() - started:.0f} s)",
        flush=True,
    )
    return work / "results"


def _pg_regress(cluster: Postgres, install: PgInstall, work: Path) -> tuple[int, int]:
    command = [
        str(install.pg_regress),
        f"--inputdir={work}",
        f"--outputdir={work}",
        f"--dlpath={work}/libraries",
        f"--bindir={install.bindir}",
        "--max-concurrent-tests=20",
        "--host=127.0.0.1",
        f"--port={cluster.port}",
        "--user=postgres",
        f"--schedule={work}/parallel_schedule",
    ]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(work)}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, **cluster.user.popen_arguments())  # type: ignore[call-overload]
    lines = [line for line in done.stdout.splitlines() if line.rstrip().endswith("ms")]
    failed = sum(1 for line in lines if "FAILED" in line)
    if not lines:
        raise RuntimeError(f"pg_regress did not run:\n{done.stdout}{done.stderr}")
    return len(lines) - failed, failed


def compare(without: Path, with_library: Path) -> int:
    """Prints the differences of two runs; returns the exit status."""
    names = sorted({path.name for directory in (without, with_library) for path in directory.iterdir()})
    _, different, missing = filecmp.cmpfiles(without, with_library, names, shallow=False)
    for name in [*different, *missing]:
        print(f"--- {name}", flush=True)
        subprocess.run(["diff", "-u", without / name, with_library / name])
    print(f"core-regress: {len(names)} outputs compared, {len(different) + len(missing)} differ")
    return 1 if different or missing or not names else 0


def _give(directory: Path, user: UnixUser) -> None:
    if os.getuid() == 0:
        for parent, _, names in os.walk(directory):
            for path in [parent, *(os.path.join(parent, name) for name in names)]:
                os.chown(path, user.uid, user.gid)


if __name__ == "__main__":
    sys.exit(main())
