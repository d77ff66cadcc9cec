//! The size of a terminal.

use std::os::fd::{AsFd, AsRawFd};

/// Columns and rows of a terminal, or `None` when the descriptor is none. Either may be 0 when the terminal does not know.
pub fn window_size(terminal: &impl AsFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and TIOCGWINSZ fills exactly one winsize, which lives on our stack.
    let answer = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0).then_some((size.ws_col, size.ws_row))
}
