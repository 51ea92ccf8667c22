"""Triggers of a lake table run, see and change what those of a heap table do."""

from __future__ import annotations

import psycopg
import pytest

from harness.database import Database
from harness.twins import Twins

# Writes down what a trigger is given, into the table `<table>_seen`.
SEE = """
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE old_row text; new_row text;
    BEGIN
      IF TG_LEVEL = 'ROW' AND TG_OP <> 'INSERT' THEN old_row := OLD::text; END IF;
      IF TG_LEVEL = 'ROW' AND TG_OP <> 'DELETE' THEN new_row := NEW::text; END IF;
      EXECUTE format('INSERT INTO %I VALUES ($1, $2, $3, $4)', TG_TABLE_NAME || '_seen')
        USING concat_ws(' ', TG_WHEN, TG_OP, TG_LEVEL), TG_NAME, old_row, new_row;
      IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
      RETURN NEW;
    END $$"""

# Changes the new row, and leaves out rows.
CHANGE = """
    CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'DELETE' THEN
        IF OLD.id % 10 = 3 THEN RETURN NULL; END IF;
        RETURN OLD;
      END IF;
      IF NEW.n = 13 THEN RETURN NULL; END IF;
      NEW.name := upper(NEW.name) || coalesce(OLD.n, 0);
      RETURN NEW;
    END $$"""

# Counts the table's rows as the trigger sees them.
COUNT = """
    CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE found text;
    BEGIN
      EXECUTE format('SELECT count(*) || '' rows, sum '' || sum(n) FROM %I', TG_TABLE_NAME) INTO found;
      EXECUTE format('INSERT INTO %I VALUES ($1, $2)', TG_TABLE_NAME || '_seen') USING concat_ws(' ', TG_WHEN, TG_OP, TG_LEVEL), found;
      RETURN NULL;
    END $$"""

STATEMENTS = [
    "UPDATE {t} SET n = n + 1 WHERE id <= 20",
    "UPDATE {t} SET n = 13 WHERE id BETWEEN 21 AND 30",
    "UPDATE {t} SET name = 'other' WHERE id = 40 OR id = 240 RETURNING *",
    "UPDATE {t} t SET n = s.n + 1 FROM {t} s WHERE s.id = t.id + 1 AND t.id < 15",
    "DELETE FROM {t} WHERE id BETWEEN 50 AND 60",
    "DELETE FROM {t} WHERE id % 100 IN (3, 4) RETURNING id, name",
    "UPDATE {t} SET n = 0 WHERE false",
    "INSERT INTO {t} SELECT i, i, 'new' FROM generate_series(1001, 1004) i",
    "DELETE FROM {t} WHERE n > 5 AND md5(name) < '8'",
    "UPDATE {t} SET id = id + 1",
    "DELETE FROM {t}",
]


@pytest.fixture
def twins(any_db: Database) -> Twins:
    """A pair of tables in two files, each with a table for what its triggers see."""
    twins = Twins(any_db, "t", "id int, n int, name text")
    twins.run(*(f"INSERT INTO {{t}} SELECT i, i % 20, 'name ' || i FROM generate_series({first}, {first + 99}) i" for first in (1, 201)))
    twins.run("CREATE TABLE {t}_seen (what text, name text, old_row text, new_row text)")
    any_db.sql(SEE, CHANGE, COUNT)
    return twins


def add_trigger(twins: Twins, when: str, function: str, name: str = "trg") -> None:
    """Makes the same trigger on both tables; `when` as in CREATE TRIGGER, with {on} for the table."""
    for table in (twins.heap, twins.lake):
        twins.db.sql(f"CREATE TRIGGER {name} {when.replace('{on}', f'ON {table}')} EXECUTE FUNCTION {function}()")


def check(twins: Twins) -> None:
    """Runs the statements, and compares the tables and what the triggers saw."""
    for statement in STATEMENTS:
        twins.run(statement)
        twins.assert_equal()
        seen = [twins.db.rows(f"SELECT what, name, old_row, new_row FROM {table}_seen ORDER BY 1, 2, 3, 4") for table in (twins.heap, twins.lake)]
        assert seen[0] == seen[1], statement
        twins.run("TRUNCATE {t}_seen")
    twins.assert_equal_everywhere()


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
@pytest.mark.parametrize("level", ["ROW", "STATEMENT"])
def test_a_trigger_sees_what_happens(twins: Twins, when: str, level: str) -> None:
    add_trigger(twins, f"{when} INSERT OR UPDATE OR DELETE {{on}} FOR EACH {level}", "see")
    check(twins)


def test_a_trigger_changes_and_leaves_out_rows(twins: Twins) -> None:
    add_trigger(twins, "BEFORE UPDATE OR DELETE {on} FOR EACH ROW", "change", "first")
    add_trigger(twins, "AFTER INSERT OR UPDATE OR DELETE {on} FOR EACH ROW", "see", "second")
    check(twins)


