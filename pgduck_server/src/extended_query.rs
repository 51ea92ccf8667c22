//! The extended query protocol: prepared statements, portals, and the messages that work on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::command_tag;
use crate::duck::{Connection, Kind, Parameter, Prepared, Type};
use crate::encode::pg_type::{PgType, oid};
use crate::encode::{Column, Format};
use crate::errors::{ServerError, sqlstate};
use crate::execution::{self, Plan, Style};
use crate::output::Output;
use crate::parameters;
use crate::query_control::QueryControl;
use crate::result_rows::{self, PortalRows};
use crate::session::{Session, SessionEnd};
use crate::session_settings;
use crate::statement_text::{StatementText, StatementTexts};
use crate::wire::backend::{self, TransactionStatus};
use crate::wire::frontend::{Bind, Target};

/// What an extended-protocol message may come to: an error that the client is told, or none.
type Answer = Result<(), ServerError>;

/// A prepared statement.
struct Statement {
    action: Action,
    /// OIDs of the parameters.
    parameter_oids: Vec<u32>,
    /// The result's columns; `None` if it has no rows.
    columns: Option<Vec<(String, Type)>>,
    /// The session's [`Statements::epoch`] when it was prepared.
    epoch: u64,
}

/// What executing a statement does.
enum Action {
    /// Nothing: the query string was empty.
    Empty,
    /// Nothing: a client's setting that has no meaning here.
    Setting,
    /// DuckDB runs it.
    Run {
        prepared: Mutex<Prepared>,

        kind: Kind,
        text: Option<StatementText>,
    },
}

/// A portal: a statement with values for its parameters, and its rows once it has started.
struct Portal {
    statement: Arc<Statement>,
    values: Vec<Parameter>,
    formats: Vec<Format>,
    state: PortalState,
}

/// How far a portal has come.
enum PortalState {
    /// Not started.
    Ready,
    /// Has rows that have not been sent.
    Open(Box<PortalRows>),
    /// All is sent.
    Finished,
}

/// The prepared statements and portals of a session.
#[derive(Default)]
pub struct Statements {
    statements: HashMap<String, Arc<Statement>>,
    portals: HashMap<String, Portal>,
    /// Counts what may let time pass, or change files: Sync, and every run of a portal. A statement that was prepared in
    /// the current epoch has a plan that still holds.
    epoch: u64,
}

impl Statements {
    /// The client has sent Sync.
    pub fn sync(&mut self) {
        self.epoch += 1;
    }

    /// Forgets all portals: the transaction has ended.
    pub fn drop_portals(&mut self) {
        self.portals.clear();
    }

    /// Forgets the unnamed statement and portal, as a simple query does.
    pub fn forget_unnamed(&mut self) {
        self.statements.remove("");
        self.portals.remove("");
    }
}

