//! The only wait of the daemon. Two owners of a wait lose each other's statuses.

use super::main_command::MainCommand;
use crate::sys::process::{Exit, reap};

/// Who ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// the main command
    Main(Exit),
    /// the zygote: no execution can be started any more
    Zygote,
}

/// Waits for everybody who has ended. Orphans are simply reaped.
pub fn reap_all(main: Option<MainCommand>, zygote: i32) -> Vec<Ended> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, exit))) = reap() {
        if main.is_some_and(|main| main.pid == pid) {
            ended.push(Ended::Main(exit));
        } else if pid == zygote {
            ended.push(Ended::Zygote);
        }
    }
    ended
}

/// 0–255, or 128 + n, as shells and tini have it.
pub fn exit_code(exit: Exit) -> u8 {
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    };
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
