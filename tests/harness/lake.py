"""One PostgreSQL and one pgduck_server that belong together: the pair that most tests use."""

from __future__ import annotations

from pathlib import Path

from .database import Database
from .pg_install import EXTENSION, PgInstall, private_install
from .pgduck import Pgduck
from .postgres import Postgres
from .s3 import S3
from .unix_users import postgres_user

_TEMPLATE = "lake_template"


class Lake:
    """The pair. PostgreSQL knows the server by TCP only, and streaming is on."""

    def __init__(
        self,
        base: Path,
        *,
        install: PgInstall | None = None,
        s3: S3 | None = None,
        shared_user: bool = False,
        streaming: bool = True,
        pg_settings: dict[str, str] | None = None,
        pgduck_flags: tuple[str, ...] = (),
        pgduck_threads: int = 2,
        pg_port: int | None = None,
        pgduck_port: int | None = None,
        outlive: bool = False,
    ) -> None:
        """Prepares a pair below `base`, which every user must be able to enter.

        With `shared_user` both run as one user and can read each other's files, as the way without streaming needs.
        With `s3` the server has its secret, and tables go to the bucket.
        """
        self.base = base
        self.duck = Pgduck(
            base / "pgduck",
            user=postgres_user() if shared_user else None,
            extensions=("httpfs",) if s3 else (),
            init_sql=s3.secret_sql() if s3 else "",
            flags=pgduck_flags,
            threads=pgduck_threads,
            port=pgduck_port,
            outlive=outlive,
        )
        self.location = s3.location if s3 else self.duck.location
        self.pg = Postgres(
            base / "postgresql",
            install or private_install(base / "install"),
            settings=pg_settings,
            port=pg_port,
            outlive=outlive,
        )
        self.pg.settings |= {
            "pg_lake_engine.host": self.duck.conninfo,
            "pg_lake_engine.streaming_writes": "on" if streaming else "off",
            "pg_lake_iceberg.default_location_prefix": self.location,
            # Tests say themselves when tables are vacuumed.
            "pg_lake_iceberg.autovacuum": (pg_settings or {}).get("pg_lake_iceberg.autovacuum", "off"),
        }

    def start(self) -> None:
        """Starts both servers, on a new cluster if there is none yet."""
        new = not self.pg.data.exists()
        if new:
            self.pg.init()
        self.duck.start()
        self.pg.start()
        if new:
            self._make_template()

    def stop(self) -> None:
        """Ends both servers."""
        self.pg.stop()
        self.duck.stop()

    def database(self, name: str) -> Database:
        """Makes a new database that has the extension."""
        with self.pg.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {_TEMPLATE}')
        return Database(self, name)

    def drop_database(self, name: str) -> None:
        """Removes a database, with whoever is connected to it."""
        with self.pg.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def logs(self) -> str:
        """The last lines of both servers' logs."""
        parts = []
        for name, process in (("PostgreSQL", self.pg.process), ("pgduck_server", self.duck.process)):
            if process:
                parts.append(f"--- {name}\n{process.log_tail()}")
        return "\n".join(parts)

    def _make_template(self) -> None:
        with self.pg.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        with self.pg.connect(_TEMPLATE) as connection:
            connection.execute(f"CREATE EXTENSION {EXTENSION}")
