"""UPDATE and DELETE, in every form that PostgreSQL's executor knows, do to a lake table what they do to a heap table."""

from __future__ import annotations

import psycopg
import pytest

from harness.database import Database
from harness.twins import Twins
from test_types import ARRAYS, TYPES

COLUMNS = "id int, n int, name text, amt numeric(10,2), f float8, ok boolean, day date, at timestamptz, tags text[]"

ROWS = """
    INSERT INTO {{t}}
    SELECT i, i % 10, CASE WHEN i % 7 <> 0 THEN 'name ' || i % 20 END, (i * 37 % 1000) / 10.0,
           CASE i % 6 WHEN 0 THEN 'NaN' WHEN 1 THEN '-0' WHEN 2 THEN 'Infinity' ELSE i / 3.0::float8 END,
           CASE WHEN i % 3 <> 0 THEN i % 2 = 0 END, date '2020-01-01' + i, timestamptz '2020-01-01 00:00Z' + i * interval '7 h',
           CASE WHEN i % 4 <> 0 THEN ARRAY['a' || i % 5, NULL, ''] END
    FROM generate_series({first}, {last}) i"""

STATEMENTS: dict[str, list[str]] = {
    "by simple conditions": [
        "UPDATE {t} SET n = -1 WHERE id = 17",
        "UPDATE {t} SET n = n + 1, name = NULL WHERE id BETWEEN 90 AND 110",
        "UPDATE {t} SET amt = 0.01 WHERE name IS NULL AND id < 60",
        "UPDATE {t} SET ok = NOT ok WHERE ok IS NOT NULL AND n IN (1, 3)",
        "UPDATE {t} SET name = 'it''s \"x\" \\ ' || chr(10) WHERE name = 'name 3'",
        "UPDATE {t} SET id = id WHERE id = 200",
        "UPDATE {t} SET n = 5 WHERE false",
        "UPDATE {t} SET n = 5 WHERE id = 100000",
        "DELETE FROM {t} WHERE id = 18",
        "DELETE FROM {t} WHERE id > 270",
        "DELETE FROM {t} WHERE name IS NULL AND day < '2020-02-01'",
        "DELETE FROM {t} WHERE amt = 12.5 OR amt > 95",
        "DELETE FROM {t} WHERE f = 'NaN' AND id < 40",
        "DELETE FROM {t} WHERE at >= '2020-02-20 00:00Z' AND at < '2020-02-25 00:00Z'",
        "DELETE FROM {t} WHERE id = 18",
    ],
    "by conditions that only PostgreSQL evaluates": [
        "UPDATE {t} SET n = 100 WHERE name LIKE '%1' AND length(name) = 6",
        "UPDATE {t} SET n = n * 2 WHERE md5(id::text) < '4'",
        "UPDATE {t} SET tags = tags || 'x'::text WHERE 'a1' = ANY (tags)",
        "UPDATE {t} SET day = day - 800000 WHERE extract(dow FROM day) = 3 AND id % 9 = 0",
        "DELETE FROM {t} WHERE id % 11 = 0",
        "DELETE FROM {t} WHERE upper(name) ~ '^NAME 1[0-3]$'",
        "DELETE FROM {t} WHERE tags = ARRAY['a3', NULL, '']",
        "DELETE FROM {t} WHERE name < 'name 12' AND amt::text LIKE '%.5_'",
        "DELETE FROM {t} WHERE (id, n) > (250, 3)",
    ],
    "of all rows": [
        "UPDATE {t} SET n = n + 1",
        "UPDATE {t} SET id = -id, name = coalesce(name, '') || id",
        "DELETE FROM {t}",
        "DELETE FROM {t}",
        "UPDATE {t} SET n = 0",
        ROWS.format(first=1, last=5).replace("{{t}}", "{t}"),
        "UPDATE {t} SET n = 0",
    ],
    "by joins": [
        "UPDATE {t} t SET n = h.v FROM h WHERE h.id = t.id",
        "UPDATE {t} t SET n = l.v, name = l.note FROM l WHERE l.id = t.id AND l.v < 40",
        "UPDATE {t} t SET amt = t.amt + s.amt FROM {t} s WHERE s.id = t.id + 1 AND t.id < 50",
        "UPDATE {t} t SET n = x.c FROM (SELECT n, count(*) AS c FROM {t} GROUP BY n) x WHERE x.n = t.n AND t.id > 250",
        "UPDATE {t} t SET name = h.note FROM h LEFT JOIN l USING (id) WHERE h.id = t.id AND l.id IS NULL",
        "UPDATE {t} t SET n = y.v FROM h, LATERAL (SELECT v FROM l WHERE l.id = h.id LIMIT 1) y WHERE h.id = t.id",
        "DELETE FROM {t} t USING h WHERE h.id = t.id AND h.v > 90",
        "DELETE FROM {t} t USING l WHERE l.id = t.id AND l.note = 'lake 9'",
        "DELETE FROM {t} t USING {t} s WHERE t.id = s.id + 7 AND s.n = 2",
        "DELETE FROM {t} t USING h JOIN l USING (id) WHERE h.id = t.id AND h.v + l.v = 60",
    ],
    "by sub-selects": [
        "UPDATE {t} SET n = (SELECT max(v) FROM h) WHERE id < 10",
        "UPDATE {t} t SET n = (SELECT v FROM l WHERE l.id = t.id)",
        "UPDATE {t} t SET (n, name) = (SELECT v, note FROM h WHERE h.id = t.id) WHERE id % 2 = 0",
        "UPDATE {t} SET amt = 1 WHERE id IN (SELECT id FROM h WHERE v > 50)",
        "UPDATE {t} SET amt = 2 WHERE amt = (SELECT max(amt) FROM {t})",
        "UPDATE {t} t SET amt = 3 WHERE EXISTS (SELECT FROM l WHERE l.id = t.id AND l.v > t.id)",
        "DELETE FROM {t} WHERE id NOT IN (SELECT id FROM h) AND id < 20",
        "DELETE FROM {t} WHERE id IN (SELECT id + 1 FROM {t} WHERE n = 30)",
        "DELETE FROM {t} t WHERE NOT EXISTS (SELECT FROM l WHERE l.id = t.id) AND id > 240",
        "DELETE FROM {t} WHERE amt < (SELECT avg(amt) FROM {t}) AND id > 200",
        "DELETE FROM {t} t WHERE id = (SELECT min(id) FROM {t} s WHERE s.n = t.n)",
    ],
    "that return rows": [
        "UPDATE {t} SET n = n + 1 WHERE id < 10 RETURNING *",
        "UPDATE {t} SET name = upper(name), n = 1 WHERE id BETWEEN 95 AND 105 RETURNING id, name AS new_name, n * 2, tags[1]",
        "UPDATE {t} AS x SET amt = amt * 2 WHERE id = 3 RETURNING x",
        "UPDATE {t} t SET n = h.v FROM h WHERE h.id = t.id AND t.id < 30 RETURNING t.id, t.n, h.note, (SELECT count(*) FROM l)",
        "UPDATE {t} t SET n = 0 FROM {t} old WHERE old.id = t.id AND t.id < 8 RETURNING old.n AS before, t.n AS after",
        "DELETE FROM {t} WHERE id IN (4, 5, 150) RETURNING *",
        "DELETE FROM {t} WHERE name = 'name 8' RETURNING id, amt + 1, name IS NULL",
        "DELETE FROM {t} t USING l WHERE l.id = t.id AND l.v = 33 RETURNING t.*, l.note",
        "DELETE FROM {t} WHERE id % 50 = 0 RETURNING 'constant'",
        "DELETE FROM {t} WHERE id < 0 RETURNING id",
        "DELETE FROM {t} RETURNING id",
    ],
    "in WITH": [
        "WITH gone AS (DELETE FROM {t} WHERE id < 20 RETURNING *) INSERT INTO {t}_log SELECT id, 'deleted' FROM gone",
        "WITH new AS (UPDATE {t} SET n = 77 WHERE id BETWEEN 30 AND 40 RETURNING id, n) INSERT INTO {t}_log SELECT id, 'n ' || n FROM new",
        "WITH new AS (UPDATE {t} SET n = n + 1 WHERE id % 30 = 0 RETURNING id, n) SELECT count(*), sum(n) FROM new",
        "WITH gone AS (DELETE FROM {t} WHERE id > 290 RETURNING id) SELECT gone.id, t.n FROM gone JOIN {t} t USING (id)",
        "WITH ids AS MATERIALIZED (SELECT id FROM {t} WHERE n = 4 ORDER BY id LIMIT 5) DELETE FROM {t} USING ids WHERE {t}.id = ids.id",
        "WITH RECURSIVE r (i) AS (SELECT 100 UNION ALL SELECT i + 10 FROM r WHERE i < 200) UPDATE {t} SET name = 'r' FROM r WHERE id = i",
        "WITH moved AS (DELETE FROM {t} WHERE id BETWEEN 60 AND 65 RETURNING *) INSERT INTO {t} SELECT id + 1000, n, name FROM moved RETURNING id",
        "WITH logged AS (DELETE FROM {t}_log WHERE what = 'deleted' RETURNING id) INSERT INTO {t} (id) SELECT id FROM logged",
        "WITH a AS (UPDATE {t} SET n = 1 WHERE id = 100 RETURNING id), b AS (DELETE FROM {t} WHERE id = 101 RETURNING id) SELECT * FROM a, b",
    ],
    "whose join finds a row more than once": [
        "UPDATE {t} SET n = n + 1 FROM (VALUES (1), (1), (1), (2), (150)) v (i) WHERE id = i",
        "UPDATE {t} t SET amt = t.amt + 1 FROM {t} s WHERE s.n = t.n AND t.id < 20",
        "UPDATE {t} t SET n = n + 1 FROM h CROSS JOIN l WHERE h.id = t.id AND h.id < 5",
        "DELETE FROM {t} USING (VALUES (7), (7), (8), (8), (299)) v (i) WHERE id = i",
        "DELETE FROM {t} t USING {t} s WHERE s.n = t.n AND t.id BETWEEN 50 AND 60",
    ],
}  # fmt: skip


