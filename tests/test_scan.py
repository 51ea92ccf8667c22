"""Scans: which conditions and columns go to the server, that they mean there what they mean here, and how scans end."""

from __future__ import annotations

import json
import time

import psycopg
import pytest

from harness.database import Database
from harness.twins import Twins

COLUMNS = """
    id int, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(12,2), w numeric(38,0), t text, v varchar(20),
    tc text COLLATE "C", c char(5), d date, ti time, ts timestamp, tz timestamptz, u uuid, y bytea, j jsonb, a int[], va varchar[]
"""

# One value a column and row; every row is repeated with NULLs in other places.
VALUES = """
    SELECT g,
        (ARRAY[true, false, NULL])[1 + g % 3],
        (ARRAY[-32768, -1, 0, 1, 32767, NULL])[1 + g % 6]::int2,
        (ARRAY[-2147483648, -1, 0, 1, 5, 2147483647, NULL])[1 + g % 7],
        (ARRAY[-9223372036854775808, -1, 0, 1, 5000000000, 9223372036854775807, NULL])[1 + g % 7],
        (ARRAY['-Infinity', -1.5, '-0', 0, 0.1, 3.4e38, 'Infinity', 'NaN', NULL])[1 + g % 9]::float4,
        (ARRAY['-Infinity', -1.5, '-0', 0, 0.1, 1e300, 'Infinity', 'NaN', NULL]::float8[])[1 + g % 9],
        (ARRAY[-9999999999.99, -0.01, 0, 0.10, 1.5, 9999999999.99, NULL])[1 + g % 7],
        (ARRAY[-99999999999999999999999999999999999999, 0, 1, 99999999999999999999999999999999999999, NULL])[1 + g % 5],
        (ARRAY['', ' ', 'a', 'A', 'b', 'ä', 'Z', 'z', '''', 'a b', E'x\\ny', '日本語', '😀', NULL])[1 + g % 14],
        (ARRAY['', ' ', 'a', 'A', 'a ', 'ä', NULL])[1 + g % 7],
        (ARRAY['', 'a', 'A', 'B', 'b', 'ä', '日', '😀', NULL])[1 + g % 9],
        (ARRAY['', 'a', 'a  ', 'A', NULL])[1 + g % 5]::char(5),
        (ARRAY['0001-01-01', '1969-12-31', '1970-01-01', '2000-01-01', '2024-02-29', '9999-12-31', NULL])[1 + g % 7]::date,
        (ARRAY['00:00', '12:34:56.789', '23:59:59.999999', NULL])[1 + g % 4]::time,
        (ARRAY['0001-01-01 00:00', '1969-12-31 23:59:59.999999', '2000-01-01', '2024-02-29 12:00:00.5',
               '9999-12-31 23:59:59.999999', NULL])[1 + g % 6]::timestamp,
        (ARRAY['0001-01-01 00:00Z', '1969-12-31 23:59:59.999999Z', '2000-01-01 00:00Z', '2024-02-29 12:00:00.5Z',
               '9999-12-31 23:59:59.999999Z', NULL])[1 + g % 6]::timestamptz,
        (ARRAY['00000000-0000-0000-0000-000000000000', '7fffffff-ffff-ffff-ffff-ffffffffffff',
               '80000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', NULL])[1 + g % 5]::uuid,
        (ARRAY['', 'a', NULL])[1 + g % 3]::bytea,
        (ARRAY['{"a": 1}', '[]', NULL])[1 + g % 3]::jsonb,
        CASE g % 4 WHEN 0 THEN '{}' WHEN 1 THEN '{1,NULL,3}' WHEN 2 THEN '{7}' END::int[],
        CASE g % 4 WHEN 0 THEN '{}' WHEN 1 THEN '{a,NULL,""}' WHEN 2 THEN '{x}' END::varchar[]
    FROM generate_series(1, 700) g
"""

OPERATORS = ("=", "<>", "<", "<=", ">", ">=")

