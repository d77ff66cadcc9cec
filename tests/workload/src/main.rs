//! `workload SUBCOMMAND …`: every program that execd's tests need as an execution, ordinary or hostile.
//!
//! Each subcommand prints one JSON line about what it saw, so that a test asserts on facts and not on prose. It is built
//! static, so that the same file runs on the host, in a scratch container and in an initrd.

mod attack;
mod attack_cgroup;
mod attack_files;
mod attack_process;
mod cpu;
mod disk;
mod foreign_abi;
mod inspect;
mod json;
mod memory;
mod net;
mod processes;
mod streams;

/// Arguments after the subcommand.
pub(crate) struct Args(Vec<String>);

impl Args {
    /// The text at `index`, or an explanation and exit 2: a test that calls us wrongly must not pass by accident.
    pub(crate) fn text(&self, index: usize) -> &str {
        self.0.get(index).map(String::as_str).unwrap_or_else(|| fail(&format!("argument {} is missing", index + 1)))
    }

    /// The number at `index`.
    pub(crate) fn number(&self, index: usize) -> u64 {
        self.text(index).parse().unwrap_or_else(|_| fail(&format!("argument {} is not a number", index + 1)))
    }

    /// The number at `index` if it is given.
    pub(crate) fn maybe_number(&self, index: usize) -> Option<u64> {
        (index < self.0.len()).then(|| self.number(index))
    }

    /// The signed number at `index` (process ids may be -1).
    pub(crate) fn pid(&self, index: usize) -> i32 {
        match self.text(index) {
            // SAFETY: no arguments, cannot fail
            "parent" => unsafe { libc::getppid() },
            text => text.parse().unwrap_or_else(|_| fail("not a process id")),
        }
    }
}

fn fail(why: &str) -> ! {
    eprintln!("workload: {why}");
    std::process::exit(2)
}

fn main() {
    restore_sigpipe();
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| fail("no subcommand"));
    let args = Args(words.collect());
    if name.starts_with("attack") && std::env::var_os("EXECD_EXECUTION_ID").is_none() {
        fail("attacks only run as an execution of execd");
    }
    match name.as_str() {
        "exit" => std::process::exit(args.number(0) as i32),
        "signal" => processes::die_by_signal(args.number(0) as i32),
        "sleep-ms" => processes::sleep_ms(args.number(0)),
        "obey-term" => processes::obey_term(args.number(0) as i32),
        "spin" => cpu::spin(args.number(0), args.maybe_number(1)),
        "fork-spin" => cpu::fork_spin(args.number(0), args.number(1)),
        "spin-autoreap" => cpu::spin_autoreap(args.number(0)),
        "alloc" => memory::alloc(args.number(0), args.maybe_number(1)),
        "alloc-many" => memory::alloc_many(args.number(0), args.number(1)),
        "mmap-shared" => memory::mmap_shared(args.number(0)),
        "memfd" => memory::memfd(args.number(0)),
        "fill-file" => memory::fill_file(args.text(0), args.number(1)),
        "map-file" => memory::map_file(args.text(0), args.number(1)),
        "page-cache" => memory::page_cache(args.text(0), args.number(1)),
        "share-after-fork" => memory::share_after_fork(args.number(0), args.number(1)),
        "spoil-signals" => processes::spoil_signals(&args.0),
        "forkbomb" => processes::fork_bomb(),
        "threads" => processes::threads(args.number(0)),
        "orphans" => processes::orphans(args.number(0), args.number(1)),
        "daemonize" => processes::daemonize(args.number(0)),
        "hold-stdout" => processes::hold_stdout(args.number(0), args.number(1) as i32),
        "yes" => streams::yes(args.maybe_number(0)),
        "echo-stdin" => streams::echo_stdin(),
        "interleave" => streams::interleave(args.number(0)),
        "pattern" => streams::pattern(args.number(0)),
        "fds" => inspect::fds(),
        "signal-state" => inspect::signal_state(),
        "env" => inspect::environment(),
        "caps" => inspect::privileges(),
        "rlimits" => inspect::rlimits(),
        "attack" => attack::run(args.text(0), args.pid(1)),
        "attack-cgroup" => attack_cgroup::run(),
        "attack-files" => attack_files::run(args.pid(0)),
        "i386" => foreign_abi::i386(),
        "x32" => foreign_abi::x32(),
        "net" => net::run(&args),
        "fill-disk" => disk::fill(args.text(0), args.number(1)),
        "deleted-open-file" => disk::deleted_open(args.text(0), args.number(1)),
        "many-files" => disk::many_files(args.text(0), args.number(1), args.number(2)),
        "open-many-fds" => disk::open_many(args.number(0)),
        other => fail(&format!("unknown subcommand {other}")),
    }
}

/// The Rust runtime ignores SIGPIPE; a program that `yes | head` is modelled on must die of it.
fn restore_sigpipe() {
    // SAFETY: installs a default disposition
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
