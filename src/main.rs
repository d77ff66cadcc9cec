//! The execd binary.
fn main() {}
