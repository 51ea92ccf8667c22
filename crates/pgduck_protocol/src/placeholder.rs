//! The placeholder of a `RECEIVE` query: the one string literal that stands for the client's stream.
//!
//! Two forms are accepted: the quoted literal `'@@PG_LAKE_RECV@@'`, and the older bare token
//! `@@PGLAKE_RECV_SINK@@`. Only a token counts: the same characters inside a longer string, a
//! quoted identifier or a comment are data.

use crate::sql::{Token, TokenKind, quote_literal, tokens};

/// The string literal that stands for the stream, with its quotes.
pub const PLACEHOLDER_LITERAL: &str = "'@@PG_LAKE_RECV@@'";

/// The older form: a bare token, without quotes.
pub const LEGACY_PLACEHOLDER: &str = "@@PGLAKE_RECV_SINK@@";

/// Why a `RECEIVE` query cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// The query does not say where its input goes.
    #[error("RECEIVE query does not contain the placeholder '@@PG_LAKE_RECV@@'")]
    Missing,
    /// The query names its input more than once; a stream can be read only once.
    #[error("RECEIVE query contains the placeholder '@@PG_LAKE_RECV@@' more than once")]
    Repeated,
}

/// Where the placeholder stands in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder<'a> {
    sql: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Placeholder<'a> {
    /// Finds the placeholder, which must stand in the query exactly once.
    pub fn find(sql: &'a str) -> Result<Placeholder<'a>, PlaceholderError> {
        let mut found = None;
        let mut at = 0;
        let all: Vec<Token<'a>> = tokens(sql).collect();
        while at < all.len() {
            let length = match_at(sql, &all[at..]);
            if length > 0 {
                if found.is_some() {
                    return Err(PlaceholderError::Repeated);
                }
                let (start, end) = (all[at].start, all[at + length - 1].end());
                found = Some(Placeholder { sql, start, end });
            }
            at += length.max(1);
        }
        found.ok_or(PlaceholderError::Missing)
    }

    /// The query with the placeholder replaced by a string literal of this value.
    pub fn replace(&self, value: &str) -> String {
        let (before, after) = (&self.sql[..self.start], &self.sql[self.end..]);
        format!("{before}{}{after}", quote_literal(value))
    }

    /// The lower-case name of the function whose first argument the placeholder is, if it is one.
    pub fn function(&self) -> Option<String> {
        let before: Vec<Token<'_>> = tokens(&self.sql[..self.start])
            .filter(|token| token.kind != TokenKind::Comment)
            .collect();
        match before.as_slice() {
            [.., name, open] if name.kind == TokenKind::Word && open.is_symbol(b'(') => {
                Some(name.text.to_ascii_lowercase())
            }
            _ => None,
        }
    }

    /// Whether the call that the placeholder is an argument of has the named argument `name = value`.
    pub fn has_argument(&self, name: &str, value: &str) -> bool {
        let mut depth = 0i32;
        let mut window = [None::<Token<'_>>; 3];
        let rest = &self.sql[self.end..];
        for token in tokens(rest).filter(|token| token.kind != TokenKind::Comment) {
            match token.kind {
                TokenKind::Symbol(b'(' | b'[' | b'{') => depth += 1,
                TokenKind::Symbol(b')' | b']' | b'}') => depth -= 1,
                _ => {}
            }
            if depth < 0 {
                return false;
            }
            window = [window[1], window[2], Some(token)];
            if let [Some(left), Some(equals), Some(right)] = window
                && depth == 0
                && left.is_word(name)
                && equals.is_symbol(b'=')
                && right.is_word(value)
            {
                return true;
            }
        }
        false
    }
}

/// How many tokens from the front make a placeholder: one (quoted form), five (bare form), or none.
fn match_at(sql: &str, tokens: &[Token<'_>]) -> usize {
    let first = &tokens[0];
    if first.kind == TokenKind::String && first.text == PLACEHOLDER_LITERAL {
        return 1;
    }
    // The tokenizer sees the bare form as `@ @ PGLAKE_RECV_SINK @ @`.
    if first.is_symbol(b'@')
        && sql[first.start..].starts_with(LEGACY_PLACEHOLDER)
        && tokens.len() >= 5
        && tokens[4].end() == first.start + LEGACY_PLACEHOLDER.len()
    {
        return 5;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_replaced_by_a_literal() {
        for form in [PLACEHOLDER_LITERAL, LEGACY_PLACEHOLDER] {
            let sql = format!("SELECT * FROM read_csv({form}, header=false)");
            let found = Placeholder::find(&sql).unwrap();
            assert_eq!(
                found.replace("/x'y"),
                "SELECT * FROM read_csv('/x''y', header=false)"
            );
            assert_eq!(found.function().as_deref(), Some("read_csv"));
        }
    }

    #[test]
    fn none_or_more_than_one_is_an_error() {
        assert_eq!(
            Placeholder::find("SELECT 1"),
            Err(PlaceholderError::Missing)
        );
        let twice = format!("SELECT {PLACEHOLDER_LITERAL}, {LEGACY_PLACEHOLDER}");
        assert_eq!(Placeholder::find(&twice), Err(PlaceholderError::Repeated));
        let twice = format!("SELECT {PLACEHOLDER_LITERAL}, {PLACEHOLDER_LITERAL}");
        assert_eq!(Placeholder::find(&twice), Err(PlaceholderError::Repeated));
    }

    #[test]
    fn the_same_characters_elsewhere_are_data() {
        for sql in [
            "SELECT 'a @@PG_LAKE_RECV@@ b'",
            "SELECT \"'@@PG_LAKE_RECV@@'\"",
            "SELECT 1 -- '@@PG_LAKE_RECV@@'",
            "SELECT /* @@PGLAKE_RECV_SINK@@ */ 1",
            "SELECT $$'@@PG_LAKE_RECV@@'$$",
            "SELECT '''@@PG_LAKE_RECV@@'''",
            "SELECT E'@@PG_LAKE_RECV@@'",
            "SELECT '@@pg_lake_recv@@'",
            "SELECT 'x @@PGLAKE_RECV_SINK@@'",
            "SELECT @@PGLAKE_RECV_SINK @@",
        ] {
            assert!(
                matches!(Placeholder::find(sql), Err(PlaceholderError::Missing)),
                "{sql}"
            );
        }
        let data =
            format!("SELECT '{LEGACY_PLACEHOLDER}', * FROM read_blob({PLACEHOLDER_LITERAL})");
        assert!(Placeholder::find(&data).is_ok());
    }

    #[test]
    fn arguments_of_the_call_are_found_and_those_of_others_are_not() {
        let sql = "SELECT * FROM read_csv(/* c */ '@@PG_LAKE_RECV@@', columns={'a':'INT'}, auto_detect = FALSE) WHERE x=true";
        let found = Placeholder::find(sql).unwrap();
        assert!(found.has_argument("auto_detect", "false"));
        assert!(!found.has_argument("x", "true"));
        assert!(!found.has_argument("header", "false"));
        let bare = Placeholder::find("SELECT '@@PG_LAKE_RECV@@' AS p").unwrap();
        assert_eq!(bare.function(), None);
    }
}