# Conditions that go to the server: column → constants.
COMPARED = {
    "i2": ["0", "32767", "(-32768)::int2", "5000000000"],
    "i4": ["0", "-2147483648", "-9223372036854775808"],
    "i8": ["0", "5000000000", "-9223372036854775808", "9223372036854775807", "1::int2"],
    "f4": ["'NaN'::float4", "'NaN'::float8", "0::float8", "'-0'::float4", "0.1::float8", "0.1::float4", "'Infinity'::float8"],
    "f8": ["'NaN'", "0::float8", "0.1::float4", "0.1::float8", "'-Infinity'", "1e300"],
    "n": ["0", "0.1", "1.500", "-0.010", "0.005", "12345678901234567890"],
    "w": ["0", "1", "99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"],
    "tc": ["''", "'a'", "'ä'", "'日'", "'B'"],
    "d": [f"'{v}'" for v in ("1970-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "0044-03-15 BC", "infinity", "-infinity")]
    + ["'2000-01-01'::timestamp"],
    "ti": ["'00:00'", "'12:34:56.789'", "'24:00'"],
    "ts": [f"'{v}'" for v in ("2000-01-01", "0001-01-01", "294276-12-31 23:59", "0044-03-15 12:00 BC", "infinity", "-infinity",
                              "1969-12-31 23:59:59.999999")] + ["'2000-01-01'::date"],
    "tz": [f"'{v}'" for v in ("2000-01-01 00:00Z", "2024-02-29 13:00:00.5+01", "294276-12-31 23:59Z", "0044-03-15 12:00Z BC",
                              "infinity", "-infinity")],
    "u": ["'80000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000000'"],
}  # fmt: skip

SHIPPED = [
    "b", "NOT b", "b IS TRUE", "b IS NOT TRUE", "b IS FALSE", "b IS NOT FALSE", "b IS UNKNOWN", "b IS NOT UNKNOWN",
    "t = 'a'", "t <> 'a'", "t = ''", "t = 'ä'", "t = ''''", r"t = E'x\ny'", "v = 'a'", "v = 'a '", "t = v", "v <> tc COLLATE \"C\"",
    "t < 'b' COLLATE \"C\"", "i2 = i4", "i4 < i8", "f4 < f8", "n = n", "d < ts", "f8 = f8",
    "t IS NULL", "c IS NULL", "y IS NOT NULL", "j IS NULL", "a IS NOT NULL", "(i4 > 0) IS NULL",
    "i4 IN (0, 1, 5)", "i4 IN (0, NULL)", "i4 NOT IN (0, 1)", "i4 NOT IN (0, NULL)", "i4 = ANY ('{}')", "i4 <> ALL ('{}')",
    "i4 = ANY (NULL::int[])", "i2 IN (0, 5000000000)", "t IN ('a', 'ä', NULL)", "v IN ('a', 'b')", "f8 IN ('NaN', 0.1)", "n IN (0, 1.50)",
    "f4 IN ('0')", "f8 = 0", "u IN ('00000000-0000-0000-0000-000000000000')", "d IN ('2000-01-01', '1970-01-01')", "d = ANY ('{2000-01-01,infinity}'::date[])",
    "tz IN ('2000-01-01 00:00Z')", "i4 = ANY ('{{0,1},{5,NULL}}'::int[])",
    "i4 > 0 OR t = 'a'", "NOT (i4 > 0 AND t = 'a')", "i4 IS DISTINCT FROM 0", "NOT (t IS DISTINCT FROM 'a')", "i4 IS DISTINCT FROM NULL::int",
    "NOT (i4 IN (0, NULL) OR b)", "tz < now()",
    "d <= current_date - 3", "t = current_user::text", "ts = date_trunc('day', '2024-02-29 12:00:00.5'::timestamp) + interval '12:00:00.5'",
    "i4 = (SELECT 1)", "i4 = (SELECT max(x) FROM (VALUES (0), (5)) l (x))", "tz = '2024-02-29 12:00:00.5Z'::timestamptz",
]  # fmt: skip

LOCAL = [
    "t < 'b'", "t LIKE 'a%'", "c = 'a'", "c < 'b'", "y = 'a'", "j = '[]'", "a = '{7}'", "a IS DISTINCT FROM '{7}'", "i4 & 7 = 1",
    "i4 = 0.5", "w > 0.5", "w > 99999999999999999999999999999999999998.5", "n > 'NaN'", "n < 'Infinity'", "n > w",
    "i4 = 1.0::float8", "tz::date = '2000-01-01'", "tz > '2000-01-01'::timestamp", "random() >= 0", "v::char(5) = 'a'", "length(t) = 1",
    "t = 'a' COLLATE case_insensitive", "i4 < ANY ('{1,5}')", "n = (SELECT 1.5)", "va = '{x}'", "d > '10000-01-01'::date - i4 % 2",
    "i4::int8::text = '5'", "CASE WHEN b THEN i4 > 0 ELSE t = 'a' END", "(i4, i8) > (0, 0)", "w IN (1, 0.5)",
    "f8 IN ('-0', 0.1)", "NOT (f8 IS DISTINCT FROM 0)", "ts < '10000-01-01'::date", "coalesce(b, true)", "tableoid IS NOT NULL",
]  # fmt: skip


@pytest.fixture
def twins(db: Database) -> Twins:
    """The table of all types, in several files."""
    db.sql("CREATE COLLATION case_insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    twins = Twins(db, "s", COLUMNS)
    db.sql(f"INSERT INTO s_heap {VALUES}", "INSERT INTO s_lake SELECT * FROM s_heap WHERE id % 2 = 0",
           "INSERT INTO s_lake SELECT * FROM s_heap WHERE id % 2 = 1")  # fmt: skip
    return twins


def plan(db: Database, query: str, options: str = "VERBOSE, COSTS OFF") -> str:
    """The plan of a query, as text."""
    return "\n".join(line for (line,) in db.rows(f"EXPLAIN ({options}) {query}"))


def check(db: Database, condition: str, shipped: bool) -> None:
    """A condition finds the same rows in both tables, and is evaluated where it should be."""
    lake = f"SELECT id FROM s_lake WHERE {condition}"
    heap = f"SELECT id FROM s_heap WHERE {condition}"
    assert sorted(db.rows(lake)) == sorted(db.rows(heap)), f"{condition}\n{plan(db, lake)}"
    text = plan(db, lake)
    assert ("Filter:" not in text) == shipped, f"{condition}\n{text}"


def test_shipped_conditions_mean_the_same(db: Database, twins: Twins) -> None:
    for condition in SHIPPED:
        check(db, condition, shipped=True)


def test_shipped_comparisons_mean_the_same(db: Database, twins: Twins) -> None:
    for column, constants in COMPARED.items():
        for constant in constants:
            for operator in OPERATORS:
                check(db, f"{column} {operator} {constant}", shipped=True)


def test_other_conditions_stay_local(db: Database, twins: Twins) -> None:
    for condition in LOCAL:
        check(db, condition, shipped=False)


def test_only_needed_columns_are_fetched(db: Database, twins: Twins) -> None:
    def sql(query: str) -> str:
        (line,) = [line for line in plan(db, query).splitlines() if "Vectorized SQL" in line]
        return line.split("SQL: ")[1].split(" FROM ")[0]

    assert sql("SELECT i4 FROM s_lake") == 'SELECT "i4"'
    assert sql("SELECT i4 + 1 FROM s_lake WHERE t LIKE 'a%' ORDER BY d") == 'SELECT "i4", "t", "d"'
    assert sql("SELECT i4 FROM s_lake WHERE i8 = 1") == 'SELECT "i4"'
    assert sql("SELECT count(*) FROM s_lake WHERE i8 = 1") == "SELECT count(*)"
    assert sql("SELECT s_lake FROM s_lake").count(",") == 21


def test_rows_without_columns(db: Database, twins: Twins) -> None:
    assert db.value("SELECT count(*) FROM s_lake") == 700
    assert db.value("SELECT count(*) FROM s_lake WHERE i4 = 1") == 100
    assert db.value("SELECT count(*) FROM s_lake WHERE random() >= 0") == 700
    assert db.rows("SELECT 1 FROM s_lake LIMIT 3") == [(1,)] * 3
    assert db.value("SELECT count(*) FROM s_lake l, s_lake m WHERE l.id < 4 AND m.id < 4") == 9


def test_values_of_statement_parameters(db: Database, twins: Twins) -> None:
    conditions = [
        ("int", "i4 = $1", ["1", "NULL", "2147483647"]),
        ("bigint", "i4 < $1 OR i8 = $1", ["5000000000", "-9223372036854775808"]),
        ("text", "t = $1", ["'''; DROP TABLE s_heap; --'", "'ä'", "''", r"'\'", "'$1'", "NULL"]),
        ("text", "v = $1", ["'a '"]),
        ("varchar", "v <> $1", ["'a'"]),
        ("float8", "f8 >= $1", ["'NaN'", "'-0'", "'Infinity'", "0.1"]),
        ("date", "d > $1", ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'12345-01-01'", "'2000-01-01'"]),
        ("timestamp", "ts > $1", ["'infinity'", "'0044-03-15 01:02:03 BC'", "'2000-01-01'"]),
        ("timestamptz", "tz <= $1", ["'2024-02-29 12:00:00.5Z'", "now()", "'-infinity'"]),
        ("time", "ti < $1", ["'24:00'", "'12:34:56.789'"]),
        ("uuid", "u > $1", ["'80000000-0000-0000-0000-000000000000'"]),
        ("bool", "b = $1", ["true", "false", "NULL"]),
        ("bool", "$1 OR i4 = 1", ["true", "false", "NULL"]),
        ("int", "$1 IS NULL OR i4 = $1", ["1", "NULL"]),
        ("int[]", "i4 = ANY ($1)", ["'{}'", "'{1,5,NULL}'", "NULL", "'{{1,5},{7,8}}'"]),
        ("int[]", "i4 <> ALL ($1)", ["'{}'", "'{1,5,NULL}'", "'{1,5}'", "NULL"]),
        ("text[]", "t = ANY ($1)", ["array['a', '''', 'ä', NULL]"]),
        ("text[]", "v = ANY ($1)", ["array['a', 'ä', NULL]"]),
        ("text", "$1 = '' OR i4 = $1::int", ["''", "'5'"]),
        ("numeric", "n = $1", ["1.5", "0.10000", "'NaN'"]),
    ]
    for mode in ("force_generic_plan", "force_custom_plan"):
        db.sql(f"SET plan_cache_mode = {mode}", "SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'Asia/Kathmandu'", "SET extra_float_digits = -3")
        for number, (sql_type, condition, values) in enumerate(conditions):
            db.sql(f"PREPARE lake{number} ({sql_type}) AS SELECT id FROM s_lake WHERE {condition}",
                   f"PREPARE heap{number} ({sql_type}) AS SELECT id FROM s_heap WHERE {condition}")  # fmt: skip
            for value in values:
                found = sorted(db.rows(f"EXECUTE lake{number} ({value})"))
                assert found == sorted(db.rows(f"EXECUTE heap{number} ({value})")), (mode, condition, value)
            if mode == "force_generic_plan" and sql_type != "numeric" and "::" not in condition:
                assert "Filter" not in plan(db, f"EXECUTE lake{number} ({values[0]})"), condition
        db.sql("DEALLOCATE ALL")


def test_plpgsql_variables_and_correlated_subqueries(db: Database, twins: Twins) -> None:
    db.sql("""CREATE FUNCTION lake_count(p int, q text) RETURNS bigint LANGUAGE plpgsql AS $$
              BEGIN RETURN (SELECT count(*) FROM s_lake WHERE i4 = p OR t = q); END $$""")
    for _ in range(7):
        assert db.value("SELECT lake_count(1, 'a')") == db.value("SELECT count(*) FROM s_heap WHERE i4 = 1 OR t = 'a'")
    query = "SELECT x, (SELECT count(*) FROM {t} WHERE i4 = x), (SELECT min(id) FROM {t} WHERE i4 > x OR x IS NULL) FROM (VALUES (0), (1), (5), (NULL)) o (x)"
    assert db.rows(query.replace("{t}", "s_lake")) == db.rows(query.replace("{t}", "s_heap"))
    lateral = "SELECT x, l.* FROM (VALUES (0), (5)) o (x), LATERAL (SELECT id, x + i4 FROM {t} WHERE i4 = x ORDER BY id LIMIT 2) l"
    assert db.rows(lateral.replace("{t}", "s_lake")) == db.rows(lateral.replace("{t}", "s_heap"))


def test_joins_with_heap_tables(db: Database, twins: Twins) -> None:
    db.sql("ANALYZE s_heap")
    for join in ("JOIN", "LEFT JOIN", "FULL JOIN"):
        query = f"SELECT l.id, h.id FROM s_lake l {join} s_heap h ON l.id = h.id + 3 ORDER BY 1, 2"
        assert db.rows(query) == db.rows(query.replace("s_lake", "s_heap")), join
    text = plan(db, "SELECT * FROM s_lake l JOIN s_heap h ON l.id = h.id")
    assert "Hash Join" in text or "Merge Join" in text, text
    db.sql("SET enable_hashjoin = off", "SET enable_mergejoin = off", "SET enable_material = off")
    query = "SELECT count(*), sum(l.id * h.id) FROM s_lake l, s_heap h WHERE l.id = h.id AND h.id < 5 AND l.id < 8"
    assert db.rows(query) == db.rows(query.replace("s_lake", "s_heap"))
    # A heap table may be locked; the lake table's rows are copied for the recheck.
    assert len(db.rows("SELECT * FROM s_heap h JOIN s_lake l USING (id) WHERE id < 4 FOR UPDATE OF h")) == 3


def test_what_a_row_of_a_file_does_not_have_is_refused(db: Database, twins: Twins) -> None:
    for column in ("ctid", "xmin", "cmax"):
        for query in (f"SELECT {column} FROM s_lake", f"SELECT 1 FROM s_lake WHERE {column} IS NULL"):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match=f'System column "{column}" is not supported for pg_lake table "s_lake"'):
                db.rows(query)
    assert db.rows("SELECT DISTINCT tableoid::regclass::text FROM s_lake") == [("s_lake",)]
    for lock in ("FOR UPDATE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR KEY SHARE NOWAIT"):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=r"SELECT .. FOR UPDATE is not yet supported on pg_lake tables"):
            db.rows(f"SELECT * FROM s_lake {lock}")


def test_explain(db: Database, twins: Twins) -> None:
    paths = db.data_files("s_lake")
    text = plan(db, "SELECT t FROM s_lake WHERE i4 = 1 AND length(t) > 0")
    files = ", ".join(f"'{path}'" for path in paths)
    for line in (
        "Foreign Scan on public.s_lake",
        "Filter: (length(s_lake.t) > 0)",
        "Engine: DuckDB",
        f'Vectorized SQL: SELECT "t" FROM read_parquet([{files}], hive_partitioning=false) AS t WHERE ("i4" = 1)',
        "Data Files Scanned: 2",
        "Deletion Files Scanned: 0",
        "Data Files Skipped: 0",
    ):
        assert line in text, text
    assert "Rows Fetched" not in text
    assert "Engine" not in plan(db, "SELECT t FROM s_lake", "COSTS OFF")
    text = plan(db, "SELECT t FROM s_lake WHERE i4 = 1 AND length(t) > 0", "ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF")
    assert "Rows Fetched: 100" in text
    ((document,),) = db.rows("EXPLAIN (VERBOSE, FORMAT JSON) SELECT t FROM s_lake")
    document = document if isinstance(document, list) else json.loads(document)
    assert document[0]["Plan"]["Data Files Scanned"] == 2
    db.sql("CREATE TABLE empty (x int) USING iceberg")
    assert "Data Files Scanned: 0" in plan(db, "SELECT * FROM empty")
    assert db.rows("SELECT * FROM empty") == []
    for number in range(12):
        db.sql(f"INSERT INTO empty VALUES ({number})")
    assert "… 2 more]" in plan(db, "SELECT * FROM empty")
    assert db.value("SELECT sum(x) FROM empty") == 66


def test_a_scan_that_ends_early_frees_its_connection(db: Database) -> None:
    db.sql("CREATE TABLE big (x bigint, t text) USING iceberg",
           "INSERT INTO big SELECT g, repeat('x', 200) FROM generate_series(1, 300000) g")  # fmt: skip
    started = time.monotonic()
    assert len(db.rows("SELECT * FROM big LIMIT 10")) == 10
    assert time.monotonic() - started < 5
    with db.session(autocommit=False) as session:
        session.execute("DECLARE c CURSOR FOR SELECT x FROM big")
        assert session.execute("FETCH 3 FROM c").fetchall() == [(1,), (2,), (3,)]
        assert session.execute("SELECT count(*) FROM big").fetchall() == [(300000,)]
        assert session.execute("FETCH 1 FROM c").fetchall() == [(4,)]
        session.execute("SAVEPOINT s")
        with pytest.raises(psycopg.errors.DivisionByZero):
            session.execute("SELECT 1 / (x - 1000) FROM big")
        session.execute("ROLLBACK TO s")
        assert session.execute("FETCH 1 FROM c").fetchall() == [(5,)]
        session.execute("CLOSE c")
        session.execute("DECLARE c SCROLL CURSOR FOR SELECT x FROM big WHERE x < 5")
        assert session.execute("FETCH ALL FROM c").fetchall() == [(1,), (2,), (3,), (4,)]
        assert session.execute("FETCH BACKWARD 2 FROM c").fetchall() == [(4,), (3,)]
        session.execute("DECLARE h CURSOR WITH HOLD FOR SELECT x FROM big WHERE x < 4")
        session.commit()
        assert session.execute("FETCH ALL FROM h").fetchall() == [(1,), (2,), (3,)]


def test_a_scan_sees_what_its_query_may_see(db: Database) -> None:
    db.sql("CREATE TABLE v (x int) USING iceberg", "INSERT INTO v VALUES (1), (2)")
    with db.session(autocommit=False) as session:
        session.execute("DECLARE c CURSOR FOR SELECT x FROM v")
        session.execute("INSERT INTO v SELECT x + 2 FROM v")
        assert session.execute("FETCH ALL FROM c").fetchall() == [(1,), (2,)]
        assert session.execute("SELECT count(*) FROM v").fetchall() == [(4,)]
        session.execute("SAVEPOINT s")
        session.execute("INSERT INTO v VALUES (9)")
        session.execute("ROLLBACK TO s")
        assert session.execute("WITH n AS (INSERT INTO v VALUES (10) RETURNING x) SELECT count(*), (SELECT count(*) FROM n) FROM v").fetchall() == [(4, 1)]
        assert session.execute("SELECT sum(x) FROM v").fetchall() == [(20,)]
        session.rollback()
    assert db.value("SELECT count(*) FROM v") == 2


def test_quoted_and_reserved_names(db: Database) -> None:
    db.sql('CREATE TABLE q ("a""b" int, "Upper" text, "select" int, filename text, "ä ö" int) USING iceberg',
           "INSERT INTO q VALUES (1, 'x', 2, 'f', 3), (4, NULL, 5, 'g', 6)")  # fmt: skip
    assert db.rows('SELECT * FROM q WHERE "select" > 1 AND "a""b" < 4 AND filename = \'f\'') == [(1, "x", 2, "f", 3)]
    assert db.rows('SELECT "ä ö" FROM q WHERE "Upper" IS NULL') == [(6,)]
    assert db.rows("SELECT q FROM q WHERE \"select\" = 2") == [("(1,x,2,f,3)",)]
