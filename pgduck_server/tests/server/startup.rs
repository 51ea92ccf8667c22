//! Connecting, limits on connections, and the end of the server.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use crate::harness::{TestServer, free_port};
use crate::wire_client::{Client, wire_error};

#[test]
fn a_session_learns_what_the_server_is() {
    let server = TestServer::start();
    let client = server.connect();
    let parameter = |name: &str| {
        client
            .parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(parameter("server_version"), Some("16.4.DuckPG"));
    assert_eq!(parameter("client_encoding"), Some("UTF8"));
    assert_eq!(parameter("TimeZone"), Some("UTC"));
}

#[test]
fn encryption_is_declined_and_then_asked_for_no_more_than_a_few_times() {
    let server = TestServer::start();
    let mut client = Client::raw(server.port);
    for request in [80_877_103u32, 80_877_104] {
        client.send_bytes(&[8u32.to_be_bytes(), request.to_be_bytes()].concat());
        let mut answer = [0];
        client.stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }
    client.send_startup(&[("user", "x")]);
    assert_eq!(client.reply().unwrap().kind, 'R');

    let mut client = Client::raw(server.port);
    for _ in 0..20 {
        client.send_bytes(&[8u32.to_be_bytes(), 80_877_103u32.to_be_bytes()].concat());
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut all = Vec::new();
    let _ = client.stream.read_to_end(&mut all);
    assert!(all.starts_with(b"NNNN") && all.len() > 5, "{all:?}");
    assert_eq!(all.iter().position(|&b| b == b'E'), Some(5));
}

#[test]
fn plain_text_behind_an_encryption_request_is_refused() {
    let server = TestServer::start();
    let mut client = Client::raw(server.port);
    let request = [8u32.to_be_bytes(), 80_877_103u32.to_be_bytes()].concat();
    client.send_bytes(&[request.as_slice(), b"\0\0\0\x09\0\x03\0\0\0"].concat());
    let reply = client.reply().unwrap();
    assert_eq!(
        (reply.kind, wire_error(&reply.body).code.as_str()),
        ('E', "08P01")
    );
}

#[test]
fn broken_startup_packets_are_refused() {
    let server = TestServer::start();
    for bytes in [
        b"\xff\xff\xff\xff".as_slice(),
        b"\0\0\0\x01",
        b"\0\0\x40\0aaaaaaaa",
        b"\0\0\0\x0d\0\x03\0\0user\0",
        b"\0\0\0\x09\0\x02\0\0\0",
    ] {
        let mut client = Client::raw(server.port);
        client.send_bytes(bytes);
        let reply = client.reply().unwrap();
        assert_eq!(reply.kind, 'E');
        assert_eq!(wire_error(&reply.body).severity, "FATAL");
        assert!(client.reply().is_none());
    }
    server.connect().query("SELECT 1").ok();
}

#[test]
fn newer_minor_versions_are_negotiated_down() {
    let server = TestServer::start();
    let mut client = Client::raw(server.port);
    let body = [
        &196_610u32.to_be_bytes(),
        b"user\0x\0_pq_.new\0y\0\0".as_slice(),
    ]
    .concat();
    client.send_bytes(&(body.len() as u32 + 4).to_be_bytes());
    client.send_bytes(&body);
    let reply = client.reply().unwrap();
    assert_eq!(reply.kind, 'v');
    assert_eq!(reply.body, b"\0\x03\0\0\0\0\0\x01_pq_.new\0");
    assert_eq!(client.reply().unwrap().kind, 'R');
}

#[test]
fn an_encoding_other_than_utf8_is_refused() {
    let server = TestServer::start();
    let mut client = Client::raw(server.port);
    client.send_startup(&[("user", "x"), ("client_encoding", "LATIN1")]);
    let reply = client.reply().unwrap();
    assert_eq!(wire_error(&reply.body).code, "22023");
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = TestServer::start_with(&["--max_clients", "2"]);
    let first = server.connect();
    let _second = server.connect();
    let mut third = Client::raw(server.port);
    third.send_startup(&[("user", "x")]);
    assert_eq!(wire_error(&third.reply().unwrap().body).code, "53300");
    drop(first);
    crate::harness::eventually("a place is free", || {
        let mut next = Client::raw(server.port);
        next.send_startup(&[("user", "x")]);
        next.reply().unwrap().kind == 'R'
    });
}

#[test]
fn addresses_that_others_can_reach_need_a_flag() {
    let output = Command::new(env!("CARGO_BIN_EXE_pgduck_server"))
        .args([
            "--listen_addresses",
            "0.0.0.0",
            "--unix_socket_directory",
            "",
        ])
        .args(["--port", &free_port().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--insecure_listen"));
    let server = TestServer::start_with(&["--insecure_listen"]);
    server.connect().query("SELECT 1").ok();
}

#[test]
fn a_signal_ends_the_server_and_what_it_runs() {
    for signal in ["TERM", "INT"] {
        let mut server = TestServer::start();
        let mut idle = server.connect();
        let mut busy = server.connect();
        busy.send_query("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b");
        std::thread::sleep(Duration::from_millis(200));
        server.signal(signal);
        assert_eq!(server.wait(Duration::from_secs(5)), Some(0));
        for client in [&mut idle, &mut busy] {
            let reply = client.reply().unwrap();
            assert_eq!(wire_error(&reply.body).code, "57P01");
            assert!(client.reply().is_none());
        }
        assert_eq!(server.files(), Vec::<String>::new());
    }
}

#[test]
fn the_init_file_runs_at_start() {
    let directory = std::env::temp_dir().join(format!("pgduck_init_{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("init.sql");
    std::fs::write(
        &file,
        "CREATE TABLE made AS SELECT 42 AS x; CREATE MACRO twice(a) AS 2 * a;",
    )
    .unwrap();
    let server = TestServer::start_with(&["--init_file_path", file.to_str().unwrap()]);
    assert_eq!(server.connect().value("SELECT twice(x) FROM made"), "84");
    std::fs::remove_dir_all(directory).unwrap();
}
