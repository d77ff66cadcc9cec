//! `net flip-fd ELSEWHERE ROUNDS`: one thread calls on a descriptor while another puts sockets of different kinds there.
//!
//! Whoever looks at the descriptor and then lets the call go on lets some through.

use super::addr::Addr;
use super::race::against;
use super::{contact, socket};
use crate::json::Object;

/// Where the sockets come and go.
const SLOT: i32 = 200;

pub(crate) fn flip(args: &crate::Args) {
    let (elsewhere, rounds) = (Addr::parse(args.text(0)), args.number(1) as usize);
    let family = elsewhere.family();
    // Made before: a flipping thread that waits for the gate itself would keep step with the other one.
    let under_way = under_way(family).unwrap_or(-1);
    let mut turn = 0;
    let change = || {
        turn += 1;
        let fresh = match turn % 6 {
            0 => socket::open(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0),
            1 => socket::open(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0),
            2 => socket::open(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0),
            3 => socket::open(family, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0),
            4 => socket::open(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0),
            // SAFETY: no pointers
            _ => Ok(unsafe { libc::dup(under_way) }),
        };
        if let Ok(fd) = fresh {
            // SAFETY: no pointers
            unsafe { libc::dup2(fd, SLOT) };
            socket::close(fd);
        }
    };
    let call = |round: usize| match round % 5 {
        0 => socket::connect(SLOT, &elsewhere),
        1 => socket::send_message(SLOT, 0, Some(&elsewhere)),
        2 => socket::send_message(SLOT, libc::MSG_FASTOPEN, Some(&elsewhere)),
        3 => socket::send_to(SLOT, libc::MSG_FASTOPEN, Some(&elsewhere)),
        _ => (-socket::send_messages(SLOT, 0, &[elsewhere, elsewhere])).max(0) as i32,
    };
    let errnos = against(rounds, change, call);
    Object::new().raw("errnos", &contact::tally(&errnos)).print();
}

/// A stream socket on which an attempt was already made, so that further calls on it look free: to a loopback port that refuses.
fn under_way(family: i32) -> Result<i32, i32> {
    let fd = socket::open(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    let refused = if family == libc::AF_INET { "127.0.0.1:1" } else { "[::1]:1" };
    socket::connect(fd, &Addr::parse(refused));
    Ok(fd)
}
