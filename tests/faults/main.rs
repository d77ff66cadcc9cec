//! The fault list: each row is one test, named after what it shows, that runs in every world where it applies.
//!
//! `outer` starts the other worlds and runs this same binary inside them as execd's main command. What a test expects
//! there follows from the strength that `/health` claims, and what may be claimed in which world is itself tested.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "a test that cannot go on should panic where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod cpu;
mod daemon_life;
mod hostile;
mod init;
mod memory;
mod network;
mod one_shot;
mod outer;
mod plumbing;
mod processes;
mod smoke;
mod soak;
mod storage;
mod streams;
mod strength;
