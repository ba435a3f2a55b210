//! Bygone.
fn main() {}
