//! Everything that can end a RECEIVE: exactly one error, no file, and a session that goes on.

use std::time::Duration;

use crate::harness::{TestServer, eventually};
use crate::receive::{OPTIONS, rows, to_parquet};
use crate::wire_client::{Client, Outcome, message, wire_error};

/// Bytes that go through the pipe, and end at a row's end.
const LARGE: usize = 40 << 20;

/// The one error of an outcome that is otherwise empty; the session must still work.
fn failed(server: &TestServer, client: &mut Client, outcome: &Outcome) -> String {
    assert_eq!(outcome.kinds, "EZ", "{outcome:?}");
    let code = outcome.error().code.clone();
    assert_eq!(client.value("SELECT 'still here'"), "still here");
    assert_eq!(server.files(), Vec::<String>::new());
    code
}

#[test]
fn queries_that_cannot_be_run_are_refused_before_any_data() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("x.parquet");
    let twice = "RECEIVE SELECT '@@PG_LAKE_RECV@@', '@@PG_LAKE_RECV@@'";
    for (sql, code) in [
        ("RECEIVE SELECT 1", "42601"),
        (twice, "42601"),
        (
            "RECEIVE SELECT \"'@@PG_LAKE_RECV@@'\" FROM range(1)",
            "42601",
        ),
        ("RECEIVE SELECT 1 -- '@@PG_LAKE_RECV@@'", "42601"),
        ("RECEIVE SELEC '@@PG_LAKE_RECV@@'", "42601"),
        (
            "RECEIVE SELECT * FROM nowhere, read_blob('@@PG_LAKE_RECV@@')",
            "42P01",
        ),
        ("RECEIVE SELECT '@@PG_LAKE_RECV@@'; SELECT 2", "42601"),
        (&to_parquet(&target).replace("c1 AS t", "c9 AS t"), "42703"),
        (
            &to_parquet(&target).replace("RETURN_STATS", "NO_SUCH_OPTION"),
            "0A000",
        ),
    ] {
        let outcome = client.query(sql);
        assert_eq!(failed(&server, &mut client, &outcome), code, "{sql}");
    }
}

#[test]
fn copy_fail_leaves_nothing() {
    let server = TestServer::start();
    let mut client = server.connect();
    for bytes in [0, 100, 2 << 20, LARGE] {
        client.begin_receive(&to_parquet(&server.path("x.parquet")));
        client.send_copy_data(&rows(bytes), 65_536);
        client.send('f', b"changed my mind\0");
        let outcome = client.outcome();
        assert!(outcome.error().message.contains("changed my mind"));
        assert_eq!(failed(&server, &mut client, &outcome), "57014", "{bytes}");
    }
}

#[test]
fn a_cut_connection_never_becomes_a_file() {
    let server = TestServer::start();
    let data = rows(LARGE);
    let row_end = |at: usize| at + data[at..].iter().position(|&b| b == b'\n').unwrap() + 1;
    let before = server.open_descriptors();
    for length in [
        0,
        row_end(50),
        row_end(1 << 20),
        row_end(5 << 20),
        row_end(34 << 20),
        data.len(),
        3 << 20,
    ] {
        let mut client = server.connect();
        client.begin_receive(&to_parquet(&server.path("x.parquet")));
        client.send_copy_data(&data[..length], 65_536);
        // Half of them: the cut comes when the query has everything and waits for more.
        if length % 2 == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        drop(client);
    }
    // Inside a message's header.
    let mut client = server.connect();
    client.begin_receive(&to_parquet(&server.path("x.parquet")));
    client.send_copy_data(&data[..row_end(5 << 20)], 65_536);
    client.send_bytes(b"d\0\0");
    drop(client);
    // Terminate instead of CopyDone.
    let mut client = server.connect();
    client.begin_receive(&to_parquet(&server.path("x.parquet")));
    client.send_copy_data(&data[..row_end(5 << 20)], 65_536);
    client.send('X', b"");
    assert!(client.reply().is_none());
    eventually("all sessions are gone", || {
        server.open_descriptors() <= before
    });
    assert_eq!(server.files(), Vec::<String>::new());
}

#[test]
fn bad_rows_at_any_place() {
    let server = TestServer::start();
    let mut client = server.connect();
    let data = rows(LARGE);
    let row_end = |at: usize| at + data[at..].iter().position(|&b| b == b'\n').unwrap() + 1;
    for at in [
        0,
        row_end(100),
        row_end(2 << 20),
        row_end(35 << 20),
        data.len(),
    ] {
        for bad in ["not a number,x\n", "1\n", "1,\"open"] {
            let spoiled = [&data[..at], bad.as_bytes(), &data[at..]].concat();
            client.begin_receive(&to_parquet(&server.path("x.parquet")));
            client.send_copy_data(&spoiled, 65_536);
            client.send('c', b"");
            let outcome = client.outcome();
            let code = failed(&server, &mut client, &outcome);
            assert!(code.starts_with("22"), "{code} at {at} {bad}");
        }
    }
}