@pytest.fixture
def twins(any_db: Database) -> Twins:
    """A pair of tables with three files' worth of rows, and what statements join with: a heap table `h` and a lake table `l`."""
    twins = Twins(any_db, "t", COLUMNS)
    twins.run(*(ROWS.format(first=first, last=first + 99) for first in (1, 101, 201)))
    any_db.sql(
        "CREATE TABLE h (id int, v int, note text)",
        "CREATE TABLE l (id int, v int, note text) USING iceberg",
        "INSERT INTO h SELECT i * 3, i, 'heap ' || i FROM generate_series(1, 100) i",
        "INSERT INTO l SELECT i * 5, i, 'lake ' || i % 10 FROM generate_series(1, 60) i",
        "CREATE TABLE t_heap_log (id int, what text)",
        "CREATE TABLE t_lake_log (id int, what text)",
    )
    return twins


@pytest.mark.parametrize("form", STATEMENTS)
def test_statements(twins: Twins, form: str) -> None:
    for statement in STATEMENTS[form]:
        twins.run(statement)
        twins.assert_equal()
    twins.assert_equal_everywhere()
    assert twins.db.rows("TABLE t_heap_log ORDER BY 1, 2") == twins.db.rows("TABLE t_lake_log ORDER BY 1, 2")


def test_of_several_new_values_a_row_gets_one(twins: Twins) -> None:
    session = twins.db.main
    cursor = session.execute("UPDATE t_lake SET n = v FROM (VALUES (1, 111), (1, 222), (2, 333)) x (i, v) WHERE id = i RETURNING id, n")
    returned = sorted(cursor.fetchall())
    assert returned in ([(1, 111), (2, 333)], [(1, 222), (2, 333)])
    assert sorted(twins.db.rows("SELECT id, n FROM t_lake WHERE id < 3")) == returned


