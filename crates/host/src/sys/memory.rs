//! This process's own memory.

/// Gives memory that was freed back to the system, where the allocator can: glibc's keeps the heaps of worker threads for
/// their next allocations, which may never come. For the moments between two large pieces of work; it takes some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: malloc_trim(3) takes any number, may be called by any thread at any time, and frees nothing that is in use.
        unsafe { malloc_trim(0) };
    }
}
