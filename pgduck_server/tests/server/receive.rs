//! RECEIVE when all goes well.

use std::fmt::Write;

use crate::harness::{TestServer, eventually};

/// The options of `read_csv` that the tests use.
pub const OPTIONS: &str = "auto_detect=false, header=false, delim=',', quote='\"', escape='\"', \
    new_line='\\n', nullstr='\\N', allow_quoted_nulls=false, columns={'c0':'BIGINT','c1':'VARCHAR'}";

/// A RECEIVE of two columns to a Parquet file.
pub fn to_parquet(target: &str) -> String {
    format!(
        "RECEIVE COPY (SELECT c0 AS id, c1 AS t FROM read_csv('@@PG_LAKE_RECV@@', {OPTIONS})) \
         TO '{target}' (FORMAT parquet, RETURN_STATS)"
    )
}

/// Rows of two columns, at least so many bytes.
pub fn rows(bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 64);
    let mut row = 0;
    while text.len() < bytes {
        writeln!(text, "{row},\"value, number {row}\"").unwrap();
        row += 1;
    }
    text.into_bytes()
}

#[test]
fn small_and_large_streams_make_the_file_that_a_file_makes() {
    let server = TestServer::start();
    let mut client = server.connect();
    for bytes in [0, 30, 1 << 20, (1 << 20) + 1, 3 << 20, 80 << 20] {
        let data = if bytes == 0 { Vec::new() } else { rows(bytes) };
        let csv = server.path("input.csv");
        std::fs::write(&csv, &data).unwrap();
        let (piped, native) = (server.path("piped.parquet"), server.path("native.parquet"));
        let outcome = client.receive(&to_parquet(&piped), &data).ok();
        assert_eq!(outcome.kinds, "TDCZ");
        let count = data.iter().filter(|&&b| b == b'\n').count();
        assert_eq!(outcome.text(0, 1), count.to_string());
        assert_eq!(outcome.tags, [format!("COPY {count}")]);
        let sql = to_parquet(&native)
            .replace("RECEIVE ", "")
            .replace("@@PG_LAKE_RECV@@", &csv);
        client.query(&sql).ok();
        assert!(
            std::fs::read(&piped).unwrap() == std::fs::read(&native).unwrap(),
            "the files of {bytes} bytes differ"
        );
    }
}

#[test]
fn messages_of_any_size_are_the_same_stream() {
    let server = TestServer::start();
    let mut client = server.connect();
    let data = rows(2 << 20);
    let mut files = Vec::new();
    for size in [1, 37, 65_536, data.len()] {
        let target = server.path(&format!("by_{size}.parquet"));
        client.begin_receive(&to_parquet(&target));
        client.send_copy_data(&data, size);
        client.send('c', b"");
        client.outcome().ok();
        files.push(std::fs::read(target).unwrap());
    }
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn both_forms_of_the_placeholder() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("a.parquet");
    let old = to_parquet(&target)
        .replace("'@@PG_LAKE_RECV@@'", "@@PGLAKE_RECV_SINK@@")
        .replace("RECEIVE ", "receive ");
    client.receive(&old, b"1,a\n").ok();
    assert_eq!(client.value(&format!("SELECT t FROM '{target}'")), "a");
    let hidden = to_parquet(&target).replace("c1 AS t", "'x @@PG_LAKE_RECV@@' AS t");
    client.receive(&hidden, b"1,a\n").ok();
    assert_eq!(
        client.value(&format!("SELECT t FROM '{target}'")),
        "x @@PG_LAKE_RECV@@"
    );
}

#[test]
fn blobs_of_any_size() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("meta/data/object");
    let sql = format!(
        "RECEIVE COPY (SELECT content FROM read_blob('@@PG_LAKE_RECV@@')) TO '{target}' (FORMAT BLOB)"
    );
    for bytes in [0usize, 1, 1 << 20, 9 << 20] {
        let data: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect();
        let outcome = client.receive(&sql, &data).ok();
        assert_eq!(outcome.kinds, "CZ");
        assert!(std::fs::read(&target).unwrap() == data, "{bytes} bytes");
        let read = client
            .extended(&format!("SELECT content FROM read_blob('{target}')"), true)
            .ok();
        assert!(read.rows[0][0].as_deref() == Some(&data));
    }
    assert_eq!(server.files(), ["meta/data/object"]);
}

