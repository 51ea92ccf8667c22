//! What the CSV encoder of `pgduck_protocol` writes is what DuckDB reads, exactly, through RECEIVE.

use pgduck_protocol::csv::{FieldKind, RowEncoder, read_csv_options};

use crate::harness::TestServer;

/// A small generator of pseudo-random numbers (xorshift), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The RECEIVE command for columns of these kinds, arrays where `true`.
fn receive_sql(kinds: &[(FieldKind, bool)], target: &str, max_line_bytes: u64) -> String {
    let names: Vec<String> = (0..kinds.len()).map(|index| format!("c{index}")).collect();
    let types: Vec<String> = kinds
        .iter()
        .map(|(kind, array)| {
            if *array {
                "VARCHAR".to_owned()
            } else {
                kind.csv_type()
            }
        })
        .collect();
    let select: Vec<String> = kinds
        .iter()
        .zip(&names)
        .map(|((kind, array), name)| {
            let value = match array {
                true => kind.decode_array_expression(name),
                false => kind.decode_expression(name),
            };
            format!("{value} AS {name}")
        })
        .collect();
    let columns = names
        .iter()
        .map(String::as_str)
        .zip(types.iter().map(String::as_str));
    format!(
        "RECEIVE COPY (SELECT {} FROM read_csv('@@PG_LAKE_RECV@@', {})) TO '{target}' (FORMAT parquet)",
        select.join(", "),
        read_csv_options(columns, max_line_bytes)
    )
}

/// Text that looks like rows, quotes, escapes and NULLs of the dialect.
fn hostile_text(random: &mut Random) -> String {
    const PARTS: &[&str] = &[
        "\n",
        "\r",
        "\r\n",
        "\"",
        "\"\"",
        ",",
        "\\N",
        "\n1,\"2\"\n3,",
        "\u{1}",
        "\u{1}n",
        "\u{1}e",
        "abc",
        " ",
        "é",
        "日本",
        "\t",
        "\\",
        "\"\n",
        ",\"",
        "\u{feff}",
        "NULL",
        "'",
        "\u{1f}",
        "x\n\n",
    ];
    (0..random.below(12))
        .map(|_| PARTS[random.below(PARTS.len() as u64) as usize])
        .collect()
}

#[test]
fn hostile_text_survives_in_parallel_over_a_pipe() {
    let server = TestServer::start();
    let mut client = server.connect();
    for seed in [1u64, 42, 0xdead_beef] {
        let mut random = Random(seed);
        let mut rows = RowEncoder::default();
        let mut values = Vec::new();
        // More than one buffer of DuckDB's reader (32 MB), so that threads start in the middle.
        while rows.buffer().len() < 48 << 20 {
            let value = match random.below(50) {
                0 => None,
                1 => Some(hostile_text(&mut random).repeat(random.below(400) as usize + 1)),
                _ => Some(hostile_text(&mut random)),
            };
            rows.int(values.len() as i64);
            match &value {
                Some(value) => rows.text(value.as_bytes()),
                None => rows.null(),
            }
            rows.end_row();
            values.push(value);
        }
        let target = server.path("hostile.parquet");
        let kinds = [
            (FieldKind::Number("BIGINT"), false),
            (FieldKind::Text, false),
        ];
        let outcome = client
            .receive(&receive_sql(&kinds, &target, 0), rows.buffer())
            .ok();
        assert_eq!(outcome.tags, [format!("COPY {}", values.len())]);
        let read = client
            .extended(&format!("SELECT c0, c1 FROM '{target}'"), true)
            .ok();
        assert_eq!(read.rows.len(), values.len());
        for (index, (row, value)) in read.rows.iter().zip(&values).enumerate() {
            assert_eq!(
                row[0].as_deref(),
                Some((index as i64).to_be_bytes().as_slice())
            );
            assert_eq!(
                row[1].as_deref(),
                value.as_deref().map(str::as_bytes),
                "row {index}"
            );
        }
    }
}