def test_triggers_with_conditions(twins: Twins) -> None:
    add_trigger(twins, "BEFORE UPDATE OF name {on} FOR EACH ROW", "see", "of_name")
    add_trigger(twins, "AFTER UPDATE {on} FOR EACH ROW WHEN (OLD.n IS DISTINCT FROM NEW.n)", "see", "of_other_n")
    add_trigger(twins, "BEFORE DELETE {on} FOR EACH ROW WHEN (OLD.id < 52)", "see", "of_small_ids")
    check(twins)


def test_an_after_trigger_sees_the_table_as_the_statement_left_it(twins: Twins) -> None:
    add_trigger(twins, "BEFORE UPDATE OR DELETE {on} FOR EACH STATEMENT", "count_rows", "before")
    add_trigger(twins, "AFTER UPDATE OR DELETE {on} FOR EACH ROW", "count_rows", "after_row")
    add_trigger(twins, "AFTER UPDATE OR DELETE {on} FOR EACH STATEMENT", "count_rows", "after")
    check(twins)


def test_a_trigger_writes_to_another_lake_table(twins: Twins) -> None:
    db = twins.db
    db.sql(
        "CREATE TABLE history (id int, n int, what text) USING iceberg",
        """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN INSERT INTO history VALUES (OLD.id, OLD.n, TG_OP); RETURN NULL; END $$""",
        "CREATE TRIGGER keep AFTER UPDATE OR DELETE ON t_lake FOR EACH ROW EXECUTE FUNCTION keep()",
        "UPDATE t_lake SET n = n + 1 WHERE id <= 20",
        "DELETE FROM t_lake WHERE id BETWEEN 16 AND 25",
    )
    before = [(i, i % 20, "UPDATE") for i in range(1, 21)]
    deleted = [(i, i % 20 + (1 if i <= 20 else 0), "DELETE") for i in range(16, 26)]
    assert sorted(db.rows("TABLE history")) == sorted(before + deleted)


def test_an_error_in_a_trigger_takes_everything_back(twins: Twins) -> None:
    db = twins.db
    db.sql(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF OLD.id = 250 THEN RAISE 'not row %', OLD.id USING ERRCODE = 'P0004'; END IF; RETURN coalesce(NEW, OLD); END $$"""
    )
    metadata = db.metadata_location("t_lake")
    for when in ("BEFORE", "AFTER"):
        add_trigger(twins, f"{when} UPDATE OR DELETE {{on}} FOR EACH ROW", "refuse", when)
        twins.fails("UPDATE {t} SET n = n + 1", "P0004")
        twins.fails("DELETE FROM {t} WHERE id > 5", "P0004")
        twins.run(f"DROP TRIGGER {when} ON {{t}}")
    assert db.metadata_location("t_lake") == metadata
    twins.run("DELETE FROM {t} WHERE id > 5")
    twins.assert_equal_everywhere()


def test_a_trigger_that_changes_the_table_itself(twins: Twins) -> None:
    twins.db.sql(
        """CREATE FUNCTION cascade_delete() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN EXECUTE format('DELETE FROM %I WHERE id = $1', TG_TABLE_NAME) USING OLD.id + 200; RETURN NULL; END $$"""
    )
    add_trigger(twins, "AFTER DELETE {on} FOR EACH ROW", "cascade_delete")
    twins.run("DELETE FROM {t} WHERE id IN (1, 2, 3)", "DELETE FROM {t} WHERE id = 99")
    twins.assert_equal_everywhere()
    assert twins.db.value("SELECT count(*) FROM t_lake") == 200 - 3 - 3 - 1 - 1


def test_replication_role_and_disabled_triggers(twins: Twins) -> None:
    add_trigger(twins, "BEFORE UPDATE OR DELETE {on} FOR EACH ROW", "change")
    with twins.db.session() as session:
        session.execute("SET session_replication_role = replica")
        twins.run("UPDATE {t} SET n = 13 WHERE id < 5", "DELETE FROM {t} WHERE id = 203", session=session)
    twins.run("ALTER TABLE {t} DISABLE TRIGGER trg", "DELETE FROM {t} WHERE id = 213", "ALTER TABLE {t} ENABLE TRIGGER trg")
    twins.run("DELETE FROM {t} WHERE id = 223")
    assert twins.db.value("SELECT count(*) FROM t_lake WHERE id IN (203, 213, 223)") == 1
    twins.assert_equal_everywhere()


def test_transition_tables_are_refused_as_core_does(twins: Twins) -> None:
    with pytest.raises(psycopg.errors.WrongObjectType):
        twins.db.sql("CREATE TRIGGER x AFTER UPDATE ON t_lake REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION see()")
