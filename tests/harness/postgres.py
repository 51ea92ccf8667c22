"""A PostgreSQL cluster of our own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from .pg_install import EXTENSION, PgInstall
from .ports import free_port
from .process import Process, exists
from .unix_users import postgres_user

# Tests kill processes but never cut the power, so syncing shows nothing and costs much. The benchmarks and the demo switch it on.
# A commit is still written to the WAL before it returns: what a killed backend has committed must be there afterwards.
FAST = {"fsync": "off", "full_page_writes": "off"}
DURABLE = {"fsync": "on"}


class Postgres:
    """One cluster: data directory, port, server process."""

    def __init__(
        self,
        base: Path,
        install: PgInstall,
        *,
        settings: dict[str, str] | None = None,
        with_library: bool = True,
        port: int | None = None,
        outlive: bool = False,
    ) -> None:
        """Prepares a cluster below `base`, which must be a directory that every user can enter.

        `settings` go to postgresql.conf; `with_library` preloads the extension's library.
        """
        self.install = install
        self.user = postgres_user()
        self.home = self.user.own(base)
        self.data = self.home / "data"
        self.log = self.home / "postgresql.log"
        self.port = port or free_port()
        self.outlive = outlive
        self.process: Process | None = None
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "60",
            "shared_buffers": "128MB",
            "max_wal_size": "4GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "log_checkpoints": "off",
            # A lake query holds no lock that a deadlock check would find early.
            "logging_collector": "off",
        }
        if with_library:
            self.settings["shared_preload_libraries"] = EXTENSION
        self.settings |= FAST if settings is None else settings

    def init(self, template: Path | None = None) -> None:
        """Makes the data directory, by initdb or as a copy of another one that was never started."""
        if template:
            subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(self.data)], check=True)
        else:
            command = [self.install.binary("initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
            self._run([*command, "--locale=C.UTF-8", "--no-sync", "--no-instructions"])
        self.write_settings()

    def init_standby(self, primary: Postgres) -> None:
        """Makes the data directory a copy of a running cluster that will follow it."""
        connection = f"host=127.0.0.1 port={primary.port} user=postgres"
        self._run([self.install.binary("pg_basebackup"), "-D", str(self.data), "-d", connection, "-R", "-X", "stream", "-c", "fast", "--no-sync"])
        # pg_basebackup -R wrote it into the file that is written anew now.
        self.settings["primary_conninfo"] = connection
        self.write_settings()

    def write_settings(self) -> None:
        """Writes `settings` into the cluster; they take effect at its next start or reload."""
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in self.settings.items()]
        path = self.data / "postgresql.auto.conf"
        path.write_text("\n".join(lines) + "\n")
        if os.getuid() == 0:
            os.chown(path, self.user.uid, self.user.gid)
        path.chmod(0o600)

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        command = [self.install.binary("postgres"), "-D", str(self.data)]
        # SIGQUIT ends it at once; nobody needs what is in its buffers.
        stop_signal = signal.SIGINT if self.outlive else signal.SIGQUIT
        self.process = Process(command, user=self.user, log=self.log, stop_signal=stop_signal, outlive=self.outlive)
        self.process.wait_ready(self.accepts_connections)

    def accepts_connections(self) -> bool:
        """Whether one can connect now."""
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Ends the server."""
        if self.process:
            self.process.stop()
            self.process = None

    def reload(self) -> None:
        """Makes the server read its settings again."""
        assert self.process
        self.write_settings()
        self.process.signal(signal.SIGHUP)

    def connect(self, dbname: str, *, autocommit: bool = True, **parameters: object) -> psycopg.Connection:
        """A connection as the superuser."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=dbname, connect_timeout=10, autocommit=autocommit, **parameters
        )

    def psql(self, dbname: str, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs psql, without a psqlrc, and returns what it printed."""
        command = [self.install.binary("psql"), "-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", dbname]
        return subprocess.run([*command, *arguments], input=stdin, capture_output=True, text=True)

    def temporary_files(self) -> list[str]:
        """What lies in the directories for temporary files."""
        return [str(path) for path in self.data.glob("**/pgsql_tmp/**/*") if path.is_file()]

    def backend_exists(self, pid: int) -> bool:
        """Whether a backend still runs."""
        return exists(pid)

    def remove(self) -> None:
        """Ends the server and removes its files."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd="/",
            **self.user.popen_arguments(),  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
