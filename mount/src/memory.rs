//! A drive in memory.
