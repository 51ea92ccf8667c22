"""A pgduck_server of our own."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import psycopg

from .places import built, duckdb_extension, libduckdb
from .ports import free_port
from .process import Process, open_files
from .unix_users import UnixUser, pgduck_user


class Pgduck:
    """One server: its directory, port and process.

    Below `base` are `bin/` (the program and DuckDB's library, copied so that its user can read them wherever the repository
    lies), `sock/`, `extensions/` and `lake/`, the place for tables on this server's own disk.
    """

    def __init__(
        self,
        base: Path,
        *,
        user: UnixUser | None = None,
        extensions: tuple[str, ...] = (),
        init_sql: str = "",
        flags: tuple[str, ...] = (),
        threads: int = 2,
        port: int | None = None,
        outlive: bool = False,
    ) -> None:
        """Prepares a server. `init_sql` is run at its start, `extensions` are DuckDB extensions to load."""
        self.user = user or pgduck_user()
        self.home = self.user.own(base)
        self.lake = self.user.own(base / "lake")
        self.sockets = self.user.own(base / "sock")
        self.log = base / "pgduck_server.log"
        self.port = port or free_port()
        self.outlive = outlive
        self.process: Process | None = None
        self.program = self._stage()
        self.command = [
            str(self.program),
            "--listen_addresses=127.0.0.1",
            f"--port={self.port}",
            f"--unix_socket_directory={self.sockets}",
            f"--extensions_dir={self._link_extensions(extensions)}",
            "--no_extension_install",
            f"--threads={threads}",
            *flags,
        ]
        if init_sql:
            self.command.append(f"--init_file_path={self._write_init_file(init_sql)}")

    @property
    def location(self) -> str:
        """A location prefix for tables on this server's disk."""
        return f"file://{self.lake}"

    @property
    def conninfo(self) -> str:
        """How PostgreSQL reaches it (for pg_lake_engine.host)."""
        return f"host=127.0.0.1 port={self.port}"

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        self.process = Process(self.command, user=self.user, log=self.log, env={"HOME": str(self.home)}, outlive=self.outlive)
        self.process.wait_ready(self._listens)

    def stop(self) -> None:
        """Ends the server."""
        if self.process:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """Ends the server as a crash would."""
        assert self.process
        self.process.kill()
        self.process = None

    def remove(self) -> None:
        """Ends the server and removes its files."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def connect(self) -> psycopg.Connection:
        """A connection to the server itself."""
        # Prepared statements by name are not what this is for, and the server has no transactions to start.
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="test", dbname="test", connect_timeout=10, autocommit=True, prepare_threshold=None
        )

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self.process
        return self.process.pid

    def stream_descriptors(self) -> list[str]:
        """Descriptors of the process that belong to streams: pipes, memory files, files of the lake."""
        return sorted(
            target for target in open_files(self.pid) if target.startswith(("pipe:", "/memfd:", str(self.lake)))
        )

    def client_sockets(self) -> int:
        """How many TCP connections to its port are established, as its side sees them."""
        wanted = f":{self.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(1 for row in rows if row[1].endswith(wanted) and row[3] == "01")

    def _listens(self) -> bool:
        assert self.process
        if "ready to accept connections" not in self.process.log_text():
            return False
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _stage(self) -> Path:
        bindir = self.user.own(self.home / "bin", 0o755)
        for source in (built("pgduck_server"), libduckdb()):
            target = bindir / source.name
            if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
                target.unlink(missing_ok=True)
                shutil.copyfile(source, target)
                target.chmod(0o755)
        return bindir / "pgduck_server"

    def _link_extensions(self, names: tuple[str, ...]) -> Path:
        directory = self.user.own(self.home / "extensions", 0o755)
        for name in names:
            source = duckdb_extension(name)
            target = directory / source.name
            if not target.exists():
                shutil.copyfile(source, target)
                target.chmod(0o644)
        return directory

    def _write_init_file(self, sql: str) -> Path:
        path = self.home / "init.sql"
        path.write_text(sql)
        if os.getuid() == 0:
            os.chown(path, self.user.uid, self.user.gid)
        path.chmod(0o600)
        return path
