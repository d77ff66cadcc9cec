//! The network gate: every outbound connect and datagram of an execution is made by its supervisor, or not at all.
//!
//! The filter hands `connect`, `sendto`, `sendmsg` and `sendmmsg` over. The gate copies the address once, judges the copy, and repeats
//! the call with that copy on the very socket that the program holds, so nothing that the program changes meanwhile matters.
//!
//! | file | what |
//! |---|---|
//! | `address` | bytes to destination; pure |
//! | `policy` | destination to free, counted, forbidden or proxied; pure |
//! | `ledger` | what was counted and what is left; pure |
//! | `target` | memory and descriptors of the program |
//! | `making`, `sockets` | sockets that we make for it, where its own are out of reach |
//! | `broker` | the state, and who answers which call |
//! | `connect`, `send` | the calls themselves |
//! | `passing` | calls that the kernel runs itself |
//! | `waiting` | calls of blocking sockets that are under way |
//! | `proxy_door` | connections to the egress proxy |
//!
//! The kernel runs a notified call itself (`CONTINUE`) only where nobody can exchange the descriptor meanwhile and no content of
//! memory could make it a contact: see `broker`.

mod address;
mod broker;
mod connect;
#[cfg(fuzzing)]
#[path = "../../fuzzing/gate.rs"]
pub mod fuzzing;
mod ledger;
mod making;
mod message;
mod passing;
mod policy;
mod proxy_door;
mod send;
mod sockets;
mod target;
mod waiting;

pub(crate) use broker::{Broker, Post};
pub(crate) use target::Reach;
