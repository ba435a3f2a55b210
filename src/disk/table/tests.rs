//! Rules of tables.
