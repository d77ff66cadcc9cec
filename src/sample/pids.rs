//! Tasks (threads included), as `pids.max` counts them.

use super::seat::{owns_machine, seat};
use crate::cgroup::kept::Kept;
use crate::cgroup::{Controller, Layout, parse};
use std::path::Path;

/// The kept files of this resource.
#[derive(Debug)]
pub(super) struct Pids {
    current: Current,
    limits: Vec<Kept>,
}

#[derive(Debug)]
enum Current {
    Group(Kept),
    /// The task total of `/proc/loadavg`.
    Machine,
    Unknown,
}

impl Pids {
    pub(super) fn new(root: &Path, layout: &Layout) -> Pids {
        let ours = owns_machine(root);
        let current = match seat(layout, Controller::Pids, "pids.current", "pids.current") {
            Some(seat) => Current::Group(Kept::open(seat.dir.join("pids.current"))),
            None if ours => Current::Machine,
            None => Current::Unknown,
        };
        let places = layout.v2.iter().chain(layout.v1(Controller::Pids));
        let groups = places.flat_map(|place| place.chain.iter().map(|dir| dir.join("pids.max")));
        // The machine's own limits count only where nobody shares them with us.
        let machine = ["pid_max", "threads-max"].map(|name| root.join("proc/sys/kernel").join(name));
        let files = groups.chain(machine.into_iter().filter(|_| ours)).map(Kept::open);
        Pids { current, limits: files.filter(|kept| !kept.is_absent()).collect() }
    }

    /// Tasks alive and the tightest limit on them. `machine_tasks` is what `/proc/loadavg` says.
    pub(super) fn read(&mut self, machine_tasks: Option<u64>, buf: &mut [u8]) -> (Option<u64>, Option<u64>) {
        let current = match &mut self.current {
            Current::Group(file) => file.read(buf).and_then(parse::number),
            Current::Machine => machine_tasks,
            Current::Unknown => None,
        };
        let limits = self.limits.iter_mut().filter_map(|file| parse::limit(file.read(buf)?)?.number());
        (current, limits.min())
    }
}