#[test]
fn scalars_survive() {
    let server = TestServer::start();
    let mut client = server.connect();
    let mut random = Random(7);
    let mut rows = RowEncoder::default();
    let kinds = [
        (FieldKind::Boolean, false),
        (FieldKind::Number("SMALLINT"), false),
        (FieldKind::Number("BIGINT"), false),
        (FieldKind::Number("REAL"), false),
        (FieldKind::Number("DOUBLE"), false),
        (FieldKind::Date, false),
        (FieldKind::Time, false),
        (FieldKind::Timestamp, false),
        (FieldKind::TimestampTz, false),
        (FieldKind::Uuid, false),
        (FieldKind::Blob, false),
        (FieldKind::Decimal(38, 10), false),
    ];
    let mut expected = Vec::new();
    for row in 0..20_000u64 {
        let boolean = random.below(2) == 1;
        let small = random.next() as i16;
        let big = if row == 0 {
            i64::MIN
        } else {
            random.next() as i64
        };
        let single = match row {
            0 => f32::INFINITY,
            1 => f32::MIN_POSITIVE / 8.0,
            _ => Some(f32::from_bits(random.next() as u32))
                .filter(|f| !f.is_nan())
                .unwrap_or(0.5),
        };
        let double = match row {
            0 => f64::NEG_INFINITY,
            1 => 5e-324,
            2 => -0.0,
            _ => Some(f64::from_bits(random.next()))
                .filter(|f| !f.is_nan())
                .unwrap_or(0.5),
        };
        // From 4712 BC to 9999.
        let date = random.below(5_373_484) as i32 - 2_440_588;
        let time = random.below(86_400_000_001) as i64;
        let stamp = i64::from(date) * 86_400_000_000 + random.below(86_400_000_000) as i64;
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&random.next().to_be_bytes());
        uuid[8..].copy_from_slice(&random.next().to_be_bytes());
        let blob: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        rows.boolean(boolean);
        rows.int(small.into());
        rows.int(big);
        rows.float4(single);
        rows.float8(double);
        rows.int(date.into());
        rows.time(time);
        rows.int(stamp);
        rows.int(stamp);
        rows.uuid(&uuid);
        rows.blob(&blob);
        rows.plain(format!("{}.{:010}", big, random.below(10_000_000_000)).as_bytes());
        rows.end_row();
        let epoch = 10_957 * 86_400_000_000;
        expected.push(vec![
            vec![u8::from(boolean)],
            small.to_be_bytes().to_vec(),
            big.to_be_bytes().to_vec(),
            single.to_be_bytes().to_vec(),
            double.to_be_bytes().to_vec(),
            (date - 10_957).to_be_bytes().to_vec(),
            time.to_be_bytes().to_vec(),
            (stamp - epoch).to_be_bytes().to_vec(),
            (stamp - epoch).to_be_bytes().to_vec(),
            uuid.to_vec(),
            blob,
        ]);
    }
    let target = server.path("scalars.parquet");
    client
        .receive(&receive_sql(&kinds, &target, 0), rows.buffer())
        .ok();
    let read = client
        .extended(&format!("SELECT * FROM '{target}'"), true)
        .ok();
    assert_eq!(read.rows.len(), expected.len());
    for (index, (row, expected)) in read.rows.iter().zip(&expected).enumerate() {
        for (column, value) in expected.iter().enumerate() {
            assert_eq!(
                row[column].as_ref(),
                Some(value),
                "row {index} column {column}"
            );
        }
    }
}

