//! Every type in text and in binary. The expected text is what PostgreSQL prints for the same value.

use crate::harness::TestServer;

/// Values of an SQL expression: OID, text, binary.
fn both(client: &mut crate::wire_client::Client, expression: &str) -> (u32, String, Vec<u8>) {
    let sql = format!("SELECT {expression} AS v");
    let text = client.extended(&sql, false).ok();
    let binary = client.extended(&sql, true).ok();
    assert_eq!(text.columns[0].1, binary.columns[0].1);
    assert_eq!(client.query(&sql).ok().rows, text.rows, "{expression}");
    (
        text.columns[0].1,
        text.text(0, 0).to_owned(),
        binary.rows[0][0].clone().unwrap(),
    )
}

#[test]
fn scalars() {
    let server = TestServer::start();
    let mut client = server.connect();
    let day = 86_400_000_000i64;
    let noon_2000 = day / 2;
    let cases: &[(&str, u32, &str, Vec<u8>)] = &[
        ("true", 16, "t", vec![1]),
        ("false", 16, "f", vec![0]),
        ("'\\x00\\xFF'::BLOB", 17, "\\x00ff", vec![0, 255]),
        ("-5::BIGINT", 20, "-5", (-5i64).to_be_bytes().to_vec()),
        (
            "4294967295::UINTEGER",
            20,
            "4294967295",
            4_294_967_295i64.to_be_bytes().to_vec(),
        ),
        ("-5::TINYINT", 21, "-5", (-5i16).to_be_bytes().to_vec()),
        ("-5::SMALLINT", 21, "-5", (-5i16).to_be_bytes().to_vec()),
        ("255::UTINYINT", 21, "255", 255i16.to_be_bytes().to_vec()),
        ("-5::INTEGER", 23, "-5", (-5i32).to_be_bytes().to_vec()),
        (
            "65535::USMALLINT",
            23,
            "65535",
            65_535i32.to_be_bytes().to_vec(),
        ),
        ("'héllo'", 25, "héllo", "héllo".into()),
        (
            "'a string of more than twelve bytes'",
            25,
            "a string of more than twelve bytes",
            "a string of more than twelve bytes".into(),
        ),
        ("'b'::ENUM('a', 'b')", 25, "b", b"b".to_vec()),
        ("'0101'::BIT", 25, "0101", b"0101".to_vec()),
        (
            "'{\"a\": 1}'::JSON",
            114,
            "{\"a\": 1}",
            b"{\"a\": 1}".to_vec(),
        ),
        ("0.1::FLOAT", 700, "0.1", 0.1f32.to_be_bytes().to_vec()),
        ("'NaN'::FLOAT", 700, "NaN", f32::NAN.to_be_bytes().to_vec()),
        ("1e20::DOUBLE", 701, "1e+20", 1e20f64.to_be_bytes().to_vec()),
        (
            "'-Infinity'::DOUBLE",
            701,
            "-Infinity",
            f64::NEG_INFINITY.to_be_bytes().to_vec(),
        ),
        (
            "DATE '2000-01-02'",
            1082,
            "2000-01-02",
            1i32.to_be_bytes().to_vec(),
        ),
        (
            "DATE '0044-03-15 (BC)'",
            1082,
            "0044-03-15 BC",
            (-746_117i32).to_be_bytes().to_vec(),
        ),
        (
            "DATE 'infinity'",
            1082,
            "infinity",
            i32::MAX.to_be_bytes().to_vec(),
        ),
        (
            "TIME '12:00:00.5'",
            1083,
            "12:00:00.5",
            (noon_2000 + 500_000).to_be_bytes().to_vec(),
        ),
        (
            "TIMESTAMP '2000-01-01 12:00:00'",
            1114,
            "2000-01-01 12:00:00",
            noon_2000.to_be_bytes().to_vec(),
        ),
        (
            "TIMESTAMP_S '2000-01-01 12:00:00'",
            1114,
            "2000-01-01 12:00:00",
            noon_2000.to_be_bytes().to_vec(),
        ),
        (
            "TIMESTAMP_MS '2000-01-01 12:00:00'",
            1114,
            "2000-01-01 12:00:00",
            noon_2000.to_be_bytes().to_vec(),
        ),
        (
            "TIMESTAMP_NS '2000-01-01 12:00:00'",
            1114,
            "2000-01-01 12:00:00",
            noon_2000.to_be_bytes().to_vec(),
        ),
        (
            "TIMESTAMP '-infinity'",
            1114,
            "-infinity",
            i64::MIN.to_be_bytes().to_vec(),
        ),
        (
            "TIMESTAMPTZ '1999-12-31 23:59:59.999999+00'",
            1184,
            "1999-12-31 23:59:59.999999+00",
            (-1i64).to_be_bytes().to_vec(),
        ),
        (
            "INTERVAL '1 year 2 days 3 hours'",
            1186,
            "1 year 2 days 03:00:00",
            [
                (3 * 3_600_000_000i64).to_be_bytes().as_slice(),
                &2i32.to_be_bytes(),
                &12i32.to_be_bytes(),
            ]
            .concat(),
        ),
        (
            "TIMETZ '01:00:00+05:30'",
            1266,
            "01:00:00+05:30",
            [
                3_600_000_000i64.to_be_bytes().as_slice(),
                &(-19_800i32).to_be_bytes(),
            ]
            .concat(),
        ),
        (
            "1234.5::DECIMAL(10,2)",
            1700,
            "1234.50",
            vec![0, 2, 0, 0, 0, 0, 0, 2, 0x04, 0xd2, 0x13, 0x88],
        ),
        (
            "-0.0001::DECIMAL(4,4)",
            1700,
            "-0.0001",
            vec![0, 1, 0xff, 0xff, 0x40, 0, 0, 4, 0, 1],
        ),
        ("0::DECIMAL(38,0)", 1700, "0", vec![0; 8]),
        (
            "10000::HUGEINT",
            1700,
            "10000",
            vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 1],
        ),
        (
            "18446744073709551615::UBIGINT",
            1700,
            "18446744073709551615",
            [
                [0, 5, 0, 4, 0, 0, 0, 0].as_slice(),
                &1844u16.to_be_bytes(),
                &6744u16.to_be_bytes(),
                &737u16.to_be_bytes(),
                &955u16.to_be_bytes(),
                &1615u16.to_be_bytes(),
            ]
            .concat(),
        ),
        (
            "UUID '123e4567-e89b-12d3-a456-426614174000'",
            2950,
            "123e4567-e89b-12d3-a456-426614174000",
            vec![
                0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17,
                0x40, 0,
            ],
        ),
        (
            "UUID 'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            2950,
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            vec![0xff; 16],
        ),
    ];
    for (expression, oid, text, binary) in cases {
        let (got_oid, got_text, got_binary) = both(&mut client, expression);
        assert_eq!((got_oid, got_text.as_str()), (*oid, *text), "{expression}");
        if *text == "NaN" {
            assert!(f32::from_be_bytes(got_binary.try_into().unwrap()).is_nan());
        } else {
            assert_eq!(&got_binary, binary, "{expression}");
        }
    }
}

