//! The extended query protocol.

use crate::harness::TestServer;
use crate::wire_client::Client;

/// Bind of a statement to a portal of the same name, all text.
fn bind(client: &mut Client, name: &str, values: &[Option<&str>]) {
    let mut body = [name.as_bytes(), b"\0", name.as_bytes(), b"\0\0\0"].concat();
    body.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            Some(value) => {
                body.extend_from_slice(&(value.len() as u32).to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
            None => body.extend_from_slice(&[0xff; 4]),
        }
    }
    body.extend_from_slice(&[0, 0]);
    client.send('B', &body);
}

fn parse(client: &mut Client, name: &str, sql: &str) {
    client.send(
        'P',
        &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat(),
    );
}

fn execute(client: &mut Client, name: &str, rows: u32) {
    client.send(
        'E',
        &[name.as_bytes(), b"\0", rows.to_be_bytes().as_slice()].concat(),
    );
}

#[test]
fn a_whole_round() {
    let server = TestServer::start();
    let outcome = server
        .connect()
        .extended("SELECT 1::INT AS a, 'x' AS b", true)
        .ok();
    assert_eq!(outcome.kinds, "12TDCZ");
    assert_eq!(
        outcome.columns,
        [("a".to_owned(), 23, 1), ("b".to_owned(), 25, 1)]
    );
    assert_eq!(
        outcome.rows,
        [[Some(vec![0, 0, 0, 1]), Some(b"x".to_vec())]]
    );
    assert_eq!(outcome.tags, ["SELECT 1"]);
}

#[test]
fn named_statements_run_again_with_other_values() {
    let server = TestServer::start();
    let mut client = server.connect();
    parse(
        &mut client,
        "s",
        "SELECT CAST($1 AS INTEGER) + 1, $2::VARCHAR",
    );
    client.send('D', b"Ss\0");
    for (number, text) in [("41", Some("a")), ("1", None)] {
        bind(&mut client, "s", &[Some(number), text]);
        execute(&mut client, "s", 0);
        client.send('C', b"Ps\0");
    }
    client.send('S', b"");
    let outcome = client.outcome().ok();
    assert_eq!(outcome.kinds, "1tT2DC32DC3Z");
    assert_eq!(outcome.rows[0], [Some(b"42".to_vec()), Some(b"a".to_vec())]);
    assert_eq!(outcome.rows[1], [Some(b"2".to_vec()), None]);
    client.send('C', b"Ss\0");
    bind(&mut client, "s", &[Some("1"), None]);
    client.send('S', b"");
    assert_eq!(client.outcome().error().code, "26000");
}

#[test]
fn after_an_error_everything_up_to_sync_is_ignored() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send_extended("SELECT * FROM nowhere", false, 0);
    client.send_extended("SELECT 1", false, 0);
    client.send('S', b"");
    let outcome = client.outcome();
    assert_eq!(outcome.kinds, "EZ");
    assert_eq!(outcome.error().code, "42P01");
    client.extended("SELECT 1", false).ok();
}

#[test]
fn row_limits_suspend_the_portal() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send_extended("SELECT * FROM range(5)", false, 2);
    execute(&mut client, "", 2);
    execute(&mut client, "", 2);
    client.send('S', b"");
    let outcome = client.outcome().ok();
    assert_eq!(outcome.kinds, "12TDsDsDCZ");
    assert_eq!(
        (outcome.rows.len(), outcome.tags[0].as_str()),
        (5, "SELECT 5")
    );
}

#[test]
fn a_suspended_portal_survives_other_statements_of_its_transaction() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("BEGIN").ok();
    parse(&mut client, "p", "SELECT * FROM range(10000)");
    bind(&mut client, "p", &[]);
    execute(&mut client, "p", 10);
    client.send('S', b"");
    assert_eq!(client.outcome().ok().kinds, "12DsZ");
    assert_eq!(client.value("SELECT 7"), "7");
    execute(&mut client, "p", 0);
    client.send('S', b"");
    let outcome = client.outcome().ok();
    assert_eq!((outcome.rows.len(), outcome.text(0, 0)), (9990, "10"));
    client.query("COMMIT").ok();
    execute(&mut client, "p", 0);
    client.send('S', b"");
    let again = client.outcome();
    assert!(again.errors.is_empty() || again.error().code == "34000");
}

