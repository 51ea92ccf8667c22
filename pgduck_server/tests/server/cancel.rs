//! Cancelling queries, and clients that go away.

use std::time::{Duration, Instant};

use crate::harness::{TestServer, eventually};

/// A query that runs for a very long time.
const ENDLESS: &str = "SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000000) b";

/// CPU time that a process has used so far, in clock ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until the server does nothing.
fn eventually_idle(server: &TestServer) {
    eventually("the server is idle", || {
        let before = cpu_ticks(server.pid());
        std::thread::sleep(Duration::from_millis(300));
        cpu_ticks(server.pid()) - before <= 2
    });
}

#[test]
fn a_cancel_request_stops_the_query_and_only_that() {
    let server = TestServer::start();
    let mut client = server.connect();
    for extended in [false, true] {
        match extended {
            true => {
                client.send_extended(ENDLESS, true, 0);
                client.send('S', b"");
            }
            false => client.send_query(ENDLESS),
        }
        std::thread::sleep(Duration::from_millis(300));
        client.cancel_with_wrong_secret();
        std::thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        client.cancel();
        let outcome = client.outcome();
        assert_eq!(outcome.error().code, "57014");
        assert!(start.elapsed() < Duration::from_secs(1));
        client.query("SELECT 1").ok();
    }
    // A cancel for a session that does nothing leaves its next query alone.
    client.cancel();
    client.query("SELECT 1").ok();
}

#[test]
fn a_cancel_ends_the_whole_query_string() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send_query(&format!(
        "CREATE TABLE t (i INT); {ENDLESS}; CREATE TABLE u (i INT)"
    ));
    std::thread::sleep(Duration::from_millis(300));
    client.cancel();
    assert_eq!(client.outcome().error().code, "57014");
    assert_eq!(client.value("SELECT count(*) FROM duckdb_tables()"), "1");
}

#[test]
fn cancels_at_any_moment_hit_or_miss_but_never_hang() {
    let server = TestServer::start();
    let mut client = server.connect();
    let sql = "SELECT count(*) FROM range(3000000) a WHERE hash(a.range) % 7 = 3";
    let mut hits = 0;
    for round in 0..60 {
        client.send_query(sql);
        std::thread::sleep(Duration::from_micros(200 * round));
        client.cancel();
        let outcome = client.outcome();
        match outcome.errors.first() {
            Some(error) => {
                assert_eq!(error.code, "57014");
                hits += 1;
            }
            None => assert_eq!(outcome.rows.len(), 1),
        }
    }
    assert!(hits > 0);
    client.query("SELECT 1").ok();
}

#[test]
fn a_client_that_goes_away_stops_its_query() {
    let server = TestServer::start();
    let descriptors = server.open_descriptors();
    let mut client = server.connect();
    client.send_query(ENDLESS);
    std::thread::sleep(Duration::from_millis(300));
    drop(client);
    eventually("the session is gone", || {
        server.open_descriptors() <= descriptors
    });
    eventually_idle(&server);
}

#[test]
fn a_client_that_goes_away_while_rows_stream() {
    let server = TestServer::start();
    let descriptors = server.open_descriptors();
    let mut client = server.connect();
    client.send_query("SELECT range, repeat('x', 100) FROM range(1000000000)");
    for _ in 0..1000 {
        client.reply().unwrap();
    }
    drop(client);
    eventually("the session is gone", || {
        server.open_descriptors() <= descriptors
    });
    eventually_idle(&server);
}

#[test]
fn a_client_that_does_not_read_can_be_cancelled() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send_query("SELECT range, repeat('x', 100) FROM range(1000000000)");
    std::thread::sleep(Duration::from_millis(500));
    client.cancel();
    let outcome = client.outcome();
    assert_eq!(outcome.error().code, "57014");
    client.query("SELECT 1").ok();
}
