//! Avro files as other writers make them: compressed, and with a schema of the same meaning that is
//! not the same text.

/// The same records in deflated blocks, under a schema with one more space.
pub fn as_other_writer(file: &[u8]) -> Vec<u8> {
    let mut input = file;
    let magic = take(&mut input, 4);
    let mut metadata = Vec::new();
    loop {
        let count = read_long(&mut input);
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let key = read_bytes(&mut input);
            metadata.push((key, read_bytes(&mut input).to_vec()));
        }
    }
    metadata.retain(|(key, _)| *key != b"avro.codec");
    for (key, value) in &mut metadata {
        if *key == b"avro.schema" {
            value.insert(1, b' ');
        }
    }
    metadata.push((b"avro.codec", b"deflate".to_vec()));
    let sync_marker = take(&mut input, 16);

    let mut output = magic.to_vec();
    write_long(&mut output, metadata.len());
    for (key, value) in metadata {
        write_bytes(&mut output, key);
        write_bytes(&mut output, &value);
    }
    write_long(&mut output, 0);
    output.extend_from_slice(sync_marker);
    while !input.is_empty() {
        write_long(&mut output, read_long(&mut input));
        write_bytes(&mut output, &deflated(read_bytes(&mut input)));
        output.extend_from_slice(take(&mut input, 16));
    }
    output
}

/// Deflated without being any smaller (RFC 1951, section 3.2.4, "Non-compressed blocks").
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    let mut chunks = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(chunk) = chunks.next() {
        output.push(u8::from(chunks.peek().is_none()));
        let length = chunk.len() as u16;
        output.extend_from_slice(&length.to_le_bytes());
        output.extend_from_slice(&(!length).to_le_bytes());
        output.extend_from_slice(chunk);
    }
    output
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(length);
    *input = rest;
    taken
}

/// A count or a size, which is not negative.
fn read_long(input: &mut &[u8]) -> usize {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(input, 1)[0];
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    assert_eq!(value & 1, 0);
    value >> 1
}

fn read_bytes<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let length = read_long(input);
    take(input, length)
}

fn write_long(output: &mut Vec<u8>, value: usize) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        output.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}

fn write_bytes(output: &mut Vec<u8>, bytes: &[u8]) {
    write_long(output, bytes.len());
    output.extend_from_slice(bytes);
}
