//! Which group speaks for the container, per resource.

use crate::cgroup::mountinfo::Version;
use crate::cgroup::{Controller, Layout, Place};
use std::path::Path;

/// Inode of the first PID namespace (`PROC_PID_INIT_INO` in include/linux/proc_ns.h): a plain host or a microVM.
const INITIAL_PIDNS: &str = "pid:[4026531836]";

/// The group that accounts for a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) version: Version,
    pub(super) dir: &'a Path,
    /// Its figures are those of the whole machine.
    pub(super) machine_root: bool,
}

/// The nearest visible group that has `file`: a v2 controller may be off in our own group and on above it.
fn nearest<'a>(place: &'a Place, file: &str) -> Option<Seat<'a>> {
    let dir = place.chain.iter().find(|dir| dir.join(file).exists())?;
    let machine_root = place.machine_root && *dir == place.dir;
    Some(Seat { version: place.version, dir, machine_root })
}

/// The seat of a resource. On hybrid systems v1 holds the controllers, and the v2 group is often the runtime's rather than the
/// container's; only where v1 has no group of its own for us does v2 say more.
pub(super) fn seat<'a>(layout: &'a Layout, controller: Controller, v1_file: &str, v2_file: &str) -> Option<Seat<'a>> {
    let v1 = layout.v1(controller).and_then(|place| nearest(place, v1_file));
    let v2 = layout.v2.as_ref().and_then(|place| nearest(place, v2_file));
    match (v1, v2) {
        (Some(v1), Some(v2)) if v1.machine_root && !v2.machine_root => Some(v2),
        (Some(v1), _) => Some(v1),
        (None, v2) => v2,
    }
}

/// Whether the figures of the machine are our own: nothing is between us and the kernel.
pub(super) fn owns_machine(root: &Path) -> bool {
    std::fs::read_link(root.join("proc/self/ns/pid")).is_ok_and(|link| link.as_os_str() == INITIAL_PIDNS)
}
