//! The members of a JSON object and the elements of an array as slices of the text, so that a part
//! of a document can be kept or moved without being taken apart.

use serde::de::IgnoredAny;

use crate::error::{Context, Error, ErrorKind, Result};

/// The members of the object in `text`: key without quotes (as written, escapes included) and value.
pub(crate) fn members(text: &str) -> Result<Vec<(&str, &str)>> {
    let mut scanner = Scanner::start(text, b'{')?;
    let mut members = Vec::new();
    while let Some(key) = scanner.next_value() {
        let value = scanner.next_value().ok_or_else(unexpected_end)?;
        members.push((key.trim_matches('"'), value));
    }
    Ok(members)
}

/// The elements of the array in `text`.
pub(crate) fn elements(text: &str) -> Result<Vec<&str>> {
    let mut scanner = Scanner::start(text, b'[')?;
    let mut elements = Vec::new();
    while let Some(element) = scanner.next_value() {
        elements.push(element);
    }
    Ok(elements)
}

/// The text between the brackets of the array in `text`.
pub(crate) fn array_content(text: &str) -> Result<&str> {
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner
        .map(str::trim)
        .ok_or_else(|| Error::new(ErrorKind::InvalidMetadata, "expected an array"))
}

/// Checks that `bytes` are one JSON document in UTF-8: what the scanner relies on.
pub(crate) fn checked_document(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).context(ErrorKind::InvalidMetadata, "not UTF-8")?;
    serde_json::from_str::<IgnoredAny>(text).context(ErrorKind::InvalidMetadata, "not JSON")?;
    Ok(text)
}

fn unexpected_end() -> Error {
    Error::new(ErrorKind::InvalidMetadata, "unexpected end of JSON")
}

/// Walks over the values of one array or object. The text is known to be JSON.
struct Scanner<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scanner<'a> {
    fn start(text: &'a str, bracket: u8) -> Result<Self> {
        let position = text
            .bytes()
            .position(|byte| !byte.is_ascii_whitespace())
            .unwrap_or(0);
        if text.as_bytes().get(position) != Some(&bracket) {
            let expected = if bracket == b'{' {
                "an object"
            } else {
                "an array"
            };
            return Err(Error::new(
                ErrorKind::InvalidMetadata,
                format!("expected {expected}"),
            ));
        }
        Ok(Self {
            text,
            position: position + 1,
        })
    }

    /// The next key or value; none at the closing bracket.
    fn next_value(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        while matches!(
            bytes.get(self.position)?,
            b' ' | b'\n' | b'\r' | b'\t' | b',' | b':'
        ) {
            self.position += 1;
        }
        let start = self.position;
        let mut depth = 0_usize;
        loop {
            match bytes.get(self.position)? {
                b'"' => self.position = end_of_string(bytes, self.position)?,
                b'{' | b'[' => {
                    depth += 1;
                    self.position += 1;
                }
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    self.position += 1;
                }
                b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' if depth == 0 => break,
                _ => {
                    self.position += 1;
                    continue;
                }
            }
            if depth == 0 {
                break;
            }
        }
        (start < self.position).then(|| &self.text[start..self.position])
    }
}

/// The position after the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut position = start + 1;
    loop {
        match bytes.get(position)? {
            b'"' => return Some(position + 1),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_found_whatever_they_hold() {
        let text = r#" { "a" : 1, "b":[ {"x":"]}\"" } ,2],"c": "q,:\\" ,"d":null, "e":{}} "#;
        let found = members(checked_document(text.as_bytes()).unwrap()).unwrap();
        let expected = [
            ("a", "1"),
            ("b", r#"[ {"x":"]}\"" } ,2]"#),
            ("c", r#""q,:\\""#),
            ("d", "null"),
            ("e", "{}"),
        ];
        assert_eq!(found, expected);
        assert_eq!(elements(found[1].1).unwrap(), [r#"{"x":"]}\"" }"#, "2"]);
        assert_eq!(elements("[]").unwrap(), Vec::<&str>::new());
        assert_eq!(members("{ }").unwrap(), []);
    }

    #[test]
    fn other_documents_are_refused() {
        assert!(checked_document(b"{\"a\":").is_err());
        assert!(checked_document(b"\xff").is_err());
        assert!(members("[1]").is_err());
        assert!(array_content("{}").is_err());
    }
}
