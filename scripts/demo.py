"""`make demo` and `make stop`: the whole system, running, with a table in it.

    scripts/demo.py start    starts PostgreSQL and pgduck_server, runs a session, shows the files and an outside reader
    scripts/demo.py stop     ends both servers; the data stays

What is running, and where, is written to target/demo/env (for a shell to source) and target/demo/state.json. The data of an earlier
demo is kept, unless the extension's catalogs have changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.compute as pc

from harness.database import Database
from harness.lake import Lake
from harness.pg_install import private_install
from harness.places import REPO, files_under, target_dir
from harness.ports import first_free
from harness.postgres import DURABLE
from harness.process import exists, wait_until
from harness.readers import read_duckdb, read_pyiceberg
from harness.unix_users import pgduck_user, postgres_user, two_users

DEMO = target_dir() / "demo"
STATE = DEMO / "state.json"
ENV = DEMO / "env"
SESSION = REPO / "scripts" / "demo_session.sql"
POSTGRESQL_PORT, PGDUCK_PORT = 15432, 5332


def say(text: str) -> None:
    """Names the step that follows."""
    print(f"\n==> {text}", flush=True)


def home() -> Path:
    """Where the servers keep their files: target/demo, if both users can get there."""
    DEMO.mkdir(parents=True, exist_ok=True)
    DEMO.chmod(0o755)
    if all(user.can_read(DEMO) for user in (postgres_user(), pgduck_user())):
        return DEMO
    elsewhere = Path(tempfile.gettempdir()) / f"pg_lake_stream_demo_{hashlib.sha256(str(DEMO).encode()).hexdigest()[:8]}"
    elsewhere.mkdir(exist_ok=True)
    elsewhere.chmod(0o755)
    return elsewhere


def read_state() -> dict[str, object]:
    """What the last start wrote down."""
    return json.loads(STATE.read_text()) if STATE.exists() else {}


def stop() -> bool:
    """Ends the servers of an earlier start. False if there were none."""
    state = read_state()
    running = False
    for name, number in (("postgresql", signal.SIGINT), ("pgduck_server", signal.SIGTERM)):
        pid = state.get(name)
        if isinstance(pid, int) and _is_ours(pid, str(state["home"])):
            running = True
            print(f"    ending {name} (process {pid})", flush=True)
            os.kill(pid, number)
            wait_until(lambda: not exists(pid), f"{name} has ended", 30)
    STATE.unlink(missing_ok=True)
    ENV.unlink(missing_ok=True)
    return running


def _is_ours(pid: int, directory: str) -> bool:
    """Whether a process number still belongs to a program below our directory, and not to somebody else by now."""
    try:
        return os.readlink(f"/proc/{pid}/exe").startswith(directory)
    except OSError:
        return False


def start() -> None:
    """Starts everything and runs the session."""
    if read_state():
        say("A demo is there already: restarting its servers, with what was built now")
        stop()
    base = home()

    say("Starting pgduck_server and PostgreSQL")
    keep_or_remove_data(base)
    shutil.rmtree(base / "install", ignore_errors=True)
    lake = Lake(
        base,
        install=private_install(base / "install"),
        pg_settings=dict(DURABLE),
        pg_port=first_free(POSTGRESQL_PORT),
        pgduck_port=first_free(PGDUCK_PORT),
        outlive=True,
    )
    if lake.pg.data.exists():
        lake.pg.write_settings()
    lake.start()
    assert lake.pg.process
    state = {"home": str(base), "postgresql": lake.pg.process.pid, "pgduck_server": lake.duck.pid}
    STATE.write_text(json.dumps(state))
    write_env(lake)
    print(f"    PostgreSQL    127.0.0.1:{lake.pg.port}, user {lake.pg.user.name}, files in {lake.pg.home}")
    print(f"    pgduck_server 127.0.0.1:{lake.duck.port}, user {lake.duck.user.name}, files in {lake.duck.home}", flush=True)
    if two_users():
        can = lake.pg.user.can_read(lake.duck.lake) or lake.duck.user.can_read(lake.pg.data)
        print(f"    can one of the two users read the other one's files? {'yes' if can else 'no'}", flush=True)

    say("A session of psql")
    database = demo_database(lake)
    run_session(lake)

    say("The files that pgduck_server has written")
    show_files(lake, database)
    say("The same table, as outside readers see it")
    show_outside_readers(database)
    database.close()

    say("PostgreSQL and pgduck_server go on running")
    print(f"    to use them:   source {os.path.relpath(ENV)} && psql")
    print("    the server:    psql -h $PGDUCK_HOST -p $PGDUCK_PORT    (DuckDB's SQL)")
    print("    to end them:   make stop", flush=True)


def keep_or_remove_data(base: Path) -> None:
    """Removes the data of an earlier demo if the extension's SQL was another one then."""
    scripts = sorted((REPO / "sql").glob("*.sql"))
    version = hashlib.sha256(b"".join(script.read_bytes() for script in scripts)).hexdigest()
    stamp = base / "sql_version"
    if stamp.exists() and stamp.read_text() != version:
        print("    the extension's catalogs have changed: starting with an empty database", flush=True)
        shutil.rmtree(base / "postgresql", ignore_errors=True)
        shutil.rmtree(base / "pgduck", ignore_errors=True)
    stamp.write_text(version)


