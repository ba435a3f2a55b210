//! Real trees in scratch folders.
