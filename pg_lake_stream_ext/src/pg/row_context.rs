//! A memory context for what one row allocates.

use pgrx::pg_sys;

/// A child of the context it was made in, and freed with it: dropping this type frees nothing, so that it may outlive its
/// parent while a transaction aborts.
pub struct RowContext {
    raw: pg_sys::MemoryContext,
}

impl RowContext {
    /// Makes a context below the current one.
    pub fn new() -> Self {
        // SAFETY: the current context is valid; the name is a constant.
        let raw = unsafe {
            pg_sys::AllocSetContextCreateExtended(
                pg_sys::CurrentMemoryContext,
                c"pg_lake_stream row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Self { raw }
    }

    /// Runs `work` with this context as the current one, emptied before.
    ///
    /// If `work` raises, the error's handler sets the current context; nothing is to be restored.
    #[inline]
    pub fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // SAFETY: the context lives as long as its parent, which the owner of `self` is in. What earlier rows allocated is not
        // referenced any more: results of `work` that borrow it cannot outlive the next `run` (`&mut self`).
        unsafe {
            if !(*self.raw).isReset {
                pg_sys::MemoryContextReset(self.raw);
            }
            let previous = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.raw;
            let result = work();
            pg_sys::CurrentMemoryContext = previous;
            result
        }
    }
}
