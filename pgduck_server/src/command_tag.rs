//! Command tags, as PostgreSQL words them.

use crate::duck::Kind;
use crate::statement_text::StatementText;

/// The tag of a statement that returned or changed `count` rows.
pub fn of(kind: Kind, text: Option<&StatementText>, count: u64) -> String {
    let of_object = |verb: &str| match text {
        Some(text) if !text.object.is_empty() => {
            format!("{verb} {}", text.object.to_ascii_uppercase())
        }
        _ => verb.to_owned(),
    };
    match kind {
        Kind::Insert => format!("INSERT 0 {count}"),
        Kind::Update => format!("UPDATE {count}"),
        Kind::Delete => format!("DELETE {count}"),
        Kind::Merge => format!("MERGE {count}"),
        Kind::Copy => format!("COPY {count}"),
        Kind::Create => of_object("CREATE"),
        Kind::CreateFunction => "CREATE FUNCTION".to_owned(),
        Kind::Drop => of_object("DROP"),
        Kind::Alter => of_object("ALTER"),
        Kind::Transaction => match text.map(|text| text.verb.as_str()) {
            Some("commit" | "end") => "COMMIT".to_owned(),
            Some("rollback" | "abort") => "ROLLBACK".to_owned(),
            _ => "BEGIN".to_owned(),
        },
        Kind::Set => "SET".to_owned(),
        Kind::Explain => "EXPLAIN".to_owned(),
        Kind::Prepare => "PREPARE".to_owned(),
        Kind::Analyze => "ANALYZE".to_owned(),
        Kind::Vacuum => "VACUUM".to_owned(),
        Kind::Attach => "ATTACH".to_owned(),
        Kind::Detach => "DETACH".to_owned(),
        Kind::Load => "LOAD".to_owned(),
        Kind::Select | Kind::Execute | Kind::Call | Kind::Other => format!("SELECT {count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement_text::StatementTexts;

    fn tag(kind: Kind, sql: &str, count: u64) -> String {
        of(kind, StatementTexts::of(sql).next_of(kind).as_ref(), count)
    }

    #[test]
    fn tags_are_those_of_postgres() {
        assert_eq!(tag(Kind::Select, "SELECT 1", 1), "SELECT 1");
        assert_eq!(tag(Kind::Insert, "INSERT", 3), "INSERT 0 3");
        assert_eq!(
            tag(Kind::Create, "CREATE OR REPLACE TEMP TABLE t()", 0),
            "CREATE TABLE"
        );
        assert_eq!(tag(Kind::Drop, "DROP SCHEMA s", 0), "DROP SCHEMA");
        assert_eq!(tag(Kind::Transaction, "START TRANSACTION", 0), "BEGIN");
        assert_eq!(tag(Kind::Transaction, "END", 0), "COMMIT");
        assert_eq!(tag(Kind::Copy, "COPY t TO 'x'", 9), "COPY 9");
    }
}
