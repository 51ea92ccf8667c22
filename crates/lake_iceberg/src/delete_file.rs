//! One Parquet file of position deletes (Iceberg spec, "Position Delete Files").

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFile as IcebergDataFile, DataFileBuilder, DataFileFormat, Datum,
};
use serde::{Deserialize, Serialize};

use crate::error::{Context, ErrorKind, Result};

/// Reserved field id of the column `file_path` (Iceberg spec, "Reserved Field IDs").
pub(crate) const FILE_PATH_FIELD_ID: i32 = 2_147_483_546;

/// A Parquet file of position deletes, all for one data file. Serialisable, so that it can wait in
/// a catalog for the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteFile {
    /// Location, as readers of the table shall open it.
    pub path: String,
    /// Number of deleted positions.
    pub record_count: u64,
    /// Size in bytes.
    pub file_size: u64,
    /// Location of the data file, exactly as its manifest entry and the rows of this file say.
    pub data_file: String,
}

impl DeleteFile {
    /// The entry of a manifest for this file. Readers find out from the bounds of `file_path`, which
    /// are not shortened, or from `referenced_data_file` which data file it belongs to.
    pub(crate) fn to_iceberg(&self, spec_id: i32) -> Result<IcebergDataFile> {
        let bounds = HashMap::from([(FILE_PATH_FIELD_ID, Datum::string(&self.data_file))]);
        DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_path(self.path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition_spec_id(spec_id)
            .record_count(self.record_count)
            .file_size_in_bytes(self.file_size)
            .lower_bounds(bounds.clone())
            .upper_bounds(bounds)
            .referenced_data_file(Some(self.data_file.clone()))
            .build()
            .context(
                ErrorKind::Internal,
                format!("could not describe delete file {}", self.path),
            )
    }
}
