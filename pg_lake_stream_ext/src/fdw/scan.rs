//! Execution of a scan: one query, whose rows come one by one.
//!
//! The state is owned by the query's memory context, so that whatever ends the query (the last row, LIMIT, an error, a
//! closed cursor) also gives the connection back, or closes it when the server is still sending.

use std::collections::HashMap;

use pgrx::{PgList, PgMemoryContexts, pg_guard, pg_sys};

use crate::catalog::files::{self, LiveFile};
use crate::error::{LakeError, OrRaise, Result};
use crate::fdw::decode::Decoder;
use crate::fdw::literal::{self, ValueType};
use crate::fdw::operand;
use crate::fdw::prune::{Pruner, Verdict};
use crate::fdw::row_id::RowIds;
use crate::fdw::row_memory::RowMemory;
use crate::fdw::scan_query::{Audience, ParamValue, ScanQuery};
use crate::live_rows::LiveRows;
use crate::pg::spi::Visibility;
use crate::pgduck::pool::{self, PooledConnection};
use crate::pgduck::result::PgResult;
use crate::{guc, types};

/// What a scan holds between its callbacks.
pub struct ScanState {
    relid: pg_sys::Oid,
    /// The query.
    pub query: ScanQuery,
    /// The query's files; `None` until they are needed. They stay the same in a rescan, which has the same snapshot.
    files: Option<Vec<LiveFile>>,
    /// Chooses among them.
    pruner: Pruner,
    /// Places of the files that the last execution has read.
    chosen: Option<Vec<usize>>,
    /// Of a table whose rows are to be changed: which of the files the query numbers 0, 1, ….
    numbering: Vec<usize>,
    params: Vec<Param>,
    /// One a column of the query: where its value goes in the slot, and how it is read.
    columns: Vec<(usize, Decoder)>,
    /// Attributes of the slot.
    width: usize,
    memory: RowMemory,
    progress: Progress,
    /// Rows that came from the server, over all rescans.
    pub rows_fetched: u64,
}

/// How far a scan is.
enum Progress {
    NotStarted,
    /// Rows are coming.
    Fetching(PooledConnection),
    /// So many rows without columns are still to be returned.
    Counting(u64),
    Done,
}

/// An expression whose value the query needs.
struct Param {
    expression: *mut pg_sys::ExprState,
    type_oid: pg_sys::Oid,
}

impl ScanState {
    /// # Safety
    /// `node` is a scan that is being initialised, in the query's memory context.
    unsafe fn new(node: *mut pg_sys::ForeignScanState, is_explained: bool) -> Result<Self> {
        // SAFETY: the plan is ours; the relation is open and locked for as long as the query runs.
        unsafe {
            let plan: *mut pg_sys::ForeignScan = (*node).ss.ps.plan.cast();
            let relation = (*node).ss.ss_currentRelation;
            let query = ScanQuery::from_plan((*plan).fdw_private)?;
            let attributes = pgrx::PgTupleDesc::from_pg_unchecked((*relation).rd_att);
            let columns = query
                .columns
                .iter()
                .map(|(attnum, _)| {
                    let position = *attnum as usize - 1;
                    let attribute = attributes.get(position).ok_or_else(|| {
                        LakeError::internal("a plan names a column that does not exist")
                    })?;
                    Ok((position, Decoder::new(attribute.atttypid)?))
                })
                .collect::<Result<_>>()?;
            let states = pg_sys::ExecInitExprList((*plan).fdw_exprs, node.cast());
            let types = PgList::<pg_sys::Node>::from_pg((*plan).fdw_exprs);
            let params = PgList::<pg_sys::ExprState>::from_pg(states)
                .iter_ptr()
                .zip(types.iter_ptr())
                .map(|(expression, node)| Param {
                    expression,
                    type_oid: pg_sys::exprType(node),
                })
                .collect();
            let conditions =
                pg_sys::list_concat_copy((*plan).fdw_recheck_quals, (*plan).scan.plan.qual);
            let pruner = Pruner::new(
                conditions,
                (*plan).scan.scanrelid,
                node.cast(),
                is_explained,
            );
            Ok(Self {
                relid: (*relation).rd_id,
                query,
                files: None,
                pruner,
                chosen: None,
                numbering: Vec::new(),
                params,
                columns,
                width: attributes.len(),
                memory: RowMemory::default(),
                progress: Progress::NotStarted,
                rows_fetched: 0,
            })
        }
    }

