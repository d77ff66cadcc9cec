//! The terminal: whether there is one, how wide it is, colours, and quiet ends of pipes.

use std::env;
use std::io::{self, IsTerminal, Write};

/// What standard output can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// It is a terminal.
    pub tty: bool,
    /// Colours are wanted.
    pub colour: bool,
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

/// Colours with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Headings.
    Strong,
    /// Beside the point.
    Faint,
}

/// The size when nothing tells it.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

impl Terminal {
    /// No terminal: no colours, the usual size.
    pub const PLAIN: Terminal = Terminal { tty: false, colour: false, columns: DEFAULT_SIZE.0, rows: DEFAULT_SIZE.1 };

    /// Looks at standard output. `NO_COLOR` (no-color.org) and `TERM=dumb` switch colours off.
    pub fn detect() -> Self {
        let tty = io::stdout().is_terminal();
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        let (columns, rows) = if tty { size() } else { DEFAULT_SIZE };
        Self { tty, colour: tty && !no_color && !dumb, columns, rows }
    }

    /// Text in a tone, where colours are wanted.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn size() -> (usize, usize) {
    let given = |name| env::var(name).ok().and_then(|text| text.parse().ok()).filter(|n| (1..=10_000).contains(n));
    let (columns, rows) = crate::sys::tty::window_size(&io::stdout()).unwrap_or((0, 0));
    let pick = |given: Option<usize>, measured: u16, fallback| match (given, measured) {
        (Some(given), _) => given,
        (None, 0) => fallback,
        (None, measured) => usize::from(measured),
    };
    (pick(given("COLUMNS"), columns, DEFAULT_SIZE.0), pick(given("LINES"), rows, DEFAULT_SIZE.1))
}

/// Writes to standard output at once. A reader that went away (`| head`) is no failure: the caller is told to stop.
///
/// # Errors
/// Anything but a broken pipe.
pub fn print(text: &str) -> io::Result<Printed> {
    print_bytes(text.as_bytes())
}

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// It was taken.
    Read,
    /// The pipe's reader is gone.
    ReaderGone,
}

/// As [`print()`], for bytes that may not be text.
///
/// # Errors
/// Anything but a broken pipe.
pub fn print_bytes(bytes: &[u8]) -> io::Result<Printed> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Printed::Read),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Printed::ReaderGone),
        Err(error) => Err(error),
    }
}

/// Writes a line to standard error; nobody can be told if that fails.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