def test_two_changes_of_a_row_in_one_command_are_one(twins: Twins) -> None:
    # PostgreSQL leaves open which of the two is carried out (docs: "Data-Modifying Statements in WITH"); it is only ever one.
    twins.db.sql("WITH a AS (UPDATE t_lake SET n = -1 WHERE id = 5), b AS (DELETE FROM t_lake WHERE id = 5) SELECT 1")
    assert twins.db.rows("SELECT n FROM t_lake WHERE id = 5") in ([], [(-1,)])
    assert twins.db.value("SELECT count(*) FROM t_lake WHERE id <> 5") == 299


def test_prepared_statements_and_generic_plans(twins: Twins) -> None:
    twins.db.sql(
        "PREPARE u_heap (int, int, text) AS UPDATE t_heap SET n = $2, name = $3 WHERE id = $1",
        "PREPARE u_lake (int, int, text) AS UPDATE t_lake SET n = $2, name = $3 WHERE id = $1",
        "PREPARE d_heap (int, int) AS DELETE FROM t_heap WHERE id BETWEEN $1 AND $2 AND id % 3 = 0 RETURNING id, n",
        "PREPARE d_lake (int, int) AS DELETE FROM t_lake WHERE id BETWEEN $1 AND $2 AND id % 3 = 0 RETURNING id, n",
    )
    for mode in ("auto", "force_generic_plan", "force_custom_plan"):
        twins.db.sql(f"SET plan_cache_mode = {mode}")
        for number in range(7):
            for suffix in ("heap", "lake"):
                twins.db.sql(f"EXECUTE u_{suffix} ({number * 31}, {number}, '{mode} ''{number}')")
            found = [sorted(twins.db.rows(f"EXECUTE d_{suffix} ({number * 40}, {number * 40 + 9})")) for suffix in ("heap", "lake")]
            assert found[0] == found[1]
            twins.assert_equal()
        twins.db.sql("UPDATE t_heap SET n = n + 1 WHERE id > 280", "UPDATE t_lake SET n = n + 1 WHERE id > 280")
    for number in range(7):
        for table in (twins.heap, twins.lake):
            twins.db.main.execute(f"UPDATE {table} SET amt = %s, day = %s WHERE id = %s", (number / 4, "2001-02-03", 100 + number), prepare=True)
    twins.assert_equal_everywhere()


