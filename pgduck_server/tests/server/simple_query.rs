//! The simple query protocol.

use std::time::{Duration, Instant};

use crate::harness::TestServer;

#[test]
fn several_statements_answer_in_order() {
    let server = TestServer::start();
    let mut client = server.connect();
    let outcome = client
        .query(
            "CREATE TABLE t (i INT); INSERT INTO t VALUES (1), (2); SELECT * FROM t; DROP TABLE t",
        )
        .ok();
    assert_eq!(
        outcome.tags,
        ["CREATE TABLE", "INSERT 0 2", "SELECT 2", "DROP TABLE"]
    );
    assert_eq!(outcome.rows.len(), 2);
    assert_eq!(client.query("").ok().kinds, "IZ");
    assert_eq!(client.query(" ; -- nothing\n").ok().kinds, "IZ");
}

#[test]
fn tags_tell_what_was_done() {
    let server = TestServer::start();
    let mut client = server.connect();
    for (sql, tag) in [
        (
            "CREATE TABLE t AS SELECT range AS i FROM range(5)",
            "CREATE TABLE",
        ),
        ("UPDATE t SET i = i + 1 WHERE i < 3", "UPDATE 3"),
        ("DELETE FROM t WHERE i = 4", "DELETE 1"),
        ("INSERT INTO t VALUES (7) RETURNING i", "INSERT 0 1"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("SET threads = 2", "SET"),
        ("SET extra_float_digits = 3", "SET"),
        ("BEGIN", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("SHOW TABLES", "SELECT 2"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
    ] {
        assert_eq!(client.query(sql).ok().tags, [tag], "{sql}");
    }
    assert_eq!(
        client
            .query("INSERT INTO t VALUES (8) RETURNING i + 1")
            .ok()
            .text(0, 0),
        "9"
    );
}

#[test]
fn errors_carry_sqlstates_and_end_the_query_string() {
    let server = TestServer::start();
    let mut client = server.connect();
    client
        .query("CREATE TABLE t (i INT NOT NULL, u INT UNIQUE, CHECK (i > 0))")
        .ok();
    for (sql, code) in [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM t", "42703"),
        ("SELECT nofunction(1)", "42883"),
        ("SELECT CAST('a' AS INT)", "22P02"),
        ("SELECT CAST(300 AS TINYINT)", "22003"),
        ("SELECT 9223372036854775807 + 1", "22003"),
        ("INSERT INTO t VALUES (NULL, 1)", "23502"),
        ("INSERT INTO t VALUES (0, 1)", "23514"),
        (
            "INSERT INTO t VALUES (1, 5); INSERT INTO t VALUES (1, 5)",
            "23505",
        ),
        ("SELECT * FROM '/no/such/file.parquet'", "58P01"),
        ("CREATE TABLE t (i INT)", "42P07"),
        ("SET no_such_setting = 1", "42704"),
        ("SELECT * FROM range(1000000000) ORDER BY random()", "53200"),
    ] {
        if code == "53200" {
            client
                .query("SET memory_limit = '20MB'; SET max_temp_directory_size = '0MB'")
                .ok();
        }
        assert_eq!(client.query(sql).error().code, code, "{sql}");
    }
    client.query("SET memory_limit = '1GB'").ok();
    let outcome = client.query("SELECT 1; SELECT CAST('a' AS INT); SELECT 2");
    assert_eq!(
        (outcome.error().code.as_str(), outcome.rows.len()),
        ("22P02", 1)
    );
    assert_eq!(client.value("SELECT 3"), "3");
}

#[test]
fn messages_are_one_line_and_details_follow() {
    let server = TestServer::start();
    let outcome = server.connect().query("SELECT nothing FROM range(1)");
    let error = outcome.error();
    assert!(
        error
            .message
            .starts_with("referenced column \"nothing\" not found")
    );
    assert!(!error.message.contains('\n') && !error.message.contains("Binder Error"));
    assert!(error.detail.as_deref().unwrap().contains("LINE 1:"));
}

#[test]
fn the_status_follows_the_transaction() {
    let server = TestServer::start();
    let mut client = server.connect();
    assert_eq!(
        client
            .query("BEGIN; CREATE TABLE t (i INT UNIQUE)")
            .ok()
            .status,
        'T'
    );
    assert_eq!(client.query("ROLLBACK").ok().status, 'I');
    client
        .query("CREATE TABLE t (i INT UNIQUE); INSERT INTO t VALUES (1)")
        .ok();
    client.query("START TRANSACTION").ok();
    let outcome = client.query("INSERT INTO t VALUES (1)");
    assert_eq!(
        (outcome.error().code.as_str(), outcome.status),
        ("23505", 'E')
    );
    assert_eq!(client.query("SELECT 1").error().code, "25P02");
    let outcome = client.query("COMMIT").ok();
    assert_eq!(
        (outcome.tags[0].as_str(), outcome.status),
        ("ROLLBACK", 'I')
    );
    assert_eq!(client.query("SELECT 1").ok().status, 'I');
}

#[test]
fn transmit_sends_csv() {
    let server = TestServer::start();
    let mut client = server.connect();
    let outcome = client
        .query("TRANSMIT SELECT 1 AS a, 'x,\"y\"' AS b, NULL AS c, '\\N' AS d, '' AS e")
        .ok();
    assert_eq!(outcome.kinds, "HdcCZ");
    assert_eq!(outcome.copy_out, b"1,\"x,\"\"y\"\"\",\\N,\"\\N\",\"\"\n");
    let outcome = client.query("transmit SELECT * FROM range(300000)").ok();
    let lines = outcome.copy_out.split(|&b| b == b'\n').count() - 1;
    assert_eq!(
        (lines, outcome.tags[0].as_str()),
        (300_000, "SELECT 300000")
    );
}

#[test]
fn results_are_streamed_and_not_gathered() {
    let server = TestServer::start();
    let mut client = server.connect();
    let start = Instant::now();
    // 16 GB of text: the first row must not wait for the last.
    client.send_query("SELECT repeat('x', 1600) FROM range(10000000)");
    assert_eq!(client.reply().unwrap().kind, 'T');
    assert_eq!(client.reply().unwrap().kind, 'D');
    assert!(start.elapsed() < Duration::from_secs(10));
    std::thread::sleep(Duration::from_millis(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 500_000, "{line}");
}

#[test]
fn function_calls_are_refused_and_the_session_goes_on() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send('F', &[0; 14]);
    assert_eq!(client.outcome().error().code, "0A000");
    client.query("SELECT 1").ok();
}

#[test]
fn broken_messages_end_the_session() {
    let server = TestServer::start();
    for bytes in [
        b"Q\0\0\0\x03".as_slice(),
        b"?\0\0\0\x04",
        b"B\0\0\0\x08ab\0c",
        b"S\0\x7f\0\0",
    ] {
        let mut client = server.connect();
        client.send_bytes(bytes);
        let reply = client.reply().unwrap();
        assert_eq!(crate::wire_client::wire_error(&reply.body).code, "08P01");
        assert!(client.reply().is_none());
    }
    let mut client = server.connect();
    client.send('Q', b"SELECT '\xff'\0");
    assert_eq!(client.outcome().error().code, "22021");
    client.query("SELECT 1").ok();
}

#[test]
fn many_clients_at_once() {
    let server = TestServer::start();
    let port = server.port;
    let threads: Vec<_> = (0..40)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = crate::wire_client::Client::connect(port);
                for round in 0..20 {
                    let sql =
                        format!("SELECT {number} * 1000 + {round}, count(*) FROM range(1000)");
                    let outcome = client.query(&sql).ok();
                    assert_eq!(outcome.text(0, 0), (number * 1000 + round).to_string());
                    assert_eq!(outcome.text(0, 1), "1000");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