def demo_database(lake: Lake) -> Database:
    """The database `demo`, without the tables that the session makes."""
    with lake.pg.connect("postgres") as connection:
        known = connection.execute("SELECT FROM pg_database WHERE datname = 'demo'").fetchone()
    if known is None:
        return lake.database("demo")
    database = Database(lake, "demo")
    database.sql("SET client_min_messages = warning", "DROP TABLE IF EXISTS orders, audit")
    return database


def run_session(lake: Lake) -> None:
    """Runs the session with psql, which shows statements and results."""
    command = [lake.pg.install.binary("psql"), "-X", "-a", "-v", "ON_ERROR_STOP=1", "-P", "pager=off", "-f", str(SESSION)]
    if subprocess.run(command, env=os.environ | environment(lake)).returncode:
        sys.exit(f"The session failed. The servers go on running; their logs are {lake.pg.log} and {lake.duck.log}.")


def show_files(lake: Lake, database: Database) -> None:
    """Lists the files of the table."""
    in_use = {path.removeprefix("file://") for path in database.data_files("orders")}
    table = Path(database.metadata_location("orders").removeprefix("file://")).parents[1]
    for path in sorted(files_under(table)):
        is_old = path.endswith(".parquet") and path not in in_use
        note = "   (rolled back or replaced: the newest snapshot does not have it)" if is_old else ""
        print(f"    {os.path.getsize(path):>10,}  {os.path.relpath(path, lake.duck.lake)}{note}", flush=True)


def show_outside_readers(database: Database) -> None:
    """Reads the table with PyIceberg and DuckDB, from the location of its metadata."""
    location = database.metadata_location("orders")
    for name, read in (("PyIceberg", read_pyiceberg), ("DuckDB", read_duckdb)):
        rows = read(location)
        print(f"    {name:<10} {rows.num_rows:,} rows, sum(amount) = {pc.sum(rows['amount']).as_py()}", flush=True)
    ((count, total),) = database.rows("SELECT count(*), sum(amount) FROM orders")
    print(f"    PostgreSQL {count:,} rows, sum(amount) = {total}", flush=True)


def environment(lake: Lake) -> dict[str, str]:
    """The variables of target/demo/env."""
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(lake.pg.port),
        "PGUSER": "postgres",
        "PGDATABASE": "demo",
        "PGDUCK_HOST": "127.0.0.1",
        "PGDUCK_PORT": str(lake.duck.port),
        "PGDUCK_SOCKET_DIR": str(lake.duck.sockets),
        "LAKE_LOCATION": lake.location,
    }


def write_env(lake: Lake) -> None:
    """Writes target/demo/env."""
    lines = [f"export {name}='{value}'" for name, value in environment(lake).items()]
    ENV.write_text("# Written by `make demo`: the running servers.\n" + "\n".join(lines) + "\n")


def main() -> int:
    """Returns the exit status."""
    match sys.argv[1:]:
        case ["start"]:
            start()
        case ["stop"]:
            print("The demo has ended; its data is kept." if stop() else "The demo is not running.")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