#[test]
fn nulls_and_nested_values() {
    let server = TestServer::start();
    let mut client = server.connect();
    let outcome = client.extended(
        "SELECT NULL, NULL::INT, NULL::INT[], NULL::STRUCT(a INT)",
        true,
    );
    assert_eq!(outcome.ok().rows, [[None, None, None, None]]);
    for (expression, oid, text) in [
        ("[1, NULL, 3]", 1007, "{1,NULL,3}"),
        ("[]::BIGINT[]", 1016, "{}"),
        (
            "['a', '', 'NULL', 'x y', '{', '\"', '\\']",
            1009,
            "{a,\"\",\"NULL\",\"x y\",\"{\",\"\\\"\",\"\\\\\"}",
        ),
        ("[1.5, 2.5]::DECIMAL(5,2)[]", 1231, "{1.50,2.50}"),
        ("array_value(1, 2)::INT[2]", 1007, "{1,2}"),
        ("[true]", 1000, "{t}"),
        (
            "[TIMESTAMP '2000-01-01 00:00:00']",
            1115,
            "{\"2000-01-01 00:00:00\"}",
        ),
        ("['\\x01'::BLOB]", 1001, "{\"\\\\x01\"}"),
        (
            "{'a': 1, 'b': 'x\"y', 'c': NULL}",
            114,
            "{\"a\":1,\"b\":\"x\\\"y\",\"c\":null}",
        ),
        ("MAP {'k': MAP {1: 'x'}}", 114, "{\"k\":{\"1\":\"x\"}}"),
        ("[[1, 2], [3]]", 114, "[[1,2],[3]]"),
        ("union_value(a := 5)", 114, "5"),
        (
            "{'f': 'NaN'::DOUBLE, 'd': DATE '2000-01-01', 'n': 1.50::DECIMAL(4,2)}",
            114,
            "{\"f\":\"NaN\",\"d\":\"2000-01-01\",\"n\":1.50}",
        ),
    ] {
        let (got_oid, got_text, binary) = both(&mut client, expression);
        assert_eq!((got_oid, got_text.as_str()), (oid, text), "{expression}");
        if oid == 114 {
            assert_eq!(binary, text.as_bytes());
        }
    }
    let (_, _, binary) = both(&mut client, "[7, NULL]");
    let expected: Vec<u8> = [1i32, 1, 23, 2, 1, 4, 7, -1]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    assert_eq!(binary, expected);
    let (_, _, binary) = both(&mut client, "[]::INT[]");
    assert_eq!(
        binary,
        [0i32, 0, 23]
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect::<Vec<u8>>()
    );
}

