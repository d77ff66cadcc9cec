//! What the stub does to itself before it becomes the command: identity, capabilities, resource limits.

use super::context::Context;
use super::protocol::{Spec, StartFailure};
use crate::limits::Limits;
use crate::sys::{caps, process};
use nix::unistd::{Gid, Uid, getgid, getuid, setgroups, setresgid, setresuid};
use std::fmt::Display;

/// Exit code of failures that are ours, as docker run and env(1) have it.
pub(crate) const OWN_FAILURE: u8 = 125;

/// Why a descriptor that was sent did not arrive.
pub(crate) const NO_DESCRIPTORS: &str =
    "out of file descriptors; raise the daemon's limit on open files (ulimit -n) or run fewer executions at once";

pub(crate) fn failure(what: &str, error: impl Display) -> StartFailure {
    StartFailure { exit_code: OWN_FAILURE, message: format!("{what}: {error}") }
}

/// Address space above the memory limit that `RLIMIT_DATA` leaves: V8, the JVM and Go reserve gigabytes that they never touch.
const DATA_SLACK: u64 = 16 << 30;
/// CPU seconds above the budget at which the kernel ends a process, should the supervisor be unable to.
const CPU_SLACK_S: u64 = 5;

/// Resource limits (setrlimit(2)). `grouped_memory`: a controller holds memory, so no backstop is needed.
pub(crate) fn limit_resources(limits: &Limits, context: &Context, grouped_memory: bool) -> Result<(), StartFailure> {
    let lower = |resource: u32, value: u64, name: &str| {
        process::lower_rlimit(resource, value).map_err(|error| failure(&format!("set {name} to {value}"), error))
    };
    match limits.open_files {
        Some(count) => lower(libc::RLIMIT_NOFILE as u32, count, "RLIMIT_NOFILE")?,
        None => process::set_soft_rlimit(libc::RLIMIT_NOFILE as u32, context.open_files_soft)
            .map_err(|error| failure("restore RLIMIT_NOFILE", error))?,
    }
    if let Some(bytes) = limits.file_size_bytes {
        lower(libc::RLIMIT_FSIZE as u32, bytes, "RLIMIT_FSIZE")?;
    }
    if let Some(bytes) = limits.memory_bytes.filter(|_| !grouped_memory) {
        lower(libc::RLIMIT_DATA as u32, bytes.saturating_add(DATA_SLACK), "RLIMIT_DATA")?;
    }
    if let Some(ms) = limits.cpu_time_ms {
        lower(libc::RLIMIT_CPU as u32, ms.div_ceil(1000) + CPU_SLACK_S, "RLIMIT_CPU")?;
    }
    Ok(())
}

/// Becomes the execution's user and drops capabilities; `bounding` is the present bounding set. Order matters: the bounding set needs
/// `CAP_SETPCAP`, groups need `CAP_SETGID`, and both are gone after the change of user.
pub(crate) fn become_subject(spec: &Spec, bounding: u64) -> Result<(), StartFailure> {
    let keep = spec.keep_capabilities;
    if keep != u64::MAX {
        drop_bounding(bounding & !keep)?;
    }
    let changes_user = spec.uid.is_some_and(|uid| uid != getuid().as_raw());
    if changes_user && keep != 0 && keep != u64::MAX {
        caps::keep_across_setuid(true).map_err(|error| failure("keep capabilities", error))?;
    }
    change_user(spec)?;
    if keep != u64::MAX {
        keep_only(keep)?;
    }
    Ok(())
}

/// Capabilities of the bounding set, as a bit mask.
pub(crate) fn bounding_set() -> u64 {
    let held = (0..64).map_while(|capability| Some((capability, caps::in_bounding(capability)?)));
    held.filter(|(_, held)| *held).fold(0, |set, (capability, _)| set | 1 << capability)
}

fn drop_bounding(unwanted: u64) -> Result<(), StartFailure> {
    for capability in (0..64).filter(|capability| unwanted & (1 << capability) != 0) {
        if let Err(error) = caps::drop_bounding(capability) {
            // Without CAP_SETPCAP the set stays; no_new_privs then keeps anybody from gaining from it.
            let harmless = error.raw_os_error() == Some(libc::EPERM);
            return if harmless { Ok(()) } else { Err(failure("drop a capability from the bounding set", error)) };
        }
    }
    Ok(())
}

fn change_user(spec: &Spec) -> Result<(), StartFailure> {
    let gid = spec.gid.filter(|gid| *gid != getgid().as_raw());
    let uid = spec.uid.filter(|uid| *uid != getuid().as_raw());
    if uid.is_some() || gid.is_some() {
        // Supplementary groups of the daemon would reach further than the new identity says.
        setgroups(&[]).map_err(|error| failure("clear supplementary groups", error))?;
    }
    if let Some(gid) = gid {
        let gid = Gid::from_raw(gid);
        setresgid(gid, gid, gid).map_err(|error| failure(&format!("become gid {gid}"), error))?;
    }
    if let Some(uid) = uid {
        let uid = Uid::from_raw(uid);
        setresuid(uid, uid, uid).map_err(|error| failure(&format!("become uid {uid}"), error))?;
    }
    Ok(())
}

/// Leaves exactly `keep` of what we have, ambient too, so that a non-root command has them after its exec.
fn keep_only(keep: u64) -> Result<(), StartFailure> {
    let _ = caps::clear_ambient();
    let now = caps::get().map_err(|error| failure("read capabilities", error))?;
    let left = now.permitted & keep;
    let sets = caps::Sets { effective: left, permitted: left, inheritable: left };
    caps::set(sets).map_err(|error| failure("drop capabilities", error))?;
    for capability in (0..64).filter(|bit| left & (1 << bit) != 0) {
        caps::raise_ambient(capability).map_err(|error| failure("keep a capability", error))?;
    }
    Ok(())
}
