//! SQL functions for users.