    /// The state of a scan that has begun.
    ///
    /// # Safety
    /// `node` went through [`begin_foreign_scan`], and the state is not borrowed elsewhere.
    pub unsafe fn of<'a>(node: *mut pg_sys::ForeignScanState) -> Option<&'a mut Self> {
        // SAFETY: as promised by the caller; the state lives as long as the query's memory context.
        unsafe { (*node).fdw_state.cast::<Self>().as_mut() }
    }

    /// Whether any execution has begun.
    pub fn was_started(&self) -> bool {
        self.chosen.is_some()
    }

    /// Reads which files the query sees.
    fn load_files(&mut self) -> Result<()> {
        if self.files.is_none() {
            self.files = Some(files::live(self.relid, Visibility::Query)?);
        }
        Ok(())
    }

    /// Chooses the files that the query must read: places in the list of all that it sees.
    ///
    /// # Safety
    /// `context` is the scan's expression context.
    unsafe fn choose_files(&mut self, context: *mut pg_sys::ExprContext) -> Result<Vec<usize>> {
        self.load_files()?;
        let Self {
            files,
            pruner,
            relid,
            ..
        } = self;
        let files = files.as_deref().unwrap_or_default();
        if !guc::enable_data_file_pruning() {
            return Ok((0..files.len()).collect());
        }
        // SAFETY: as promised by the caller.
        unsafe { pruner.start(*relid, context)? };
        Ok(files
            .iter()
            .enumerate()
            .filter(|(_, file)| pruner.verdict(&file.data) != Verdict::None)
            .map(|(place, _)| place)
            .collect())
    }

    /// Divides the files for a change: those in which some rows may be meant, and those in which all are.
    ///
    /// # Safety
    /// As for [`Self::choose_files`].
    pub unsafe fn decide_files(
        &mut self,
        context: *mut pg_sys::ExprContext,
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        // SAFETY: as promised by the caller.
        let chosen = unsafe { self.choose_files(context)? };
        self.chosen = Some(chosen.clone());
        let Self { files, pruner, .. } = self;
        let files = files.as_deref().unwrap_or_default();
        let is_covered = |place: &usize| {
            guc::enable_data_file_pruning() && pruner.verdict(&files[*place].data) == Verdict::All
        };
        let (covered, undecided) = chosen.into_iter().partition(is_covered);
        Ok((undecided, covered))
    }

    /// The table.
    pub fn relid(&self) -> pg_sys::Oid {
        self.relid
    }

    /// The files that the query sees; they have been chosen from.
    pub fn files(&self) -> &[LiveFile] {
        self.files.as_deref().unwrap_or_default()
    }

    /// The values of the parameters.
    ///
    /// # Safety
    /// `context` is the scan's expression context.
    pub unsafe fn evaluate_params(
        &self,
        context: *mut pg_sys::ExprContext,
    ) -> Result<Vec<ParamValue>> {
        self.params
            .iter()
            // SAFETY: expressions of this scan.
            .map(|param| unsafe { param.evaluate(context) })
            .collect()
    }

    /// The files that the last execution has read or, if there was none, that one would read; and the number of all.
    ///
    /// # Safety
    /// As for [`Self::choose_files`]. Before an execution, only if the scan was initialised for EXPLAIN.
    pub unsafe fn explain_files(
        &mut self,
        context: *mut pg_sys::ExprContext,
    ) -> Result<(Vec<usize>, usize)> {
        let chosen = match self.chosen.clone() {
            Some(chosen) => chosen,
            // SAFETY: as promised by the caller.
            None => unsafe { self.choose_files(context)? },
        };
        Ok((chosen, self.files.as_ref().map_or(0, Vec::len)))
    }

