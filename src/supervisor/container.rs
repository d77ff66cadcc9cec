//! Memory of the sandbox itself, where running out of it would end everybody.
//!
//! With `memory.oom.group` set on the container the kernel kills the daemon together with the execution that ate the memory
//! (cgroup-v2, `memory.oom.group`). Where executions have no memory group of their own, the watchdog has to be first.

use crate::cgroup::Layout;
use crate::cgroup::{Limit, files};
use std::path::{Path, PathBuf};

/// The group whose out-of-memory kill takes all.
#[derive(Clone, Debug)]
pub struct ContainerMemory {
    dir: PathBuf,
}

/// One reading, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// `memory.max`
    pub(crate) limit: u64,
    /// charged to the group, without what the kernel could drop
    pub(crate) unreclaimable: u64,
}

impl ContainerMemory {
    /// The innermost visible group that has a limit and dies as a whole; there is none outside of such containers.
    pub fn find(layout: &Layout) -> Option<ContainerMemory> {
        let chain = &layout.v2.as_ref()?.chain;
        let dies_whole = |dir: &Path| files::read_u64(&dir.join("memory.oom.group")).is_ok_and(|value| value == 1);
        let limited = |dir: &Path| matches!(files::read_limit(&dir.join("memory.max")), Ok(Limit::At(_)));
        let dir = chain.iter().find(|dir| limited(dir) && dies_whole(dir))?;
        Some(ContainerMemory { dir: dir.clone() })
    }

    /// `None` when the limit was lifted or a figure is missing.
    pub(crate) fn read(&self) -> Option<Reading> {
        let Limit::At(limit) = files::read_limit(&self.dir.join("memory.max")).ok()? else { return None };
        let current = files::read_u64(&self.dir.join("memory.current")).ok()?;
        let keys = ["inactive_file", "active_file", "slab_reclaimable"];
        let droppable = files::read_keyed(&self.dir.join("memory.stat"), &keys).ok()?;
        let droppable = droppable.into_iter().flatten().fold(0, u64::saturating_add);
        Some(Reading { limit, unreclaimable: current.saturating_sub(droppable) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_cache_and_slab_do_not_count() {
        let dir = std::env::temp_dir().join(format!("execd-container-memory-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 300\nfile 500\ninactive_file 400\nactive_file 100\nslab_reclaimable 50\n");
        let memory = ContainerMemory { dir: dir.clone() };
        assert_eq!(memory.read(), Some(Reading { limit: 1000, unreclaimable: 350 }));
        write("memory.max", "max\n");
        assert_eq!(memory.read(), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
