//! A private, read-only view of kernel file systems for one process.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::CString;
use std::io;
use std::path::Path;

const MOUNT_ATTR_RDONLY: u64 = 1;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Gives the calling process its own mount namespace that still receives mounts from the parent's.
///
/// Needs `CAP_SYS_ADMIN`; `EPERM` in a default container.
pub fn enter_private_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}

/// Mounts a `/proc` of the calling process's own that shows only processes which it may trace (proc(5), `hidepid=ptraceable`, per mount
/// since Linux 5.8; older kernels refuse the word).
pub fn private_proc() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, Some("hidepid=ptraceable"))?;
    Ok(())
}

/// Makes `path` and everything mounted below it read-only here (mount_setattr(2), Linux 5.12).
pub fn read_only_recursive(path: &Path) -> io::Result<()> {
    let c_path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let attributes = MountAttr { attr_set: MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: path and attribute struct are valid for the call and the size passed is that of the struct.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c_path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Bind-mounts `path` onto itself, so that it can be made read-only apart from the rest of its file system.
pub fn bind_onto_itself(path: &Path) -> io::Result<()> {
    mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}