def test_plpgsql(twins: Twins) -> None:
    twins.db.sql(
        """CREATE FUNCTION work(t regclass) RETURNS text LANGUAGE plpgsql AS $$
           DECLARE r record; changed int; deleted int := 0; seen int := 0;
           BEGIN
             FOR r IN EXECUTE format('SELECT id, n FROM %s WHERE id <= 30 ORDER BY id', t) LOOP
               EXECUTE format('UPDATE %s SET n = n + $2 WHERE id = $1', t) USING r.id, r.id * 2;
               GET DIAGNOSTICS changed = ROW_COUNT;
               ASSERT changed = 1;
               IF r.id % 3 = 0 THEN
                 EXECUTE format('DELETE FROM %s WHERE id IN ($1, $1 + 1)', t) USING r.id + 100;
                 GET DIAGNOSTICS changed = ROW_COUNT;
                 deleted := deleted + changed;
               END IF;
               EXECUTE format('SELECT count(*) FROM %s', t) INTO seen;
             END LOOP;
             RETURN deleted || ' deleted, ' || seen || ' seen';
           END $$""",
        """CREATE FUNCTION one_lake(i int) RETURNS boolean LANGUAGE plpgsql AS $$
           BEGIN UPDATE t_lake SET name = 'found' WHERE id = i; RETURN FOUND; END $$""",
        "CREATE FUNCTION del_lake(i int) RETURNS TABLE (a int, b text) LANGUAGE sql AS 'DELETE FROM t_lake WHERE id = i RETURNING id, name'",
    )
    assert twins.db.value("SELECT work('t_lake')") == twins.db.value("SELECT work('t_heap')")
    twins.assert_equal_everywhere()
    assert [twins.db.value("SELECT one_lake(%s)", i) for i in range(196, 204)] == [True] * 8
    assert twins.db.value("SELECT one_lake(-1)") is False
    assert twins.db.rows("SELECT * FROM generate_series(200, 201) i, del_lake(i)") == [(200, 200, "found"), (201, 201, "found")]


