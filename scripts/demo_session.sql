-- Rows travel to pgduck_server inside the PostgreSQL protocol; the two servers share no file.
SHOW pg_lake_engine.streaming_writes;
SHOW pg_lake_engine.host;

-- A lake table looks like any other table.
CREATE TABLE orders (
  id       bigint NOT NULL,
  customer text,
  amount   numeric(12,2) CHECK (amount >= 0),
  placed   timestamptz DEFAULT now(),
  tags     text[]
) USING iceberg;

INSERT INTO orders VALUES (1, 'Ada', 99.90, '2026-11-01 10:00Z', '{book,gift}'), (2, 'Grace', 12.50, '2026-11-02 11:30Z', NULL);

-- Half a million rows in one statement.
\timing on
INSERT INTO orders
  SELECT i, 'customer ' || i % 1000, (i * 37 % 100000) / 100.0, timestamptz '2026-01-01 00:00Z' + i * interval '1 minute', ARRAY['bulk', i::text]
    FROM generate_series(3, 500000) i;
\timing off

-- Rows of the application, kept in a plain heap table, and lake rows in one transaction.
CREATE TABLE audit (at timestamptz, what text);
BEGIN;
INSERT INTO orders (id, customer, amount) VALUES (500001, 'Edsger', 1.00);
INSERT INTO audit VALUES (now(), 'order 500001 taken');
COMMIT;

-- A transaction that is rolled back leaves nothing.
BEGIN;
INSERT INTO orders (id, customer, amount) SELECT i, 'nobody', 0 FROM generate_series(900000, 900099) i;
SELECT count(*) AS seen_inside FROM orders;
ROLLBACK;

-- Rows change as in any table: here 500 of them, and one that is found in a heap table.
BEGIN;
UPDATE orders SET amount = amount + 1 WHERE id % 1000 = 7;
DELETE FROM orders USING audit WHERE audit.what = 'order ' || orders.id || ' taken' AND orders.id > 500000;
COMMIT;

COPY orders (id, customer, amount) FROM STDIN (FORMAT csv);
500002,Barbara,7.25
500003,Frances,8.50
\.

-- The server does such a change alone; no row passes through PostgreSQL.
\t on
EXPLAIN (COSTS off) DELETE FROM orders WHERE id < 1000;
\t off

SELECT count(*), sum(amount), min(placed), max(placed) FROM orders;

SELECT customer, count(*), sum(amount) FROM orders WHERE placed < '2026-02-01' GROUP BY customer ORDER BY 3 DESC LIMIT 3;

-- What goes to the server: the columns and the filter, over the table's files.
\t on
EXPLAIN (COSTS off, VERBOSE) SELECT customer FROM orders WHERE id = 42;
\t off

-- The table, as an Iceberg catalog: any engine that knows Iceberg reads it from its metadata location.
SELECT table_namespace, table_name, metadata_location FROM iceberg_tables WHERE table_name = 'orders' \gx
