"""A private copy of PostgreSQL's installation that has the extension in it.

PostgreSQL finds its libraries and its share directory relative to the directory of its own binary. A tree with copies of the
binaries and links to all the rest is therefore a complete installation, to which the extension is added
without touching the machine's PostgreSQL, and without one test run seeing the build of another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .places import REPO, built_extension
from .unix_users import postgres_user

EXTENSION = "pg_lake_stream_ext"


@dataclass(frozen=True)
class PgInstall:
    """Directories of an installation."""

    bindir: Path
    pkglibdir: Path
    sharedir: Path
    pg_regress: Path
    """PostgreSQL's test runner (from postgresql-server-dev)."""

    def binary(self, name: str) -> str:
        """The path of one of PostgreSQL's programs."""
        return str(self.bindir / name)

    @property
    def major(self) -> int:
        """The major version."""
        output = subprocess.run([self.binary("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
        return int(output.split()[2].partition(".")[0])


def system_install() -> PgInstall:
    """The installation that `pg_config` (or `$PG_CONFIG`) describes."""

    def ask(option: str) -> Path:
        command = [os.environ.get("PG_CONFIG", "pg_config"), option]
        return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())

    # --pgxs names .../pgxs/src/makefiles/pgxs.mk
    pg_regress = ask("--pgxs").parents[1] / "test" / "regress" / "pg_regress"
    return PgInstall(ask("--bindir"), ask("--pkglibdir"), ask("--sharedir"), pg_regress)


def private_install(base: Path, *, with_extension: bool = True) -> PgInstall:
    """Makes a private copy below `base`."""
    system = system_install()

    def below(directory: Path) -> Path:
        return base / directory.relative_to("/")

    private = PgInstall(below(system.bindir), below(system.pkglibdir), below(system.sharedir), below(system.bindir) / "pg_regress")
    private.bindir.mkdir(parents=True)
    for program in ("postgres", "initdb", "pg_ctl"):
        shutil.copy2(system.bindir / program, private.bindir / program)
    shutil.copy2(system.pg_regress, private.pg_regress)
    # Links, if PostgreSQL's user can follow them; it cannot when the installation lies in root's home.
    put = os.symlink if postgres_user().can_read(system.sharedir) else _copy_whole
    for program in system.bindir.iterdir():
        if not (private.bindir / program.name).exists():
            put(program, private.bindir / program.name)
    _put_entries(put, system.pkglibdir, private.pkglibdir)
    # Some builds bring the libraries that their programs need, and find them by $ORIGIN/../lib.
    if (libdir := system.bindir.parent / "lib") != system.pkglibdir:
        for library in libdir.glob("*.so*"):
            put(library, private.bindir.parent / "lib" / library.name)
    _put_entries(put, system.sharedir, private.sharedir, leave_out="extension")
    _put_entries(put, system.sharedir / "extension", private.sharedir / "extension")
    if with_extension:
        _add_extension(private)
    return private


def _put_entries(put: Callable[[Path, Path], object], source: Path, target: Path, leave_out: str = "") -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.name != leave_out and not entry.name.startswith(EXTENSION):
            put(entry, target / entry.name)


def _copy_whole(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _add_extension(install: PgInstall) -> None:
    _copy(built_extension(f"lib{EXTENSION}.so"), install.pkglibdir / f"{EXTENSION}.so", 0o755)
    _copy(REPO / EXTENSION / f"{EXTENSION}.control", install.sharedir / "extension" / f"{EXTENSION}.control", 0o644)
    for script in (REPO / "sql").glob(f"{EXTENSION}--*.sql"):
        _copy(script, install.sharedir / "extension" / script.name, 0o644)


def _copy(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)