def test_volatile_functions_run_once_for_each_row(twins: Twins) -> None:
    db = twins.db
    db.sql("CREATE SEQUENCE s", "UPDATE t_lake SET f = random()")
    assert db.rows("SELECT count(*), count(DISTINCT f) > 290, bool_and(f >= 0 AND f < 1) FROM t_lake") == [(300, True, True)]
    returned = dict(db.rows("UPDATE t_lake SET n = nextval('s') WHERE id <= 100 RETURNING id, n"))
    assert sorted(returned.values()) == list(range(1, 101)) and db.value("SELECT last_value FROM s") == 100
    assert dict(db.rows("SELECT id, n FROM t_lake WHERE id <= 100")) == returned

    gone = {id for (id,) in db.rows("DELETE FROM t_lake WHERE random() < 0.5 RETURNING id")}
    left = {id for (id,) in db.rows("SELECT id FROM t_lake")}
    assert gone and left and not gone & left and len(gone | left) == 300
    db.sql("UPDATE t_lake SET at = clock_timestamp(), day = current_date WHERE id > 200")
    assert db.value("SELECT bool_and(day > '2020-12-31') FROM t_lake WHERE id > 200")


def test_constraints(any_db: Database) -> None:
    twins = Twins(
        any_db,
        "c",
        "id int NOT NULL, n int CONSTRAINT n_is_small CHECK (n < 1000), twice bigint GENERATED ALWAYS AS (n * 2) STORED,"
        " v varchar(5), amt numeric(4,2), CONSTRAINT ordered CHECK (id <= n OR n IS NULL)",
    )
    twins.run("INSERT INTO {t} (id, n, v, amt) SELECT i, i + 1, 'v' || i, 1 FROM generate_series(1, 500) i")
    metadata = any_db.metadata_location("c_lake")
    assert twins.fails("UPDATE {t} SET n = 1000 WHERE id = 3", "23514").constraint_name == "n_is_small"
    assert twins.fails("UPDATE {t} SET n = n + 500", "23514").constraint_name == "n_is_small"
    assert twins.fails("UPDATE {t} SET id = id + 2 WHERE id % 2 = 0", "23514").constraint_name == "ordered"
    assert twins.fails("UPDATE {t} SET id = NULL WHERE id = 400", "23502").column_name == "id"
    assert twins.fails("UPDATE {t} SET id = nullif(id, 499)", "23502").column_name == "id"
    twins.fails("UPDATE {t} SET v = v || 'long'", "22001")
    twins.fails("UPDATE {t} SET amt = amt * 100 WHERE id = 7", "22003")
    twins.fails("UPDATE {t} SET amt = amt / (id - 250)", "22012")
    twins.fails("DELETE FROM {t} WHERE 1 / (id - 250) = 0", "22012")
    twins.fails("UPDATE {t} SET twice = 1", "428C9")
    assert any_db.metadata_location("c_lake") == metadata

    twins.run("UPDATE {t} SET n = n + 1, twice = DEFAULT WHERE id < 100", "UPDATE {t} SET n = NULL WHERE id = 5 RETURNING twice")
    twins.run("DELETE FROM {t} WHERE twice > 600 RETURNING id, twice", "UPDATE {t} SET v = DEFAULT WHERE id = 9")
    twins.assert_equal_everywhere()


