//! Rows about the network, each in a box of its own with a peer that counts what really arrives.

mod egress;
mod world;
