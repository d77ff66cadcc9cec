//! `net hidden ADDRESS:PORT COUNT [PROGRAM]`: connects after hiding its memory from everybody of the same uid.
//!
//! With PROGRAM (a copy of this binary that may be executed but not read) it becomes that first, which hides it too.

use super::addr::Addr;
use super::{contact, socket};
use crate::json::Object;
use std::os::unix::process::CommandExt;

pub(crate) fn run(args: &crate::Args) {
    let addr = Addr::parse(args.text(0));
    if args.0.len() > 2 {
        let error = std::process::Command::new(args.text(2)).args(["net", "hidden", args.text(0), args.text(1)]).exec();
        crate::fail(&format!("{}: {error}", args.text(2)));
    }
    // SAFETY: no pointers
    let hidden = unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) != 1
    };
    let errnos: Vec<i32> = (0..args.number(1)).map(|_| connect(&addr)).collect();
    Object::new().value("hidden", hidden).raw("errnos", &contact::tally(&errnos)).print();
}

fn connect(addr: &Addr) -> i32 {
    match socket::open(addr.family(), libc::SOCK_STREAM, 0) {
        Ok(fd) => {
            let errno = socket::connect(fd, addr);
            socket::close(fd);
            errno
        }
        Err(errno) => errno,
    }
}