    /// The live rows of files of this scan.
    pub fn live_rows(&self, places: &[usize]) -> LiveRows<'_> {
        let files = self.files.as_deref().unwrap_or_default();
        LiveRows::of(places.iter().map(|place| &files[*place]))
    }

    /// Sends the query, if there is anything to read.
    ///
    /// # Safety
    /// `context` is the scan's expression context.
    unsafe fn start(&mut self, context: *mut pg_sys::ExprContext) -> Result<Progress> {
        // SAFETY: as promised by the caller.
        let chosen = unsafe { self.choose_files(context)? };
        self.chosen = Some(chosen.clone());
        if chosen.is_empty() {
            return Ok(Progress::Done);
        }
        // SAFETY: as promised by the caller.
        let values = unsafe { self.evaluate_params(context)? };
        let all = self.files.as_deref().unwrap_or_default();
        let rows = LiveRows::of(chosen.iter().map(|place| &all[*place]));
        if !self.query.returns_rows() && self.query.conditions.is_empty() {
            let count = rows.files().iter().map(|file| file.live_rows()).sum();
            self.rows_fetched += count;
            return Ok(Progress::Counting(count));
        }
        let sql = self.query.text(&rows, Audience::Server(&values));
        if self.query.with_positions {
            let places: HashMap<i64, usize> = chosen
                .iter()
                .map(|place| (all[*place].data.id, *place))
                .collect();
            self.numbering = rows
                .files()
                .iter()
                .map(|file| places[&file.data.id])
                .collect();
        }
        let mut connection = pool::acquire()?;
        connection.start_rows(&sql, &[])?;
        if self.query.returns_rows() {
            return Ok(Progress::Fetching(connection));
        }
        let mut count = 0;
        while let Some(result) = connection.next_row()? {
            let bytes = result.bytes(0, 0).and_then(|bytes| bytes.try_into().ok());
            let bytes = bytes.ok_or_else(|| {
                LakeError::internal("pgduck_server returned no number for count(*)")
            })?;
            count = u64::from_be_bytes(bytes);
        }
        self.rows_fetched += count;
        Ok(Progress::Counting(count))
    }

    /// Puts the next row into the slot, or leaves it empty after the last one.
    ///
    /// # Safety
    /// `slot` is the scan's slot, empty; `context` its expression context.
    unsafe fn next(
        &mut self,
        slot: *mut pg_sys::TupleTableSlot,
        context: *mut pg_sys::ExprContext,
    ) -> Result<()> {
        if matches!(self.progress, Progress::NotStarted) {
            // SAFETY: as promised by the caller.
            self.progress = unsafe { self.start(context)? };
        }
        match &mut self.progress {
            Progress::Fetching(connection) => {
                let Some(result) = connection.next_row()? else {
                    self.progress = Progress::Done;
                    return Ok(());
                };
                self.rows_fetched += 1;
                // SAFETY: the slot has `width` values and null flags.
                let (values, nulls) = unsafe { row_of(slot, self.width) };
                self.memory.begin_row();
                for (number, (position, decoder)) in self.columns.iter_mut().enumerate() {
                    if let Some(bytes) = result.bytes(0, number) {
                        values[*position] = decoder.decode(bytes, &mut self.memory)?;
                        nulls[*position] = false;
                    }
                }
                if self.query.with_positions {
                    let files = self.files.as_ref().map_or(0, Vec::len);
                    let id = row_id(&result, self.columns.len(), &self.numbering, files)?;
                    // SAFETY: the slot is valid.
                    unsafe { (*slot).tts_tid = id };
                }
            }
            Progress::Counting(0) => {
                self.progress = Progress::Done;
                return Ok(());
            }
            Progress::Counting(left) => {
                *left -= 1;
                // SAFETY: as above.
                unsafe { row_of(slot, self.width) };
            }
            Progress::NotStarted | Progress::Done => return Ok(()),
        }
        // SAFETY: all values and null flags of the slot are set.
        unsafe { pg_sys::ExecStoreVirtualTuple(slot) };
        Ok(())
    }
}

