//! Calls that the kernel runs itself for a thread that is not alone, until they have looked at their descriptor.
//!
//! Between our answer and that look another thread can put another socket under the number. That must not be one that sends datagrams, so
//! none is made while such a call is on its way. The kernel does not say when it has looked; but it looks within microseconds of running,
//! so a thread that has slept or used a millisecond since is past it.

use super::target::Target;
use std::path::Path;
use std::time::Duration;

/// Calls remembered at once; one more is refused.
const MAX: usize = 256;
/// CPU time within which a call has long looked at its descriptor.
const ENOUGH: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Call {
    target: Target,
    cpu: Option<Duration>,
}

/// The calls on their way.
#[derive(Debug, Default)]
pub(super) struct Passing {
    calls: Vec<Call>,
}

impl Passing {
    /// To be noted before the answer. `false` when there is no room: then the kernel must not run the call.
    pub(super) fn note(&mut self, target: Target) -> bool {
        self.calls.retain(|call| call.target.tid != target.tid);
        if self.calls.len() >= MAX {
            self.settle();
        }
        if self.calls.len() >= MAX {
            return false;
        }
        self.calls.push(Call { target, cpu: cpu_of(&target) });
        true
    }

    /// Whether no call is on its way any more.
    pub(super) fn settle(&mut self) -> bool {
        self.calls.retain(|call| !is_past(call));
        self.calls.is_empty()
    }
}

fn is_past(call: &Call) -> bool {
    let Some(now) = cpu_of(&call.target) else {
        // Gone, or a kernel that does not show it (`CONFIG_SCHED_INFO`).
        return !Path::new(&format!("/proc/{}", call.target.tid)).exists() || sleeps(&call.target);
    };
    let used = call.cpu.map(|then| now.saturating_sub(then));
    used.is_some_and(|used| used >= ENOUGH) || sleeps(&call.target)
}

/// CPU time of a thread: the first figure of its schedstat, in nanoseconds. `None` when it does not show.
fn cpu_of(target: &Target) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", target.tid)).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// A thread that sleeps in any call is past the one that we answered (proc_pid_syscall(5)).
fn sleeps(target: &Target) -> bool {
    let text = target.as_it(|| std::fs::read_to_string(format!("/proc/{}/syscall", target.tid)));
    text.is_ok_and(|text| text.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::super::target::Reach;
    use super::*;

    #[test]
    fn a_thread_that_sleeps_or_ended_is_past_and_one_that_runs_becomes_so() {
        let target = |tid| Target { tid, reach: Reach::Made, identity: None };
        let (tell, told) = std::sync::mpsc::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = wait.recv();
        });
        let mut passing = Passing::default();
        assert!(passing.note(target(told.recv().unwrap())));
        while !passing.settle() {
            std::thread::yield_now();
        }
        drop(go_on);
        sleeper.join().unwrap();
        assert!(passing.note(target(i32::MAX)));
        assert!(passing.settle(), "no such thread");
        assert!(passing.note(target(nix::unistd::gettid().as_raw())));
        let before = std::time::Instant::now();
        while !passing.settle() {
            assert!(before.elapsed() < Duration::from_secs(20));
        }
    }
}