#[test]
fn a_failing_query_does_not_wait_for_the_end_of_the_stream() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.begin_receive(&to_parquet(&server.path("x.parquet")));
    let data = rows(100 << 20);
    client.send_copy_data(b"not a number,x\n", 100);
    client.send_copy_data(&data, 65_536);
    // No CopyDone: the error comes by itself, and what follows is dropped.
    let outcome = client.outcome();
    assert_eq!(failed(&server, &mut client, &outcome), "22P02");
    client.send_copy_data(b"1,late\n", 3);
    client.send('c', b"");
    client.query("SELECT 1").ok();
}

#[test]
fn other_messages_inside_the_stream() {
    let server = TestServer::start();
    let mut client = server.connect();
    for bytes in [10, LARGE] {
        client.begin_receive(&to_parquet(&server.path("x.parquet")));
        client.send_copy_data(&rows(bytes), 65_536);
        // Flush and Sync are ignored, anything else is an error.
        client.send('H', b"");
        client.send('S', b"");
        client.send_query("SELECT 'not now'");
        let outcome = client.outcome();
        assert_eq!(failed(&server, &mut client, &outcome), "08P01");
    }
}

#[test]
fn the_limit_of_a_stream() {
    let server = TestServer::start_with(&["--recv-max-bytes", "3000000"]);
    let mut client = server.connect();
    let target = server.path("x.parquet");
    let blob = format!(
        "RECEIVE COPY (SELECT content FROM read_blob('@@PG_LAKE_RECV@@')) TO '{target}' (FORMAT BLOB)"
    );
    for sql in [to_parquet(&target), blob] {
        client.begin_receive(&sql);
        client.send_copy_data(&rows(10_000_000), 65_536);
        client.send('c', b"");
        let outcome = client.outcome();
        assert_eq!(failed(&server, &mut client, &outcome), "53400");
    }
    client.receive(&to_parquet(&target), &rows(2_900_000)).ok();
}

#[test]
fn cancel_while_data_is_awaited() {
    let server = TestServer::start();
    let mut client = server.connect();
    // Before the first byte; within the first block; when the query waits in the pipe; in the middle of a row.
    for bytes in [0, 1000, 2 << 20, LARGE, LARGE + 3] {
        client.begin_receive(&to_parquet(&server.path("x.parquet")));
        let data = rows(bytes);
        client.send_copy_data(&data, 65_536);
        std::thread::sleep(Duration::from_millis(100));
        let start = std::time::Instant::now();
        client.cancel();
        let outcome = client.outcome();
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{bytes}: {:?}",
            start.elapsed()
        );
        assert_eq!(failed(&server, &mut client, &outcome), "57014", "{bytes}");
    }
}

#[test]
fn an_error_inside_a_message_does_not_confuse_the_next_one() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.begin_receive(&to_parquet(&server.path("x.parquet")));
    // One message of 60 MB that begins with a bad row; its rest comes after the error.
    let mut data = b"bad,row\n".to_vec();
    data.extend(rows(60 << 20));
    let bytes = message('d', &data);
    client.send_bytes(&bytes[..40 << 20]);
    let reply = client.reply().unwrap();
    assert_eq!(
        (reply.kind, wire_error(&reply.body).code.as_str()),
        ('E', "22P02")
    );
    assert_eq!(client.reply().unwrap().kind, 'Z');
    client.send_bytes(&bytes[40 << 20..]);
    client.send('c', b"");
    client.query("SELECT 1").ok();
}

#[test]
fn a_target_that_cannot_be_written() {
    let server = TestServer::start();
    let mut client = server.connect();
    let file = server.path("file");
    std::fs::write(&file, "in the way").unwrap();
    let outcome = client.receive(&to_parquet(&format!("{file}/x.parquet")), &rows(LARGE));
    assert_eq!(outcome.kinds, "EZ");
    assert!(
        ["58030", "58P01", "42501"].contains(&outcome.error().code.as_str()),
        "{outcome:?}"
    );
    let outcome = client.receive(&to_parquet("/proc/x.parquet"), b"1,a\n");
    assert_eq!(outcome.kinds, "EZ");
    assert_eq!(server.files(), ["file"]);
}

#[test]
fn a_stopping_server_ends_open_streams() {
    for bytes in [100, LARGE] {
        let mut server = TestServer::start();
        let mut client = server.connect();
        client.begin_receive(&to_parquet(&server.path("x.parquet")));
        client.send_copy_data(&rows(bytes), 65_536);
        std::thread::sleep(Duration::from_millis(100));
        server.signal("TERM");
        assert_eq!(server.wait(Duration::from_secs(5)), Some(0));
        let reply = client.reply().unwrap();
        assert_eq!(wire_error(&reply.body).code, "57P01");
        assert_eq!(server.files(), Vec::<String>::new());
    }
}

#[test]
fn an_aborted_stream_whose_query_had_enough() {
    let server = TestServer::start();
    let mut client = server.connect();
    let sql = format!(
        "RECEIVE COPY (SELECT * FROM read_csv('@@PG_LAKE_RECV@@', {OPTIONS}) LIMIT 10) TO '{}'",
        server.path("x.parquet")
    );
    client.begin_receive(&sql);
    client.send_copy_data(&rows(LARGE), 65_536);
    std::thread::sleep(Duration::from_millis(200));
    client.send('f', b"no\0");
    let outcome = client.outcome();
    assert_eq!(failed(&server, &mut client, &outcome), "57014");
}
