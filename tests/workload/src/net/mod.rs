//! `net PROGRAM …`: programs that reach for the network by every way there is, and say what the kernel answered.
//!
//! Nothing here knows of execd: the same program run on the bare kernel shows what is to be expected.

mod abi;
mod addr;
mod ask;
mod contact;
mod crooked_ways;
mod datagram_ways;
mod errors;
mod hidden;
mod passing;
mod probes;
mod race;
mod race_fd;
mod race_flag;
mod sequence;
mod slow;
mod socket;
mod stream_ways;
mod timed;
mod uring;

use crate::Args;

/// Runs the program that the first argument names.
pub(crate) fn run(args: &Args) {
    let rest = Args(args.0.iter().skip(1).cloned().collect());
    match args.text(0) {
        "ask" => ask::run(&rest),
        "contact" => contact::run(&rest),
        "sequence" => sequence::run(&rest),
        "errors" => errors::run(&rest),
        "families" => probes::families(),
        "free" => probes::free(&rest),
        "connect-each" => probes::connect_each(&rest),
        "resolve" => probes::resolve(&rest),
        "stdin" => probes::connect_stdin(&rest),
        "hidden" => hidden::run(&rest),
        "give" => passing::give(&rest),
        "take" => passing::take(&rest),
        "flip-address" => race::flip_address(&rest),
        "flip-name" => race::flip_name(&rest),
        "unmap" => race::unmap(&rest),
        "flip-fd" => race_fd::flip(&rest),
        "flip-blocking" => race_flag::flip(),
        "beside" => slow::beside(&rest),
        "knock" => slow::knock(&rest),
        "latency" => slow::latency(&rest),
        other => crate::fail(&format!("unknown network program {other}")),
    }
}
