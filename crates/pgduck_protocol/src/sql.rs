//! A small SQL tokenizer that follows the lexical rules of PostgreSQL and DuckDB.
//!
//! It knows strings (`'…'`, `E'…'`, `$tag$…$tag$`), quoted identifiers, comments (line, and nested block
//! comments), words, numbers, and single punctuation characters. That is enough to tell a token from
//! the same characters inside a string or a comment, and it makes no attempt to be a parser.
//! Lexical rules: PostgreSQL documentation, section 4.1.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// `'…'`: a standard string, in which only `''` is special.
    String,
    /// `E'…'`: a string with backslash escapes.
    EscapeString,
    /// `$tag$…$tag$`.
    DollarString,
    /// `"…"`.
    QuotedIdentifier,
    /// A key word or an unquoted identifier.
    Word,
    /// A number.
    Number,
    /// `-- …` or `/* … */`; may be unterminated.
    Comment,
    /// A single character of anything else: operators, parentheses, commas, semicolons.
    Symbol(u8),
    /// A string, identifier or comment that never ends.
    Unterminated,
}

/// A token and where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its text, with quotes.
    pub text: &'a str,
    /// Byte offset of its first character.
    pub start: usize,
}

impl Token<'_> {
    /// Byte offset behind the token.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether the token is this key word, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether the token is this punctuation character.
    pub fn is_symbol(&self, symbol: u8) -> bool {
        self.kind == TokenKind::Symbol(symbol)
    }

    /// The value of a string literal; `None` for any other token.
    pub fn string_value(&self) -> Option<String> {
        match self.kind {
            TokenKind::String => Some(self.text[1..self.text.len() - 1].replace("''", "'")),
            TokenKind::EscapeString => Some(unescape(&self.text[2..self.text.len() - 1])),
            TokenKind::DollarString => {
                let tag = self.text[1..].find('$').map_or(0, |at| at + 2);
                Some(self.text[tag..self.text.len() - tag].to_owned())
            }
            _ => None,
        }
    }
}

/// Iterates over the tokens of a text; white space is skipped, comments are tokens.
pub fn tokens(sql: &str) -> Tokens<'_> {
    Tokens { sql, position: 0 }
}

/// Iterates over the tokens of a text that mean something: comments are skipped too.
pub fn significant_tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    tokens(sql).filter(|token| token.kind != TokenKind::Comment)
}

/// Renders a value as a standard string literal.
pub fn quote_literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Iterator over the tokens of a text, see [`tokens`].
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    sql: &'a str,
    position: usize,
}

impl<'a> Tokens<'a> {
    /// Makes the token that reaches from `start` to `end`.
    fn token(&mut self, kind: TokenKind, start: usize, end: usize) -> Option<Token<'a>> {
        self.position = end;
        Some(Token {
            kind,
            text: &self.sql[start..end],
            start,
        })
    }

    /// A token that ought to end but does not: it takes the rest of the text.
    fn bounded(&mut self, kind: TokenKind, start: usize, end: Option<usize>) -> Option<Token<'a>> {
        match end {
            Some(end) => self.token(kind, start, end),
            None => self.token(TokenKind::Unterminated, start, self.sql.len()),
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.sql.as_bytes();
        let mut start = self.position;
        while start < bytes.len() && is_space(bytes[start]) {
            start += 1;
        }
        let byte = *bytes.get(start)?;
        let next = bytes.get(start + 1).copied();
        match byte {
            b'\'' => self.bounded(TokenKind::String, start, quoted_end(bytes, start, false)),
            b'"' => self.bounded(
                TokenKind::QuotedIdentifier,
                start,
                quoted_end(bytes, start, false),
            ),
            b'e' | b'E' if next == Some(b'\'') => self.bounded(
                TokenKind::EscapeString,
                start,
                quoted_end(bytes, start + 1, true),
            ),
            b'-' if next == Some(b'-') => {
                let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |n| start + n);
                self.token(TokenKind::Comment, start, end)
            }
            b'/' if next == Some(b'*') => {
                self.bounded(TokenKind::Comment, start, block_comment_end(bytes, start))
            }
            b'$' => match dollar_tag_end(bytes, start) {
                Some(tag_end) => {
                    let tag = &bytes[start..tag_end];
                    let end = memchr::memmem::find(&bytes[tag_end..], tag)
                        .map(|at| tag_end + at + tag.len());
                    self.bounded(TokenKind::DollarString, start, end)
                }
                None => self.token(TokenKind::Symbol(b'$'), start, start + 1),
            },
            _ if is_word_start(byte) => {
                let end = run_end(bytes, start, |b| {
                    is_word_start(b) || b.is_ascii_digit() || b == b'$'
                });
                self.token(TokenKind::Word, start, end)
            }
            b'0'..=b'9' => {
                let end = run_end(bytes, start, |b| {
                    is_word_start(b) || b.is_ascii_digit() || b == b'.'
                });
                self.token(TokenKind::Number, start, end)
            }
            _ => self.token(TokenKind::Symbol(byte), start, start + 1),
        }
    }
}

