//! `execd top`: draws frames until `q`, Ctrl-C or a signal; without a terminal it draws one.

use super::client::{Client, ClientError};
use super::command::{Asked, Filter, Top};
use super::frame::{self, Look};
use super::ps;
use super::session;
use super::tasks::{self, TaskError};
use super::terminal::{self, Printed, Terminal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use serde_json::json;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

/// Other screen, cursor off; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Draws.
pub(super) fn run(asked: &Asked<Top>, terminal: Terminal) -> Result<u8, TaskError> {
    let client = session::open(&asked.target)?;
    let first = look(&client)?;
    if asked.json {
        return tasks::print_json(&json!({"metrics": first.metrics, "executions": first.executions}));
    }
    if asked.what.once || !terminal.tty || !io::stdin().is_terminal() {
        return tasks::print(&frame::draw(&first, None, terminal));
    }
    watch(&client, first, asked.what.interval).map_err(tasks::output_error)?;
    Ok(0)
}

fn look(client: &Client) -> Result<Look, ClientError> {
    let metrics = client.json("GET", "/metrics", None)?;
    let executions = ps::executions(client, &Filter::default())?;
    Ok(Look { metrics, executions, at_ms: ps::now_ms() })
}

fn watch(client: &Client, first: Look, interval: Duration) -> io::Result<()> {
    let keys = Keys::open()?;
    let mut previous: Option<Look> = None;
    let mut current = first;
    let mut trouble: Option<String> = None;
    loop {
        let picture = frame::draw(&current, previous.as_ref(), Terminal::detect());
        if show(&picture, trouble.as_deref())? == Printed::ReaderGone || keys.wait(interval)? == Key::Leave {
            return Ok(());
        }
        // A daemon that restarts is not the end of watching it.
        match look(client) {
            Ok(next) => {
                trouble = None;
                previous = Some(std::mem::replace(&mut current, next));
            }
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}

/// Draws over the last picture, line by line, so that nothing flickers.
fn show(picture: &str, trouble: Option<&str>) -> io::Result<Printed> {
    let mut out = String::from("\x1b[H");
    for line in picture.lines().chain(trouble) {
        out.push_str(line);
        out.push_str("\x1b[K\r\n");
    }
    out.push_str("\x1b[J");
    terminal::print(&out)
}

/// What the person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Leave,
    Nothing,
}

/// The keyboard without line editing and echo, and signals as readable events; undone when dropped.
struct Keys {
    saved: Termios,
    signals: SignalFd,
}

impl Keys {
    fn open() -> io::Result<Self> {
        let mut wanted = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            wanted.add(signal);
        }
        wanted.thread_block()?;
        let signals = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let saved = tcgetattr(io::stdin())?;
        let mut raw = saved.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        let keys = Self { saved, signals };
        terminal::print(ENTER)?;
        Ok(keys)
    }

    /// Waits for a key, a signal or the time.
    fn wait(&self, interval: Duration) -> io::Result<Key> {
        let stdin = io::stdin();
        let mut watched =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(interval).unwrap_or(PollTimeout::MAX);
        poll(&mut watched, timeout)?;
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        if ready(&watched[1]) {
            return Ok(Key::Leave);
        }
        if !ready(&watched[0]) {
            return Ok(Key::Nothing);
        }
        let mut pressed = [0_u8; 64];
        let count = stdin.lock().read(&mut pressed)?;
        // An end of input means that the terminal is gone.
        let leave = count == 0 || pressed[..count].iter().any(|key| matches!(key, b'q' | b'Q' | 3));
        Ok(if leave { Key::Leave } else { Key::Nothing })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = terminal::print(LEAVE);
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.saved);
    }
}