def test_every_column_gets_new_values_of_every_type(any_db: Database) -> None:
    types = {f"c{number}": (sql_type, values) for number, (sql_type, (_, values)) in enumerate(TYPES.items())}
    types |= {f"a{number}": (f"{element}[]", values) for number, (element, values) in enumerate(ARRAYS.items())}
    twins = Twins(any_db, "v", "id int, " + ", ".join(f"{name} {sql_type}" for name, (sql_type, _) in types.items()))
    count = max(len(values) for _, values in types.values())
    cells = ", ".join(f"CAST({values[0]} AS {sql_type})" for sql_type, values in types.values())
    twins.run(f"INSERT INTO {{t}} SELECT i, {cells} FROM generate_series(0, {count}) i")

    for row in range(count):
        new = [f"{name} = CAST({[*values, 'NULL'][(row + 1) % (len(values) + 1)]} AS {sql_type})" for name, (sql_type, values) in types.items()]
        condition = f"id = {row}" if row % 2 else f"id = {row} AND md5('x') <> ''"
        twins.run(f"UPDATE {{t}} SET {', '.join(new)} WHERE {condition}")
    twins.assert_equal()
    columns = ", ".join(types)
    twins.run(f"UPDATE {{t}} t SET ({columns}) = (SELECT {columns} FROM {{t}} s WHERE s.id = t.id + 1) WHERE id < 10")
    twins.run("DELETE FROM {t} WHERE c0 IS NULL", "UPDATE {t} SET id = -id")
    twins.assert_equal_everywhere()


def test_through_views_parents_and_partitions(any_db: Database) -> None:
    twins = Twins(any_db, "p", "id int, k int, x text")
    for table in (twins.heap, twins.lake):
        using = " USING iceberg" if table == twins.lake else ""
        any_db.sql(
            f"CREATE VIEW {table}_view AS SELECT id, x FROM {table} WHERE id < 50 WITH CHECK OPTION",
            f"CREATE TABLE {table}_parent (id int, k int, x text) PARTITION BY LIST (k)",
            f"CREATE TABLE {table}_part1 PARTITION OF {table}_parent FOR VALUES IN (1)",
            f"CREATE TABLE {table}_part2 PARTITION OF {table}_parent FOR VALUES IN (2){using}",
            f"CREATE TABLE {table}_part3 PARTITION OF {table}_parent FOR VALUES IN (3){using}",
        )
    twins.run("INSERT INTO {t} SELECT i, 1 + i % 3, 'x' || i FROM generate_series(1, 90) i", "INSERT INTO {t}_parent SELECT * FROM {t}")
    twins.run("UPDATE {t}_view SET x = 'by view' WHERE id % 2 = 0", "DELETE FROM {t}_view WHERE x = 'x7' OR id > 45")
    twins.fails("UPDATE {t}_view SET id = 60 WHERE id = 3", "44000")
    twins.run(
        "UPDATE {t}_parent SET x = upper(x) WHERE id % 4 = 0 RETURNING *",
        "UPDATE {t}_parent p SET x = t.x FROM {t} t WHERE t.id = p.id AND p.id < 20",
        "DELETE FROM {t}_parent WHERE id > 60 AND k <> 2 RETURNING id",
        "DELETE FROM {t}_parent WHERE x IS NULL OR k = 2 AND id < 30",
        "SELECT * FROM {t}_parent",
        "SELECT * FROM {t}_part2",
    )
    twins.assert_equal_everywhere()


def test_what_is_refused(any_db: Database) -> None:
    any_db.sql("CREATE TABLE t (id int) USING iceberg", "INSERT INTO t VALUES (1)")
    for statement in ("DELETE FROM t WHERE ctid = '(0,1)'", "UPDATE t SET id = 2 RETURNING ctid", "DELETE FROM t RETURNING xmin", "UPDATE t SET id = cmin::text::int"):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match='System column "(ctid|xmin|cmin)" is not supported for pg_lake table "t"'):
            any_db.sql(statement)
    with any_db.session(autocommit=False) as session:
        session.execute("DECLARE c CURSOR FOR SELECT * FROM t")
        session.execute("FETCH c")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            session.execute("UPDATE t SET id = 2 WHERE CURRENT OF c")
    assert any_db.rows("UPDATE t SET id = 2 RETURNING tableoid::regclass::text, id") == [("t", 2)]
    role = f"{any_db.name}_reader"
    any_db.sql(f"CREATE ROLE {role}", f"GRANT SELECT ON t TO {role}", f"SET ROLE {role}")
    for statement in ("UPDATE t SET id = 3", "DELETE FROM t", "TRUNCATE t"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            any_db.sql(statement)
    any_db.sql("RESET ROLE", f"REVOKE ALL ON t FROM {role}", f"DROP ROLE {role}")
    assert any_db.rows("TABLE t") == [(2,)]