/// White space between tokens.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// First byte of a word; every non-ASCII character counts as a letter.
fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// End of the run of bytes that `accept` takes.
fn run_end(bytes: &[u8], start: usize, accept: impl Fn(u8) -> bool) -> usize {
    bytes[start..]
        .iter()
        .position(|&b| !accept(b))
        .map_or(bytes.len(), |n| start + n)
}

/// End of the quoted thing whose opening quote is at `start`; a doubled quote does not end it.
fn quoted_end(bytes: &[u8], start: usize, backslash: bool) -> Option<usize> {
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if backslash => at += 2,
            b if b == quote => {
                if bytes.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return Some(at + 1);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// End of the block comment that begins at `start`; block comments nest.
fn block_comment_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => {
                depth += 1;
                at += 2;
            }
            (b'*', b'/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// End of the opening tag `$…$` at `start`; `None` if this is a parameter (`$1`) or a lone dollar sign.
fn dollar_tag_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    if bytes.get(at).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    while at < bytes.len() {
        match bytes[at] {
            b'$' => return Some(at + 1),
            b if is_word_start(b) || b.is_ascii_digit() => at += 1,
            _ => return None,
        }
    }
    None
}

/// Resolves the escapes of an `E'…'` string that matter for file names; the rest is kept as it is.
fn unescape(body: &str) -> String {
    let mut value = String::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                chars.next_if_eq(&'\'');
                value.push('\'');
            }
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some('b') => value.push('\u{8}'),
                Some('f') => value.push('\u{c}'),
                Some(other) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<(TokenKind, &str)> {
        tokens(sql).map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn strings_end_where_postgres_ends_them() {
        use TokenKind::*;
        assert_eq!(kinds("'a''b' 'c'"), [(String, "'a''b'"), (String, "'c'")]);
        assert_eq!(kinds(r"'a\' x"), [(String, r"'a\'"), (Word, "x")]);
        assert_eq!(
            kinds(r"E'a\'b' x"),
            [(EscapeString, r"E'a\'b'"), (Word, "x")]
        );
        assert_eq!(
            kinds("$$a'b$$ $t$ $$ $t$"),
            [(DollarString, "$$a'b$$"), (DollarString, "$t$ $$ $t$")]
        );
        assert_eq!(kinds("'open"), [(Unterminated, "'open")]);
        assert_eq!(kinds("$1"), [(Symbol(b'$'), "$"), (Number, "1")]);
    }

    #[test]
    fn comments_hide_quotes_and_nest() {
        use TokenKind::*;
        assert_eq!(
            kinds("a -- it's\nb"),
            [(Word, "a"), (Comment, "-- it's"), (Word, "b")]
        );
        assert_eq!(
            kinds("/* /* ' */ */ x"),
            [(Comment, "/* /* ' */ */"), (Word, "x")]
        );
        assert_eq!(kinds("/* /* */ x"), [(Unterminated, "/* /* */ x")]);
        assert_eq!(significant_tokens("/* c */ x -- d").count(), 1);
    }

    #[test]
    fn identifiers_hide_everything() {
        use TokenKind::*;
        assert_eq!(
            kinds(r#""a""'b" c"#),
            [(QuotedIdentifier, r#""a""'b""#), (Word, "c")]
        );
    }

    #[test]
    fn values_of_strings() {
        let value = |sql: &'static str| tokens(sql).next().and_then(|t| t.string_value());
        assert_eq!(value("'a''b'").as_deref(), Some("a'b"));
        assert_eq!(value(r"E'a\\b\'c''d'").as_deref(), Some(r"a\b'c'd"));
        assert_eq!(value("$x$a'$$b$x$").as_deref(), Some("a'$$b"));
        assert_eq!(value("word"), None);
        assert_eq!(quote_literal("it's"), "'it''s'");
    }

    #[test]
    fn any_text_is_consumed_without_panic() {
        for sql in [
            "", " ", "é'", "E'", r"E'\", "$", "$a", "/*", "--", "\"", "1.5e3x", "a$b$c",
        ] {
            let total: usize = tokens(sql).map(|t| t.text.len()).sum();
            assert!(total <= sql.len());
        }
    }
}