/// Parses and prepares.
fn prepare(
    connection: &Connection,
    query: &str,
    mut parameter_oids: Vec<u32>,
    epoch: u64,
) -> Result<Statement, ServerError> {
    let script = connection.parse(query)?;
    if script.len() > 1 {
        return Err(ServerError::new(
            sqlstate::SYNTAX_ERROR,
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    if script.len() == 0 {
        return Ok(Statement {
            action: Action::Empty,
            parameter_oids,
            columns: None,
            epoch,
        });
    }
    let prepared = script.prepare(0)?;
    for index in 0..prepared.parameter_count() {
        let known = parameter_oids.get(index).copied().unwrap_or(0);
        let oid = match known {
            0 => match prepared.parameter_type(index) {
                Type::Unknown | Type::Null => oid::TEXT,
                ty => PgType::of(&ty).oid,
            },
            known => known,
        };
        match parameter_oids.get_mut(index) {
            Some(slot) => *slot = oid,
            None => parameter_oids.push(oid),
        }
    }
    let kind = prepared.kind();
    let columns = prepared.columns();
    let is_count = matches!(columns.as_slice(), [(name, Type::BigInt)] if name == "Count");
    let has_rows = match kind {
        Kind::Select | Kind::Explain | Kind::Call | Kind::Execute => true,
        Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Copy => !is_count,
        _ => false,
    };
    let text = StatementTexts::of(query).next_of(kind);
    Ok(Statement {
        action: Action::Run {
            prepared: Mutex::new(prepared),
            kind,
            text,
        },
        parameter_oids,
        columns: has_rows.then_some(columns),
        epoch,
    })
}

/// Binds a portal's values to its statement.
fn bind_values(prepared: &mut Prepared, values: &[Parameter]) -> Result<(), ServerError> {
    for (index, value) in values.iter().enumerate() {
        prepared.bind(index, value)?;
    }
    Ok(())
}

/// The error of a portal that does not exist.
fn no_portal(name: &str) -> ServerError {
    ServerError::new(
        sqlstate::INVALID_PORTAL_NAME,
        format!("portal \"{name}\" does not exist"),
    )
}

impl Session {
    /// Parse.
    pub(crate) fn parse(
        &mut self,
        name: String,
        query: String,
        parameter_oids: Vec<u32>,
    ) -> Result<Answer, SessionEnd> {
        if !name.is_empty() && self.statements.statements.contains_key(&name) {
            return Ok(Err(ServerError::new(
                sqlstate::DUPLICATE_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            )));
        }
        let command = pgduck_protocol::command::parse(&query);
        if command.receive || command.transmit {
            return Ok(Err(ServerError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "RECEIVE and TRANSMIT are not supported in the extended query protocol",
            )
            .with_hint("Send the command as a simple query.")));
        }
        let statement = if session_settings::is_client_setting(&query) {
            Ok(Statement {
                action: Action::Setting,
                parameter_oids,
                columns: None,
                epoch: self.statements.epoch,
            })
        } else {
            let connection = self.connection.clone();
            let control = QueryControl::new(connection.interrupter());
            let epoch = self.statements.epoch;
            self.drive(&control, |_| {
                prepare(&connection, &query, parameter_oids, epoch)
            })?
        };
        Ok(match statement {
            Ok(statement) => {
                self.statements.statements.insert(name, Arc::new(statement));
                backend::parse_complete(&mut self.out);
                Ok(())
            }
            Err(error) => {
                self.refresh_status_after_error()?;
                Err(error)
            }
        })
    }

    /// Bind.
    pub(crate) fn bind(&mut self, bind: Bind) -> Answer {
        let Some(statement) = self.statements.statements.get(&bind.statement) else {
            return Err(ServerError::new(
                sqlstate::INVALID_STATEMENT_NAME,
                format!("prepared statement \"{}\" does not exist", bind.statement),
            ));
        };
        if !bind.portal.is_empty() && self.statements.portals.contains_key(&bind.portal) {
            return Err(ServerError::new(
                sqlstate::DUPLICATE_PORTAL,
                format!("portal \"{}\" already exists", bind.portal),
            ));
        }
        let values = parameters::decode(&bind, &statement.parameter_oids)?;
        let formats = parameters::formats(&bind.result_formats)?;
        if let Some(columns) = &statement.columns
            && formats.len() > 1
            && formats.len() != columns.len()
        {
            return Err(ServerError::protocol(format!(
                "bind message has {} result formats but query has {} columns",
                formats.len(),
                columns.len()
            )));
        }
        let portal = Portal {
            statement: Arc::clone(statement),
            values,
            formats,
            state: PortalState::Ready,
        };
        self.statements.portals.insert(bind.portal, portal);
        backend::bind_complete(&mut self.out);
        Ok(())
    }

    /// Describe.
    pub(crate) fn describe(&mut self, target: Target) -> Result<Answer, SessionEnd> {
        match target {
            Target::Statement(name) => Ok(self.describe_statement(&name)),
            Target::Portal(name) => self.describe_portal(&name),
        }
    }

    /// Describe of a statement; columns whose type hangs on a parameter are described as text.
    fn describe_statement(&mut self, name: &str) -> Answer {
        let Some(statement) = self.statements.statements.get(name) else {
            return Err(ServerError::new(
                sqlstate::INVALID_STATEMENT_NAME,
                format!("prepared statement \"{name}\" does not exist"),
            ));
        };
        backend::parameter_description(&mut self.out, &statement.parameter_oids);
        match &statement.columns {
            Some(columns) => {
                let columns: Vec<Column> = columns
                    .iter()
                    .map(|(name, ty)| Column::new(name.clone(), ty.clone(), Format::Text))
                    .collect();
                backend::row_description(&mut self.out, &columns);
            }
            None => backend::no_data(&mut self.out),
        }
        Ok(())
    }

    /// Describe of a portal. If its types hang on its parameters, it is started: then they are known.
    fn describe_portal(&mut self, name: &str) -> Result<Answer, SessionEnd> {
        let Some(portal) = self.statements.portals.get(name) else {
            return Ok(Err(no_portal(name)));
        };
        let unresolved = matches!(
            &portal.statement.columns,
            Some(columns) if columns.iter().any(|(_, ty)| *ty == Type::Unknown)
        );
        if unresolved
            && matches!(portal.state, PortalState::Ready)
            && let Err(error) = self.run_portal(name, None)?
        {
            return Ok(Err(error));
        }
        let Some(portal) = self.statements.portals.get(name) else {
            return Ok(Err(no_portal(name)));
        };
        let described = match (&portal.state, &portal.statement.columns) {
            (PortalState::Open(rows), _) => Some(Ok(rows.columns().to_vec())),
            (_, Some(columns)) => Some(result_rows::describe(columns.clone(), &portal.formats)),
            (_, None) => None,
        };
        Ok(match described {
            Some(Ok(columns)) => {
                backend::row_description(&mut self.out, &columns);
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => {
                backend::no_data(&mut self.out);
                Ok(())
            }
        })
    }

    /// Execute.
    pub(crate) fn execute(&mut self, portal: &str, max_rows: u32) -> Result<Answer, SessionEnd> {
        self.run_portal(portal, Some(u64::from(max_rows)))
    }

    /// Starts a portal if it has not started, and sends up to `send` rows (0: all) if there is a number.
    fn run_portal(&mut self, name: &str, send: Option<u64>) -> Result<Answer, SessionEnd> {
        let Some(mut portal) = self.statements.portals.remove(name) else {
            return Ok(Err(no_portal(name)));
        };
        match &portal.statement.action {
            Action::Empty => {
                backend::empty_query_response(&mut self.out);
                self.statements.portals.insert(name.to_owned(), portal);
                return Ok(Ok(()));
            }
            Action::Setting => {
                backend::command_complete(&mut self.out, "SET");
                self.statements.portals.insert(name.to_owned(), portal);
                return Ok(Ok(()));
            }
            Action::Run { .. } => {}
        }
        self.keep_suspended_portals()?;
        let connection = self.connection.clone();
        let control = QueryControl::new(connection.interrupter());
        let mut status = self.status;
        let plan = if portal.statement.epoch == self.statements.epoch {
            Plan::Fresh
        } else {
            Plan::New
        };
        self.statements.epoch += 1;
        let answer = self.drive(&control, |output| {
            let answer = portal.advance(&connection, plan, &control, output, send, &mut status);
            let answer = answer.map_err(|error| execution::explain(error, &control));
            if answer.is_err() {
                // The failed result goes before the connection is asked anything else.
                portal.state = PortalState::Finished;
                status = execution::status_after_error(&connection, status);
            }
            answer
        })?;
        self.status = status;
        self.statements.portals.insert(name.to_owned(), portal);
        Ok(answer)
    }

    /// Close; closing what does not exist is no error.
    pub(crate) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => drop(self.statements.statements.remove(name)),
            Target::Portal(name) => drop(self.statements.portals.remove(name)),
        }
        backend::close_complete(&mut self.out);
    }

    /// A connection streams one result at a time: what suspended portals have not read yet goes to memory.
    pub(crate) fn keep_suspended_portals(&mut self) -> Result<(), SessionEnd> {
        let names: Vec<String> = self
            .statements
            .portals
            .iter()
            .filter(|(_, portal)| matches!(portal.state, PortalState::Open(_)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(mut portal) = self.statements.portals.remove(&name) else {
                continue;
            };
            let control = QueryControl::new(self.connection.interrupter());
            self.drive(&control, |_| {
                if let PortalState::Open(rows) = &mut portal.state
                    && let Err(error) = rows.keep_rest()
                {
                    tracing::debug!(%error, "a suspended portal has failed");
                    portal.state = PortalState::Finished;
                }
            })?;
            self.statements.portals.insert(name, portal);
        }
        Ok(())
    }

    /// After an error inside a transaction: asks DuckDB whether the transaction has failed.
    fn refresh_status_after_error(&mut self) -> Result<(), SessionEnd> {
        if self.status == TransactionStatus::Idle {
            return Ok(());
        }
        let (connection, status) = (self.connection.clone(), self.status);
        let control = QueryControl::new(connection.interrupter());
        self.status = self.drive(&control, |_| {
            execution::status_after_error(&connection, status)
        })?;
        Ok(())
    }
}

impl Portal {
    /// Runs the portal, see [`Session::run_portal`].
    fn advance(
        &mut self,
        connection: &Connection,
        plan: Plan,
        control: &Arc<QueryControl>,
        output: &mut Output,
        send: Option<u64>,
        status: &mut TransactionStatus,
    ) -> Answer {
        let statement = Arc::clone(&self.statement);
        let Action::Run {
            prepared,
            kind,
            text,
        } = &statement.action
        else {
            return Ok(());
        };
        let mut prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = matches!(
            kind,
            Kind::Select | Kind::Explain | Kind::Call | Kind::Execute
        );
        if !streams {
            if send.is_none() {
                return Ok(());
            }
            bind_values(&mut prepared, &self.values)?;
            let style = Style::Portal(self.formats.clone());
            let tag = execution::run_to_end(
                connection,
                (&prepared, plan),
                text.clone(),
                control,
                output,
                &style,
                status,
            )?;
            self.state = PortalState::Finished;
            backend::command_complete(output.buffer(), &tag);
            return Ok(());
        }
        if matches!(self.state, PortalState::Ready) {
            bind_values(&mut prepared, &self.values)?;
            let result = execution::start(&prepared, plan, control)?;
            let rows = PortalRows::new(result, *kind, &self.formats)?;
            self.state = PortalState::Open(Box::new(rows));
        }
        drop(prepared);
        let Some(max_rows) = send else { return Ok(()) };
        let PortalState::Open(rows) = &mut self.state else {
            backend::command_complete(output.buffer(), &command_tag::of(*kind, None, 0));
            return Ok(());
        };
        if rows.send(max_rows, control, output)? {
            backend::portal_suspended(output.buffer());
        } else {
            let tag = command_tag::of(*kind, text.as_ref(), rows.count());
            self.state = PortalState::Finished;
            backend::command_complete(output.buffer(), &tag);
        }
        Ok(())
    }
}
