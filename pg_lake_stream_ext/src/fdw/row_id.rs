//! A row's identity while a statement changes it: its file's place in the statement's list, and its position in the file.
//!
//! It travels through the plan as `ctid`, which has 48 bits (storage/itemptr.h). The number of files decides how many of
//! them are left for the position.

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{LakeError, Result};

const BITS: u32 = 48;

/// Packs and unpacks the identities of rows in one list of files.
#[derive(Debug, Clone, Copy)]
pub struct RowIds {
    position_bits: u32,
}

impl RowIds {
    /// For a list of this many files.
    pub fn new(files: usize) -> Self {
        Self {
            position_bits: BITS - files.next_power_of_two().trailing_zeros(),
        }
    }

    /// The identity of a row.
    ///
    /// # Errors
    /// 54000 if the position needs more bits than there are.
    pub fn pack(self, file: usize, position: u64) -> Result<pg_sys::ItemPointerData> {
        if position >> self.position_bits != 0 {
            return Err(LakeError::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "the table has too many files with too many rows to change them in one statement",
            ));
        }
        let bits = ((file as u64) << self.position_bits) | position;
        Ok(pg_sys::ItemPointerData {
            ip_blkid: pg_sys::BlockIdData {
                bi_hi: (bits >> 32) as u16,
                bi_lo: (bits >> 16) as u16,
            },
            ip_posid: bits as u16,
        })
    }

    /// The file's place and the position.
    pub fn unpack(self, id: pg_sys::ItemPointerData) -> (usize, u64) {
        let bits = (u64::from(id.ip_blkid.bi_hi) << 32)
            | (u64::from(id.ip_blkid.bi_lo) << 16)
            | u64::from(id.ip_posid);
        let file = bits >> self.position_bits;
        (file as usize, bits & ((1 << self.position_bits) - 1))
    }
}
