//! What the text of a query string tells that DuckDB's C interface does not: which file a `COPY` writes, and
//! whether a transaction statement opens or ends one.

use pgduck_protocol::sql::{Token, TokenKind, significant_tokens};

use crate::duck::Kind;

/// One statement's text, as far as the server has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText {
    /// Its first word, in lower case.
    pub verb: String,
    /// Its second word, in lower case; empty if it is not a word.
    pub object: String,
    /// For `COPY … TO '<target>'`: the target.
    pub copy_to: Option<String>,
}

/// The statements of a query string, handed out in the order in which DuckDB runs them.
///
/// DuckDB may make several statements out of one (`PIVOT`), so they are not matched by number: a statement of a kind
/// gets the next text that begins with that kind's words.
#[derive(Debug)]
pub struct StatementTexts {
    texts: std::vec::IntoIter<StatementText>,
}

impl StatementTexts {
    /// Splits a query string.
    pub fn of(sql: &str) -> StatementTexts {
        let tokens: Vec<Token<'_>> = significant_tokens(sql).collect();
        let texts: Vec<StatementText> = tokens
            .split(|token| token.is_symbol(b';'))
            .filter_map(|tokens| StatementText::of(tokens))
            .collect();
        StatementTexts {
            texts: texts.into_iter(),
        }
    }

    /// The text of the next statement of this kind; `None` for kinds whose text does not matter.
    pub fn next_of(&mut self, kind: Kind) -> Option<StatementText> {
        let verbs: &[&str] = match kind {
            Kind::Copy => &["copy"],
            Kind::Transaction => &["begin", "start", "commit", "end", "rollback", "abort"],
            Kind::Create => &["create"],
            Kind::Drop => &["drop"],
            Kind::Alter => &["alter"],
            _ => return None,
        };
        self.texts.find(|text| verbs.contains(&text.verb.as_str()))
    }
}

impl StatementText {
    /// Reads one statement.
    fn of(tokens: &[Token<'_>]) -> Option<StatementText> {
        let first = tokens.first()?;
        let word = |token: Option<&Token<'_>>| match token {
            Some(token) if token.kind == TokenKind::Word => token.text.to_ascii_lowercase(),
            _ => String::new(),
        };
        let verb = word(Some(first));
        let mut object = word(tokens.get(1));
        if verb == "create" {
            // `CREATE OR REPLACE TEMP TABLE` makes a table.
            let noise = [
                "or",
                "replace",
                "temp",
                "temporary",
                "persistent",
                "unique",
                "recursive",
            ];
            object = tokens[1..]
                .iter()
                .map(|token| word(Some(token)))
                .find(|word| !noise.contains(&word.as_str()))
                .unwrap_or_default();
        }
        let copy_to = if verb == "copy" {
            copy_target(tokens)
        } else {
            None
        };
        Some(StatementText {
            verb,
            object,
            copy_to,
        })
    }
}

/// The string literal behind the `TO` that is not inside parentheses.
fn copy_target(tokens: &[Token<'_>]) -> Option<String> {
    let mut depth = 0i32;
    for pair in tokens.windows(2) {
        match pair[0].kind {
            TokenKind::Symbol(b'(') => depth += 1,
            TokenKind::Symbol(b')') => depth -= 1,
            _ => {}
        }
        if depth == 0 && pair[0].is_word("to") {
            return match pair[1].kind {
                TokenKind::Word => Some(format!("/dev/{}", pair[1].text.to_ascii_lowercase())),
                _ => pair[1].string_value(),
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(sql: &str) -> Option<String> {
        StatementTexts::of(sql)
            .next_of(Kind::Copy)
            .and_then(|text| text.copy_to)
    }

    #[test]
    fn the_target_is_the_literal_behind_the_outer_to() {
        assert_eq!(
            target("COPY t TO '/a/b.parquet' (FORMAT parquet)").as_deref(),
            Some("/a/b.parquet")
        );
        assert_eq!(
            target(
                "copy (SELECT ' to ''x''' AS a /* to 'y' */, (SELECT 1) -- to 'z'\n) to $$/it's$$"
            )
            .as_deref(),
            Some("/it's")
        );
        assert_eq!(
            target("COPY \"to 'q'\" TO E'/a\\'b'").as_deref(),
            Some("/a'b")
        );
        assert_eq!(target("COPY t FROM '/x'"), None);
        assert_eq!(target("COPY t TO STDOUT").as_deref(), Some("/dev/stdout"));
    }

    #[test]
    fn texts_are_matched_by_kind() {
        let mut texts =
            StatementTexts::of("SELECT 1; BEGIN; COPY t TO '/a'; ; COPY t TO '/b'; COMMIT");
        assert_eq!(texts.next_of(Kind::Select), None);
        assert_eq!(
            texts.next_of(Kind::Transaction).map(|t| t.verb).as_deref(),
            Some("begin")
        );
        assert_eq!(
            texts.next_of(Kind::Copy).and_then(|t| t.copy_to).as_deref(),
            Some("/a")
        );
        assert_eq!(
            texts.next_of(Kind::Copy).and_then(|t| t.copy_to).as_deref(),
            Some("/b")
        );
        assert_eq!(
            texts.next_of(Kind::Transaction).map(|t| t.verb).as_deref(),
            Some("commit")
        );
        assert_eq!(texts.next_of(Kind::Transaction), None);
    }
}
