//! Pressure stall figures of our own group; the machine's only where the machine is ours.

use super::seat::owns_machine;
use super::snapshot::Pressure;
use crate::cgroup::kept::Kept;
use crate::cgroup::parse::{self, Psi};
use crate::cgroup::{Controller, Layout};
use std::path::{Path, PathBuf};

/// The kept files: CPU, memory, I/O. `None` where no figure of ours exists.
#[derive(Debug)]
pub(super) struct PressureFiles([Option<Kept>; 3]);

impl PressureFiles {
    pub(super) fn new(root: &Path, layout: &Layout) -> PressureFiles {
        let resources = [("cpu", Controller::Cpu), ("memory", Controller::Memory), ("io", Controller::Blkio)];
        PressureFiles(resources.map(|(name, controller)| {
            let kept = Kept::open(file(root, layout, name, controller)?);
            Some(kept).filter(|kept| !kept.is_absent())
        }))
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> Pressure {
        let [cpu, memory, io] = &mut self.0;
        let mut one = |kept: &mut Option<Kept>| -> Option<Psi> { parse::psi(kept.as_mut()?.read(buf)?) };
        Pressure { cpu: one(cpu), memory: one(memory), io: one(io) }
    }
}

/// v1 has no pressure files; the v2 tree of a hybrid system has them for our v2 group.
fn file(root: &Path, layout: &Layout, name: &str, v1: Controller) -> Option<PathBuf> {
    if let Some(group) = layout.v2.as_ref().filter(|place| !place.machine_root) {
        return Some(group.dir.join(format!("{name}.pressure")));
    }
    let whole = layout.v1(v1).is_none_or(|place| place.machine_root);
    (whole && owns_machine(root)).then(|| root.join("proc/pressure").join(name))
}