#[test]
fn queries_that_return_rows_or_need_the_whole_input() {
    let server = TestServer::start();
    let mut client = server.connect();
    let data = rows(5 << 20);
    let count = data.iter().filter(|&&b| b == b'\n').count();
    let sql = format!("RECEIVE SELECT * FROM read_csv('@@PG_LAKE_RECV@@', {OPTIONS})");
    assert_eq!(client.receive(&sql, &data).ok().rows.len(), count);
    // A sniffed file, which is read twice.
    let sql = "RECEIVE SELECT count(*) FROM read_csv('@@PG_LAKE_RECV@@')";
    assert_eq!(
        client.receive(sql, &data).ok().text(0, 0),
        count.to_string()
    );
    // Parquet, which is read from its end.
    let parquet = server.path("p.parquet");
    client
        .query(&format!(
            "COPY (SELECT * FROM range(2000000)) TO '{parquet}'"
        ))
        .ok();
    let sql = "RECEIVE SELECT count(*), sum(range) FROM read_parquet('@@PG_LAKE_RECV@@')";
    let outcome = client.receive(sql, &std::fs::read(&parquet).unwrap()).ok();
    assert_eq!(
        (outcome.text(0, 0), outcome.text(0, 1)),
        ("2000000", "1999999000000")
    );
    client.query("CREATE TABLE t (a BIGINT, b VARCHAR)").ok();
    let sql =
        format!("RECEIVE INSERT INTO t SELECT * FROM read_csv('@@PG_LAKE_RECV@@', {OPTIONS})");
    assert_eq!(
        client.receive(&sql, &data).ok().tags,
        [format!("INSERT 0 {count}")]
    );
    assert_eq!(client.value("SELECT count(*) FROM t"), count.to_string());
    assert_eq!(server.files(), ["p.parquet"]);
}

#[test]
fn receive_transmit_answers_with_csv() {
    let server = TestServer::start();
    let sql =
        format!("RECEIVE TRANSMIT SELECT c1, c0 FROM read_csv('@@PG_LAKE_RECV@@', {OPTIONS})");
    let outcome = server.connect().receive(&sql, b"1,a\n2,\\N\n").ok();
    assert_eq!(outcome.copy_out, b"a,1\n\\N,2\n");
}

#[test]
fn a_query_that_needs_only_the_beginning() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("first.parquet");
    let sql = to_parquet(&target).replace(")) TO", ") LIMIT 10) TO");
    let outcome = client.receive(&sql, &rows(80 << 20)).ok();
    assert_eq!(outcome.tags, ["COPY 10"]);
    assert_eq!(
        client.value(&format!("SELECT count(*) FROM '{target}'")),
        "10"
    );
}

#[test]
fn many_streams_at_once_on_two_threads() {
    let server = TestServer::start();
    let data = rows(3 << 20);
    let before = server.open_descriptors();
    let threads: Vec<_> = (0..24)
        .map(|number| {
            let (port, data) = (server.port, data.clone());
            let target = server.path(&format!("many/{number}.parquet"));
            std::thread::spawn(move || {
                let mut client = crate::wire_client::Client::connect(port);
                // All are open before any is complete.
                client.begin_receive(&to_parquet(&target));
                client.send_copy_data(&data[..data.len() / 2], 65_536);
                std::thread::sleep(std::time::Duration::from_millis(300));
                client.send_copy_data(&data[data.len() / 2..], 65_536);
                client.send('c', b"");
                client.outcome().ok();
                std::fs::read(target).unwrap()
            })
        })
        .collect();
    let files: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
    eventually("all descriptors are closed", || {
        server.open_descriptors() <= before + 4
    });
}