#[test]
fn every_row_of_every_chunk_is_right() {
    let server = TestServer::start();
    let mut client = server.connect();
    let sql = "SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE repeat('ab', (i % 20)::INT) END, \
               CASE WHEN i % 5 = 0 THEN NULL ELSE [i, NULL, i + 1] END FROM range(10000) t(i)";
    for outcome in [client.query(sql).ok(), client.extended(sql, false).ok()] {
        for (i, row) in outcome.rows.iter().enumerate() {
            let text = |column: usize| {
                row[column]
                    .as_deref()
                    .map(|b| std::str::from_utf8(b).unwrap())
            };
            assert_eq!(text(0).unwrap(), i.to_string());
            let expected = (i % 3 != 0).then(|| "ab".repeat(i % 20));
            assert_eq!(text(1), expected.as_deref());
            let expected = (i % 5 != 0).then(|| format!("{{{i},NULL,{}}}", i + 1));
            assert_eq!(text(2), expected.as_deref());
        }
        assert_eq!(outcome.rows.len(), 10_000);
    }
}

#[test]
fn parameters_in_text_and_binary() {
    let server = TestServer::start();
    let mut client = server.connect();
    // Binary: int4, int8, float8, text, bool, date, timestamp, timestamptz, numeric 12.50, uuid, bytea.
    let values: &[(u32, Vec<u8>, &str)] = &[
        (23, 7i32.to_be_bytes().to_vec(), "7"),
        (20, (-7i64).to_be_bytes().to_vec(), "-7"),
        (701, 0.1f64.to_be_bytes().to_vec(), "0.1"),
        (25, b"text".to_vec(), "text"),
        (16, vec![1], "t"),
        (1082, 1i32.to_be_bytes().to_vec(), "2000-01-02"),
        (
            1114,
            1_000_000i64.to_be_bytes().to_vec(),
            "2000-01-01 00:00:01",
        ),
        (1184, 0i64.to_be_bytes().to_vec(), "2000-01-01 00:00:00+00"),
        (
            1700,
            vec![0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 0x13, 0x88],
            "12.50",
        ),
        (2950, vec![0x11; 16], "11111111-1111-1111-1111-111111111111"),
        (17, vec![1, 2], "\\x0102"),
        (1083, 1_500_000i64.to_be_bytes().to_vec(), "00:00:01.5"),
    ];
    for (oid, binary, text) in values {
        let mut parse = b"\0SELECT $1 AS v\0\0\x01".to_vec();
        parse.extend_from_slice(&oid.to_be_bytes());
        client.send('P', &parse);
        let mut bind = b"\0\0\0\x01\0\x01\0\x01".to_vec();
        bind.extend_from_slice(&(binary.len() as u32).to_be_bytes());
        bind.extend_from_slice(binary);
        bind.extend_from_slice(&[0, 0]);
        client.send('B', &bind);
        client.send('E', b"\0\0\0\0\0");
        client.send('S', b"");
        assert_eq!(client.outcome().ok().text(0, 0), *text, "oid {oid}");
    }
    client.send('P', b"\0SELECT $1::INT\0\0\x01\0\0\0\x17");
    client.send('B', b"\0\0\0\x01\0\x01\0\x01\0\0\0\x02ab\0\0");
    client.send('S', b"");
    assert_eq!(client.outcome().error().code, "22P03");
}
