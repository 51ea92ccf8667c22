//! The utility hook: `USING iceberg` becomes a foreign table, and what lake tables cannot do is refused early.

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use pgrx::{pg_guard, pg_sys};

use crate::ddl::{alter_table, as_foreign_table, create_table, create_table_as, vacuum};
use crate::error::OrRaise;

static PREVIOUS: OnceLock<pg_sys::ProcessUtility_hook_type> = OnceLock::new();

/// Puts this hook before the others.
pub fn install() {
    // SAFETY: as for all hooks: installed while the library is loaded, by the backend's only thread.
    unsafe {
        PREVIOUS.get_or_init(|| pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

/// What our part of the hook has decided; plain data, so that an error may pass through the frame that holds it.
#[derive(Debug, Clone, Copy)]
struct Decision {
    /// The statement to run; null if it has been run already.
    statement: *mut pg_sys::PlannedStmt,
    /// The lake table that the statement creates, to be registered afterwards; else null.
    creates: *mut pg_sys::RangeVar,
}

unsafe extern "C-unwind" {
    /// The standard utility processing, declared without pgrx's guard.
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query_string: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

#[allow(clippy::too_many_arguments, reason = "PostgreSQL's signature")]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query_string: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    let mut decision = Decision {
        statement,
        creates: std::ptr::null_mut(),
    };
    // SAFETY: PostgreSQL's arguments are valid, and are passed on as they are.
    unsafe {
        if is_of_interest((*statement).utilityStmt) {
            let is_top_level = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
            decide(
                query_string,
                is_top_level,
                params,
                completion,
                (&raw mut decision).cast(),
            );
        }
        if !decision.statement.is_null() {
            let next = match PREVIOUS.get() {
                Some(Some(previous)) => *previous,
                _ => standard_ProcessUtility,
            };
            next(
                decision.statement,
                query_string,
                read_only_tree,
                context,
                params,
                environment,
                dest,
                completion,
            );
        }
        if !decision.creates.is_null() {
            register_created(decision.creates);
        }
    }
}

/// Whether a statement may concern a lake table at all.
unsafe fn is_of_interest(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller passes a utility statement's node.
    let tag = unsafe { (*node).type_ };
    matches!(
        tag,
        pg_sys::NodeTag::T_CreateStmt
            | pg_sys::NodeTag::T_CreateForeignTableStmt
            | pg_sys::NodeTag::T_CreateTableAsStmt
            | pg_sys::NodeTag::T_AlterTableStmt
            | pg_sys::NodeTag::T_RenameStmt
            | pg_sys::NodeTag::T_DropStmt
            | pg_sys::NodeTag::T_CommentStmt
            | pg_sys::NodeTag::T_VacuumStmt
    )
}

#[pg_guard]
unsafe extern "C-unwind" fn decide(
    query_string: *const c_char,
    is_top_level: bool,
    params: pg_sys::ParamListInfo,
    completion: *mut pg_sys::QueryCompletion,
    decision: *mut c_void,
) {
    // SAFETY: the hook's arguments; each cast follows the node's tag.
    unsafe {
        let decision = &mut *decision.cast::<Decision>();
        let node = (*decision.statement).utilityStmt;
        match (*node).type_ {
            pg_sys::NodeTag::T_CreateStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                if create_table::uses_iceberg(create) {
                    let foreign = create_table::to_foreign_table(create).or_raise();
                    decision.statement =
                        create_table::with_utility(decision.statement, foreign.cast());
                    decision.creates = (*foreign).base.relation;
                }
            }
            pg_sys::NodeTag::T_CreateForeignTableStmt => {
                let foreign = node.cast::<pg_sys::CreateForeignTableStmt>();
                if create_table::is_on_lake_server(foreign) {
                    decision.creates = (*foreign).base.relation;
                }
            }
            pg_sys::NodeTag::T_CreateTableAsStmt => {
                let create = node.cast::<pg_sys::CreateTableAsStmt>();
                if create_table_as::uses_iceberg(create)
                    && create_table_as::run(
                        decision.statement,
                        create,
                        query_string,
                        params,
                        completion,
                    )
                    .or_raise()
                {
                    decision.statement = std::ptr::null_mut();
                }
            }
            pg_sys::NodeTag::T_AlterTableStmt => alter_table::check_alter(node.cast()).or_raise(),
            pg_sys::NodeTag::T_DropStmt => {
                decision.statement =
                    as_foreign_table::rewrite_drop(decision.statement, query_string);
            }
            pg_sys::NodeTag::T_CommentStmt => {
                decision.statement = as_foreign_table::rewrite_comment(decision.statement);
            }
            pg_sys::NodeTag::T_VacuumStmt => {
                if let Some(work) = vacuum::split(&mut decision.statement).or_raise() {
                    pg_sys::PreventCommandDuringRecovery(c"VACUUM".as_ptr());
                    pg_sys::PreventInTransactionBlock(is_top_level, c"VACUUM".as_ptr());
                    vacuum::run(&work).or_raise();
                    if !work.has_others {
                        decision.statement = std::ptr::null_mut();
                    }
                }
            }
            pg_sys::NodeTag::T_RenameStmt => alter_table::check_rename(node.cast()).or_raise(),
            _ => {}
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn register_created(relation: *mut pg_sys::RangeVar) {
    // SAFETY: the name of the table that has just been created (or, with IF NOT EXISTS, was there).
    unsafe { create_table::register(relation) }.or_raise();
}
