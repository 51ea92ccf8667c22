"""Where the built files, the downloaded files and a run's own directory are."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DEPS = Path(os.environ.get("DEPS", REPO / ".deps")).resolve()


def target_dir() -> Path:
    """Cargo's target directory."""
    return Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))


def built(name: str) -> Path:
    """A file that cargo built; `LAKE_PROFILE=release` chooses the optimised ones."""
    path = target_dir() / os.environ.get("LAKE_PROFILE", "debug") / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run `make build` (or `make release`) first")
    return path


def built_extension(library: str) -> Path:
    """The extension's library; `LAKE_EXTENSION` names the one for another version of PostgreSQL."""
    return Path(os.environ.get("LAKE_EXTENSION") or built(library))


def libduckdb() -> Path:
    """DuckDB's library."""
    return DEPS / "duckdb" / "libduckdb.so"


def duckdb_extension(name: str) -> Path:
    """The file of one of DuckDB's extensions."""
    return DEPS / "duckdb_extensions" / f"{name}.duckdb_extension"


def new_run_dir(prefix: str = "pg_lake_test.") -> Path:
    """Makes a directory that all users can enter, and that is removed when this process ends.

    `LAKE_KEEP=1` keeps it.
    """
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("LAKE_TMP")))
    path.chmod(0o755)
    if not os.environ.get("LAKE_KEEP"):
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def files_under(directory: Path | str) -> set[str]:
    """Every file below a directory, by its path."""
    return {os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in names}
