//! Settings that clients of PostgreSQL send and DuckDB does not know. They describe what this server does anyway, so
//! `SET` of them succeeds without effect.

use pgduck_protocol::sql::{TokenKind, significant_tokens};

/// Settings that are accepted and have no effect.
const CLIENT_SETTINGS: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "standard_conforming_strings",
];

/// Whether the query string is a single `SET` of such a setting.
pub fn is_client_setting(sql: &str) -> bool {
    let mut words = significant_tokens(sql).filter(|token| {
        !(token.kind == TokenKind::Word
            && ["session", "local"].iter().any(|word| token.is_word(word)))
    });
    let is_set = words.next().is_some_and(|token| token.is_word("set"));
    let is_ours = words
        .next()
        .is_some_and(|token| CLIENT_SETTINGS.iter().any(|name| token.is_word(name)));
    // Anything behind a semicolon would be swallowed.
    is_set
        && is_ours
        && !words
            .skip_while(|token| !token.is_symbol(b';'))
            .skip(1)
            .any(|_| true)
}

#[cfg(test)]
mod tests {
    use super::is_client_setting;

    #[test]
    fn only_single_settings_of_the_list() {
        assert!(is_client_setting("SET extra_float_digits = 3"));
        assert!(is_client_setting("set session DateStyle to 'ISO';"));
        assert!(!is_client_setting("SET threads = 3"));
        assert!(!is_client_setting("SET datestyle = 'ISO'; SELECT 1"));
        assert!(!is_client_setting("SELECT 1"));
    }
}
