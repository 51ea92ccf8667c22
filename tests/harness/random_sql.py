"""Random statements on a pair of twins: `{t}` stands for the main table, `{k}` for a small second one.

Every statement does the same whatever the order of a table's rows is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# The tables' own columns; those of all types come on top.
MAIN_COLUMNS = "id int NOT NULL, n int CONSTRAINT n_in_range CHECK (n > -1000), note varchar(20)"
SECOND_COLUMNS = "id int, n int, note text"


@dataclass(frozen=True)
class Statement:
    """One statement."""

    sql: str
    changes_rows: bool = False
    """UPDATE or DELETE: of one table only one transaction at a time does that."""
    may_fail: bool = False
    copy_of: str = ""
    """For COPY FROM STDIN: the query on {t} whose result is sent."""


class RandomSql:
    """Makes statements from a seed."""

    def __init__(self, seed: int, columns: dict[str, tuple[str, list[str]]]) -> None:
        """`columns`: name → (type, values as SQL expressions), on top of `MAIN_COLUMNS`."""
        self.random = random.Random(seed)
        # Very long values are for a statement of their own.
        self.columns = {
            name: (sql_type, [value for value in values if "repeat(" not in value and "generate_series" not in value])
            for name, (sql_type, values) in columns.items()
        }
        self.long_values = {
            name: (sql_type, [value for value in values if "repeat(" in value or "generate_series" in value])
            for name, (sql_type, values) in columns.items()
        }
        self.next_id = 1
        self.live: list[int] = []
        """Ids of the committed rows, as far as the caller keeps them up to date: conditions shall find something."""

    def definition(self) -> str:
        """The columns of the main table."""
        return MAIN_COLUMNS + "".join(f", {name} {sql_type}" for name, (sql_type, _) in self.columns.items())

    def insert(self) -> Statement:
        """Adds rows."""
        make = self.random.choice([self._insert_values, self._insert_values, self._insert_select, self._insert_series, self._copy])
        return make()

    def update(self) -> Statement:
        """Changes rows."""
        make = self.random.choice([
            self._update_set, self._update_set, self._update_set, self._update_join, self._update_matched_twice, self._update_subselect,
            self._update_returning, self._update_prepared, self._update_long,
        ])  # fmt: skip
        return make()

    def delete(self) -> Statement:
        """Removes rows."""
        t = self._condition
        return Statement(
            self.random.choice([
                lambda: f"DELETE FROM {{t}} WHERE {self._few()}",
                lambda: f"DELETE FROM {{t}} WHERE {t()} AND {self._some()}",
                lambda: f"DELETE FROM {{t}} WHERE {t()} AND {self._some()} RETURNING id, {self._column()}",
                lambda: f"DELETE FROM {{t}} USING {self._values_with_doubles()} WHERE {{t}}.id = v.i",
                lambda: f"DELETE FROM {{t}} WHERE id IN (SELECT id + 1 FROM {{t}} WHERE {self._few()})",
                lambda: f"DELETE FROM {{k}} WHERE {self._few()} OR n IS NULL",
                lambda: f"WITH d AS (DELETE FROM {{t}} WHERE {self._few()} RETURNING id, n, note) INSERT INTO {{k}} SELECT * FROM d",
                lambda: f"EXECUTE del_{{t}} ({self._id()}, {self.random.randrange(5)})",
            ])(),  # fmt: skip
            changes_rows=True,
        )

    def delete_many(self) -> Statement:
        """Removes about half of the rows, or all of a range."""
        remainder = self.random.randrange(2)
        return Statement(
            self.random.choice([f"DELETE FROM {{t}} WHERE id % 2 = {remainder}", f"DELETE FROM {{t}} WHERE id < {self._id()}", "DELETE FROM {t} WHERE n < 3"]),
            changes_rows=True,
        )

    def failing(self) -> Statement:
        """Fails if it finds a row (and does nothing if not)."""
        sql = self.random.choice([
            f"UPDATE {{t}} SET n = -2000 WHERE {self._some()}",
            f"UPDATE {{t}} SET id = NULL WHERE {self._few()}",
            f"UPDATE {{t}} SET n = 100 / (n - {self.random.randrange(10)})",
            f"UPDATE {{t}} SET note = note || 'much too long a note' WHERE {self._some()}",
            f"DELETE FROM {{t}} WHERE 1 / (n - {self.random.randrange(10)}) = 2",
            f"INSERT INTO {{t}} (id, n) SELECT {self._new_ids()} + row_number() OVER (ORDER BY id), 10 / (n - {self.random.randrange(10)}) FROM {{t}}"
            f" WHERE {self._some()}",
            "INSERT INTO {t} (id, n) VALUES (NULL, 1)",
            "INSERT INTO {t} (id, n) VALUES (1, -5000)",
        ])  # fmt: skip
        return Statement(sql, changes_rows=not sql.startswith("INSERT"), may_fail=True)

    def block(self) -> Statement:
        """A PL/pgSQL block with an inner block that is taken back."""
        plain = [self._update_set, self._update_join, self._insert_values, self._insert_select]
        first, second, third, last = (self.random.choice(plain)().sql for _ in range(4))
        inner = f"BEGIN {second}; {third}; RAISE 'take it back'; EXCEPTION WHEN raise_exception THEN {last}; END"
        return Statement(f"DO $do$ BEGIN {first}; {inner}; DELETE FROM {{t}} WHERE {self._few()}; END $do$", changes_rows=True)

    def query(self) -> str:
        """Reads."""
        return self.random.choice([
            f"SELECT count(*), sum(n), min(id) FROM {{t}} WHERE {self._condition()}",
            f"SELECT id, {self._column()} FROM {{t}} WHERE {self._condition()} AND {self._some()}",
            "SELECT n, count(*) FROM {t} GROUP BY n",
            "SELECT count(*) FROM {t} JOIN {k} USING (id)",
        ])  # fmt: skip

    def _insert_values(self) -> Statement:
        rows = []
        for _ in range(self.random.randint(1, 3)):
            cells = [f"CAST({self._value(name)} AS {sql_type})" for name, (sql_type, _) in self.columns.items()]
            rows.append(f"({self._new_ids(1)}, {self.random.randrange(10)}, {self._note()}, {', '.join(cells)})")
        return Statement(f"INSERT INTO {{t}} VALUES {', '.join(rows)}")

    def _insert_select(self) -> Statement:
        names = ", ".join(self.columns)
        source = f"SELECT {self._new_ids()} + row_number() OVER (ORDER BY id), n + 1, note, {names} FROM {{t}} WHERE {self._some()}"
        return Statement(f"INSERT INTO {{t}} (id, n, note, {names}) {source}")

    def _insert_series(self) -> Statement:
        count = self.random.choice([1, 5, 40])
        first = self._new_ids(count)
        name = self._column()
        return Statement(
            f"INSERT INTO {{t}} (id, n, note, {name}) SELECT i, i % 10, 'series ' || i % 7, CAST({self._value(name)} AS {self.columns[name][0]})"
            f" FROM generate_series({first}, {first + count - 1}) i"
        )

    def _copy(self) -> Statement:
        names = ", ".join(self.columns)
        form = self.random.choice(["", " (FORMAT csv)", " (FORMAT csv, HEADER, NULL 'none')"])
        copied = f"SELECT {self._new_ids()} + row_number() OVER (ORDER BY id) AS id, n, note, {names} FROM {{t}} WHERE {self._some()}"
        return Statement(f"COPY {{t}} (id, n, note, {names}) FROM STDIN{form}", copy_of=f"COPY ({copied}) TO STDOUT{form}")

    def _update_set(self) -> Statement:
        return Statement(f"UPDATE {{t}} SET {self._new_values()} WHERE {self._where()}", changes_rows=True)

    def _update_returning(self) -> Statement:
        column = self._column()
        return Statement(f"UPDATE {{t}} SET {self._new_values()} WHERE {self._where()} RETURNING id, n, {column}", changes_rows=True)

    def _update_join(self) -> Statement:
        column = self._column()
        return Statement(
            self.random.choice([
                f"UPDATE {{t}} SET {column} = s.{column} FROM {{t}} s WHERE s.id = {{t}}.id + 1 AND {{t}}.id % 4 = {self.random.randrange(4)}",
                "UPDATE {t} SET n = {t}.n + 1 FROM {k} WHERE {k}.id = {t}.id AND {t}.n < 100",
                f"UPDATE {{k}} SET note = upper({{t}}.note) FROM {{t}} WHERE {{t}}.id = {{k}}.id AND {{t}}.n > {self.random.randrange(10)}",
            ]),  # fmt: skip
            changes_rows=True,
        )

    def _update_matched_twice(self) -> Statement:
        return Statement(f"UPDATE {{t}} SET n = n + 1 FROM {self._values_with_doubles()} WHERE id = v.i AND n < 100", changes_rows=True)

    def _update_subselect(self) -> Statement:
        column = self._column()
        return Statement(
            self.random.choice([
                f"UPDATE {{t}} SET n = (SELECT count(*) % 10 FROM {{t}} s WHERE s.n = {{t}}.n) WHERE {self._some()}",
                f"UPDATE {{t}} SET {column} = (SELECT {column} FROM {{t}} s WHERE s.id = {{t}}.id - 1) WHERE {self._some()}",
                f"UPDATE {{t}} SET note = 'sub' WHERE id IN (SELECT id FROM {{k}}) OR {self._few()}",
                f"UPDATE {{t}} SET n = 3 WHERE EXISTS (SELECT FROM {{k}} WHERE {{k}}.n = {{t}}.n) AND {self._some()}",
            ]),  # fmt: skip
            changes_rows=True,
        )

    def _update_prepared(self) -> Statement:
        return Statement(f"EXECUTE upd_{{t}} ({self._id()}, {self.random.randrange(10)})", changes_rows=True)

    def _update_long(self) -> Statement:
        name, (sql_type, values) = self.random.choice([item for item in self.long_values.items() if item[1][1]])
        return Statement(f"UPDATE {{t}} SET {name} = CAST({self.random.choice(values)} AS {sql_type}) WHERE id = {self._id()}", changes_rows=True)

    def _new_values(self) -> str:
        new = [f"n = {self.random.choice(['n', 'id % 10', str(self.random.randrange(10)), 'n % 10 + 1'])}"]
        for name in self.random.sample(list(self.columns), self.random.choice([0, 1, 1, 2, 4, len(self.columns)])):
            value = f"CAST({self._value(name)} AS {self.columns[name][0]})"
            new.append(f"{name} = " + self.random.choice([value, value, value, name, f"coalesce({name}, {value})", f"CASE WHEN n > 4 THEN {value} ELSE {name} END"]))
        return ", ".join(new)

    def _where(self) -> str:
        return self.random.choice([self._few(), self._few(), f"{self._condition()} AND {self._some()}", self._condition()])

    def _few(self) -> str:
        """A condition that a few rows meet."""
        i = self._id()
        return self.random.choice([f"id = {i}", f"id = {i}", f"id BETWEEN {i} AND {i + 5}", f"id IN ({i}, {self._id()}, {self._id()})"])

    def _some(self) -> str:
        """A condition that a part of the rows meets."""
        i = self._id()
        return self.random.choice([f"id BETWEEN {i} AND {i + 60}", f"id % 9 = {i % 9}", f"n = {i % 10}", f"md5(id::text) < '{i % 8}'", f"id > {max(self.live[-20:] or [0])}"])

    def _condition(self) -> str:
        """Any condition."""
        if self.random.random() < 0.15:
            return f"({self._condition()} {self.random.choice(['AND', 'OR'])} {self._condition()})"
        if self.random.random() < 0.1:
            return f"NOT ({self._condition()})"
        name = self._column()
        sql_type, values = self.columns[name]
        value = f"CAST({self.random.choice(values)} AS {sql_type})"
        tests = [f"{name} IS NULL", f"{name} IS NOT NULL"]
        if not sql_type.startswith("json") or sql_type == "jsonb":
            tests += [f"{name} {operator} {value}" for operator in ("=", "<>", "<", ">=", "IS DISTINCT FROM")]
        if not sql_type.startswith("json"):
            tests.append(f"{name} IN ({value}, CAST({self.random.choice(values)} AS {sql_type}), NULL)")
        if sql_type.endswith("[]"):
            tests += [f"cardinality({name}) > 1", f"{name}[1] IS NULL"]
        elif sql_type in ("text", "varchar", "varchar(10)"):
            tests += [f"{name} LIKE 'a%'", f"length({name}) = 1", f"upper({name}) = 'A'"]
        elif sql_type in ("date", "timestamp", "timestamptz"):
            tests += [f"{name} > '0044-03-15 BC'", f"{name} < '1970-01-01'", f"extract(year FROM {name}) > 1900", f"{name} <= 'infinity'"]
        elif sql_type in ("real", "double precision"):
            tests += [f"{name} = 'NaN'", f"{name} = 0", f"{name} > -1", f"{name} = '-0'", f"{name}::text = '-0'", f"{name} < 'Infinity'"]
        elif sql_type in ("json", "jsonb"):
            tests += [f"{name}::text LIKE '%a%'", f"{name} ->> 'a' IS NULL"]
        elif sql_type.startswith("numeric"):
            tests += [f"{name} > 0.5", f"{name} < 'NaN'", f"{name} = 1"]
        return self.random.choice(tests)

    def _values_with_doubles(self) -> str:
        ids = [self._id() for _ in range(3)]
        return f"(VALUES {', '.join(f'({i})' for i in ids + ids[:2])}) v (i)"

    def _value(self, name: str) -> str:
        return self.random.choice([*self.columns[name][1], "NULL"])

    def _note(self) -> str:
        return self.random.choice(["'note'", "''", "NULL", f"'note {self.next_id % 7}'", "E'a\\nb\"'"])

    def _column(self) -> str:
        return self.random.choice(list(self.columns))

    def _id(self) -> int:
        if self.live and self.random.random() < 0.9:
            return self.random.choice(self.live)
        return self.random.randrange(1, self.next_id + 1)

    def _new_ids(self, count: int = 2000) -> int:
        """The first of so many numbers that no row has yet. Without a count: of more than a table here has rows."""
        first = self.next_id
        self.next_id += count
        return first