#[test]
fn arrays_survive() {
    let server = TestServer::start();
    let mut client = server.connect();
    let mut random = Random(11);
    let mut rows = RowEncoder::default();
    let kinds = [
        (FieldKind::Text, true),
        (FieldKind::Number("INTEGER"), true),
        (FieldKind::Blob, true),
        (FieldKind::Timestamp, true),
        (FieldKind::Boolean, true),
        (FieldKind::Date, true),
        (FieldKind::Time, true),
        (FieldKind::Uuid, true),
        (FieldKind::Number("DOUBLE"), true),
        (FieldKind::Decimal(20, 2), true),
        (FieldKind::TimestampTz, true),
    ];
    let mut texts: Vec<Option<Vec<Option<String>>>> = Vec::new();
    for row in 0..3_000 {
        if row % 10 == 0 {
            for _ in 0..kinds.len() {
                rows.null();
            }
            rows.end_row();
            texts.push(None);
            continue;
        }
        let list: Vec<Option<String>> = (0..random.below(5))
            .map(|_| (random.below(4) > 0).then(|| hostile_text(&mut random)))
            .collect();
        let mut array = rows.array();
        for text in &list {
            match text {
                Some(text) => array.text(text.as_bytes()),
                None => array.null(),
            }
        }
        array.finish();
        let mut array = rows.array();
        array.int(row);
        array.null();
        array.int(-row);
        array.finish();
        let mut array = rows.array();
        array.blob(&row.to_be_bytes());
        array.blob(b"");
        array.finish();
        let mut array = rows.array();
        array.int(row * 1_000_001);
        array.finish();
        let mut array = rows.array();
        array.boolean(row % 2 == 0);
        array.finish();
        let mut array = rows.array();
        array.int(row);
        array.finish();
        let mut array = rows.array();
        array.time(row * 1_000_003);
        array.finish();
        let mut array = rows.array();
        array.uuid(&[row as u8; 16]);
        array.finish();
        let mut array = rows.array();
        array.float8(row as f64 / 3.0);
        array.float8(f64::NAN);
        array.finish();
        let mut array = rows.array();
        array.plain(format!("{row}.25").as_bytes());
        array.finish();
        rows.array().finish();
        rows.end_row();
        texts.push(Some(list));
    }
    let target = server.path("arrays.parquet");
    client
        .receive(&receive_sql(&kinds, &target, 0), rows.buffer())
        .ok();
    let read = client
        .query(&format!(
            "SELECT c1, hex(c2[1]), octet_length(c2[2]), epoch_us(c3[1]), c4, c5[1] - DATE '1970-01-01', \
             c6[1], c7, c8[1] = (c1[1] / 3.0), c8[2], c9, c10 FROM '{target}'"
        ))
        .ok();
    for (row, values) in read.rows.iter().enumerate() {
        let text = |column: usize| {
            values[column]
                .as_deref()
                .map(|b| std::str::from_utf8(b).unwrap())
        };
        if row % 10 == 0 {
            assert!(values.iter().all(Option::is_none), "row {row}");
            continue;
        }
        assert_eq!(
            text(0),
            Some(format!("{{{row},NULL,{}}}", -(row as i64)).as_str())
        );
        assert_eq!(text(1), Some(format!("{row:016X}").as_str()));
        assert_eq!(text(2), Some("0"));
        assert_eq!(text(3), Some((row * 1_000_001).to_string().as_str()));
        assert_eq!(text(4), Some(if row % 2 == 0 { "{t}" } else { "{f}" }));
        assert_eq!(text(5), Some(row.to_string().as_str()));
        assert!(
            text(7)
                .unwrap()
                .starts_with(&format!("{{{:02x}{:02x}", row as u8, row as u8))
        );
        assert_eq!((text(8), text(9)), (Some("t"), Some("NaN")));
        assert_eq!(
            (text(10), text(11)),
            (Some(format!("{{{row}.25}}").as_str()), Some("{}"))
        );
    }
    let read = client
        .extended(&format!("SELECT c0 FROM '{target}'"), true)
        .ok();
    for (row, list) in read.rows.iter().zip(&texts) {
        assert_eq!(row[0].as_deref().map(text_array), *list);
    }
}

/// Decodes a binary `text[]`.
fn text_array(bytes: &[u8]) -> Vec<Option<String>> {
    let word = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let count = if word(0) == 0 { 0 } else { word(12) };
    let mut at = 20;
    (0..count)
        .map(|_| {
            let length = word(at);
            at += 4;
            usize::try_from(length).ok().map(|length| {
                at += length;
                String::from_utf8(bytes[at - length..at].to_vec()).unwrap()
            })
        })
        .collect()
}

#[test]
fn long_rows_need_only_the_option_that_admits_them() {
    let server = TestServer::start();
    let mut client = server.connect();
    let kinds = [
        (FieldKind::Number("BIGINT"), false),
        (FieldKind::Text, false),
    ];
    let mut rows = RowEncoder::default();
    let value = "line, \"quoted\"\n".repeat(12 << 16);
    for index in 0..3 {
        rows.int(index);
        rows.text(value.as_bytes());
        rows.end_row();
        rows.int(index);
        rows.text(b"short");
        rows.end_row();
    }
    let target = server.path("long.parquet");
    let outcome = client.receive(&receive_sql(&kinds, &target, 0), rows.buffer());
    assert_eq!(outcome.error().code, "22P04");
    client
        .receive(&receive_sql(&kinds, &target, 64 << 20), rows.buffer())
        .ok();
    let read = client
        .extended(&format!("SELECT c1 FROM '{target}'"), true)
        .ok();
    assert_eq!(read.rows.len(), 6);
    assert_eq!(read.rows[4][0].as_deref(), Some(value.as_bytes()));
}
