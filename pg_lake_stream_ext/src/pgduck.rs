//! The client of pgduck_server: connections, results, the backend's pool.

pub mod connection;
pub mod object;
pub mod pool;
pub mod result;
