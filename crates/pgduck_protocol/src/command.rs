//! The prefixes that a simple query may carry: `RECEIVE`, `TRANSMIT`, `RECEIVE TRANSMIT`.

/// A query string split into what the prefixes ask for and the SQL that DuckDB is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// The client streams the query's input as `CopyData` (`RECEIVE`).
    pub receive: bool,
    /// The server streams the query's result as CSV in `CopyData` (`TRANSMIT`).
    pub transmit: bool,
    /// The SQL behind the prefixes.
    pub sql: &'a str,
}

/// Splits the prefixes off a query string. Case does not matter, white space before and between does not either.
///
/// ```
/// use pgduck_protocol::command::parse;
/// let command = parse("receive transmit SELECT 1");
/// assert!(command.receive && command.transmit);
/// assert_eq!(command.sql, "SELECT 1");
/// ```
pub fn parse(query: &str) -> Command<'_> {
    let (receive, rest) = match strip_word(query, "receive") {
        Some(rest) => (true, rest),
        None => (false, query),
    };
    let (transmit, sql) = match strip_word(rest, "transmit") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    Command {
        receive,
        transmit,
        sql,
    }
}

/// The rest of `text` behind `word`, if it begins with that word followed by white space.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let trimmed = text.trim_start();
    let head = trimmed.get(..word.len())?;
    if !head.eq_ignore_ascii_case(word) {
        return None;
    }
    let rest = &trimmed[word.len()..];
    let tail = rest.trim_start();
    (tail.len() < rest.len()).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(query: &str) -> (bool, bool, &str) {
        let command = parse(query);
        (command.receive, command.transmit, command.sql)
    }

    #[test]
    fn prefixes_are_found_in_any_case() {
        assert_eq!(words("RECEIVE COPY x"), (true, false, "COPY x"));
        assert_eq!(words("\n Receive\tCOPY x"), (true, false, "COPY x"));
        assert_eq!(words("transmit select 1"), (false, true, "select 1"));
        assert_eq!(
            words("RECEIVE  TRANSMIT SELECT 1"),
            (true, true, "SELECT 1")
        );
    }

    #[test]
    fn a_plain_query_keeps_its_text() {
        assert_eq!(
            words("SELECT 'RECEIVE x'"),
            (false, false, "SELECT 'RECEIVE x'")
        );
        assert_eq!(words("received"), (false, false, "received"));
        assert_eq!(words("receive"), (false, false, "receive"));
        assert_eq!(words(""), (false, false, ""));
        assert_eq!(words("receiveé "), (false, false, "receiveé "));
    }
}