#[test]
fn portals_end_with_their_transaction() {
    let server = TestServer::start();
    let mut client = server.connect();
    parse(&mut client, "p", "SELECT * FROM range(10)");
    bind(&mut client, "p", &[]);
    execute(&mut client, "p", 1);
    client.send('S', b"");
    client.outcome().ok();
    execute(&mut client, "p", 0);
    client.send('S', b"");
    assert_eq!(client.outcome().error().code, "34000");
}

#[test]
fn describe_of_statements_without_rows() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.query("CREATE TABLE t (i INT)").ok();
    for (sql, kinds, tag) in [
        ("INSERT INTO t VALUES (1)", "12nCZ", "INSERT 0 1"),
        (
            "INSERT INTO t VALUES (2) RETURNING i",
            "12TDCZ",
            "INSERT 0 1",
        ),
        ("BEGIN", "12nCZ", "BEGIN"),
        ("COMMIT", "12nCZ", "COMMIT"),
        ("SET datestyle = 'ISO'", "12nCZ", "SET"),
        ("CREATE TABLE u (i INT)", "12nCZ", "CREATE TABLE"),
    ] {
        let outcome = client.extended(sql, false).ok();
        assert_eq!(
            (outcome.kinds.as_str(), outcome.tags[0].as_str()),
            (kinds, tag),
            "{sql}"
        );
    }
    assert_eq!(client.extended("", false).ok().kinds, "12nIZ");
    assert_eq!(
        client.extended("SELECT 1; SELECT 2", false).error().code,
        "42601"
    );
}

#[test]
fn types_that_hang_on_parameters_are_described_when_they_are_known() {
    let server = TestServer::start();
    let mut client = server.connect();
    let mut body = b"\0SELECT $1 AS x\0".to_vec();
    body.extend_from_slice(&[0, 1, 0, 0, 0, 20]);
    client.send('P', &body);
    client.send(
        'B',
        &[b"\0\0\0\0\0\x01\0\0\0\x02".as_slice(), b"42\0\x01\0\x01"].concat(),
    );
    client.send('D', b"P\0");
    client.send('E', b"\0\0\0\0\0");
    client.send('S', b"");
    let outcome = client.outcome().ok();
    assert_eq!(outcome.columns, [("x".to_owned(), 20, 1)]);
    assert_eq!(outcome.rows, [[Some(42i64.to_be_bytes().to_vec())]]);
}

#[test]
fn flush_makes_the_server_answer_before_sync() {
    let server = TestServer::start();
    let mut client = server.connect();
    parse(&mut client, "", "SELECT 1");
    client.send('H', b"");
    assert_eq!(client.reply().unwrap().kind, '1');
    client.send('S', b"");
    client.outcome().ok();
}

#[test]
fn receive_belongs_to_the_simple_protocol() {
    let server = TestServer::start();
    let outcome = server
        .connect()
        .extended("RECEIVE SELECT '@@PG_LAKE_RECV@@'", false);
    assert_eq!(outcome.error().code, "0A000");
    assert!(
        outcome
            .error()
            .hint
            .as_deref()
            .unwrap()
            .contains("simple query")
    );
}

#[test]
fn a_million_rows_in_binary() {
    let server = TestServer::start();
    let mut client = server.connect();
    let outcome = client
        .extended("SELECT range, range % 7 FROM range(1000000)", true)
        .ok();
    assert_eq!(outcome.rows.len(), 1_000_000);
    for (index, row) in outcome.rows.iter().enumerate().step_by(9973) {
        assert_eq!(
            row[0].as_deref(),
            Some((index as i64).to_be_bytes().as_slice())
        );
    }
}