/// The identity of a row, from the two columns that follow the table's.
fn row_id(
    row: &PgResult,
    column: usize,
    numbering: &[usize],
    files: usize,
) -> Result<pg_sys::ItemPointerData> {
    let number = |column: usize| {
        let bytes = row.bytes(0, column)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    let unexpected = || LakeError::internal("pgduck_server returned a row without its position");
    let file = number(column).ok_or_else(unexpected)? as usize;
    let position = number(column + 1).ok_or_else(unexpected)?;
    let place = *numbering.get(file).ok_or_else(unexpected)?;
    RowIds::new(files).pack(place, position)
}

impl Param {
    /// The value, for the query's text.
    ///
    /// # Safety
    /// `context` is the scan's expression context.
    unsafe fn evaluate(&self, context: *mut pg_sys::ExprContext) -> Result<ParamValue> {
        let unusable =
            || LakeError::internal("a condition of a type that is not sent to pgduck_server");
        let mut is_null = false;
        // SAFETY: a compiled expression of this scan; its value has the expression's type, and lives in the per-tuple
        // memory until it has become text.
        unsafe {
            let value = pg_sys::ExecEvalExprSwitchContext(self.expression, context, &mut is_null);
            let Some(element_type) = types::array_element(self.type_oid) else {
                let value_type = ValueType::from_oid(self.type_oid).ok_or_else(unusable)?;
                return Ok(ParamValue::Scalar(if is_null {
                    literal::null(value_type)
                } else {
                    literal::value(value_type, value).ok_or_else(unusable)?
                }));
            };
            if is_null {
                return Ok(ParamValue::Array(None));
            }
            let value_type = ValueType::from_oid(element_type).ok_or_else(unusable)?;
            let elements = operand::array_elements(self.type_oid, value).ok_or_else(unusable)?;
            let literals: Option<Vec<String>> = elements
                .into_iter()
                .map(|element| match element {
                    Some(element) => literal::value(value_type, element),
                    None => Some(literal::null(value_type)),
                })
                .collect();
            Ok(ParamValue::Array(Some(literals.ok_or_else(unusable)?)))
        }
    }
}

/// The slot's values and null flags, all set to NULL.
///
/// # Safety
/// `slot` is a valid slot of `width` attributes, not borrowed elsewhere.
unsafe fn row_of<'a>(
    slot: *mut pg_sys::TupleTableSlot,
    width: usize,
) -> (&'a mut [pg_sys::Datum], &'a mut [bool]) {
    // SAFETY: as promised by the caller.
    let (values, nulls) = unsafe {
        (
            std::slice::from_raw_parts_mut((*slot).tts_values, width),
            std::slice::from_raw_parts_mut((*slot).tts_isnull, width),
        )
    };
    nulls.fill(true);
    (values, nulls)
}

/// `BeginForeignScan`: reads the plan; nothing is asked of catalogs or server before the first row.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn begin_foreign_scan(
    node: *mut pg_sys::ForeignScanState,
    eflags: i32,
) {
    // SAFETY: the executor's node, whose plan is ours.
    unsafe { begin(node, eflags) }.or_raise();
}

/// Makes the state of a scan, or of a change that the server does.
///
/// # Safety
/// Called while the executor initialises the node.
pub unsafe fn begin(node: *mut pg_sys::ForeignScanState, eflags: i32) -> Result<()> {
    // SAFETY: the executor initialises the node in the query's memory context (InitPlan, executor/execMain.c), which
    // then owns the state.
    unsafe {
        let is_explained = eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0;
        let state = ScanState::new(node, is_explained)?;
        (*node).fdw_state = PgMemoryContexts::CurrentMemoryContext
            .leak_and_drop_on_delete(state)
            .cast();
    }
    Ok(())
}

/// `IterateForeignScan`: the next row. Called in the per-tuple memory context, which lives until the next call.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn iterate_foreign_scan(
    node: *mut pg_sys::ForeignScanState,
) -> *mut pg_sys::TupleTableSlot {
    // SAFETY: the node has begun; the slot and the context are its own.
    unsafe {
        let slot = (*node).ss.ss_ScanTupleSlot;
        pg_sys::ExecClearTuple(slot);
        if let Some(state) = ScanState::of(node) {
            state.next(slot, (*node).ss.ps.ps_ExprContext).or_raise();
        }
        slot
    }
}

/// `ReScanForeignScan`: from the start again, with the parameters' new values.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn rescan_foreign_scan(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: the node has begun.
    if let Some(state) = unsafe { ScanState::of(node) } {
        state.progress = Progress::NotStarted;
    }
}

/// `EndForeignScan`: lets go of the connection.
///
/// # Safety
/// Called by the executor.
#[pg_guard]
pub unsafe extern "C-unwind" fn end_foreign_scan(node: *mut pg_sys::ForeignScanState) {
    // SAFETY: the node has begun, or failed to; then there is no state.
    if let Some(state) = unsafe { ScanState::of(node) } {
        state.progress = Progress::Done;
    }
}
