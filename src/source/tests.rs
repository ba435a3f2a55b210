//! Tests of the walk on real trees.
