//! `net hidden ADDRESS:PORT COUNT [PROGRAM]`: connects after hiding its memory from everybody of the same uid: by asking for it, or by
//! becoming PROGRAM, a copy of this binary that may be executed but not read.

use super::addr::Addr;
use super::{contact, socket};
use crate::json::Object;
use std::os::unix::process::CommandExt;

pub(crate) fn run(args: &crate::Args) {
    let addr = Addr::parse(args.text(0));
    match args.0.get(2).map(String::as_str) {
        None => hide(),
        Some("hidden-already") => {}
        Some(program) => {
            let words = ["net", "hidden", args.text(0), args.text(1), "hidden-already"];
            crate::fail(&format!("{program}: {}", std::process::Command::new(program).args(words).exec()));
        }
    }
    // SAFETY: no pointers
    let hidden = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } != 1;
    let errnos: Vec<i32> = (0..args.number(1)).map(|_| connect(&addr)).collect();
    Object::new().value("hidden", hidden).raw("errnos", &contact::tally(&errnos)).print();
}

fn hide() {
    // SAFETY: no pointers
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
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
