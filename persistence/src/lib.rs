//! The same data as files: the RDB format, version 7 written, up to Redis 7's read; the append only file.
//!
//! Pure code over bytes, [`std::io::Read`] and [`std::io::Write`]: it opens no file, reads no clock and knows no command.

#![forbid(unsafe_code)]

pub mod aof;
pub mod crc64;
pub mod lzf;
pub mod rdb;

/// Tests allocate as the server does: see the same line in `engine`.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: engine::raw::alloc::Jemalloc = engine::raw::alloc::Jemalloc;
