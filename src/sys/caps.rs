//! Linux capabilities of the calling thread (capabilities(7)).

use std::io;

/// Capability sets as bit masks; bit `n` is capability number `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// effective
    pub effective: u64,
    /// permitted
    pub permitted: u64,
    /// inheritable
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Reads the calling thread's sets.
pub fn get() -> io::Result<Sets> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: header and data are valid for version 3, which uses exactly two data elements.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Replaces the calling thread's sets.
pub fn set(sets: Sets) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: as in `get`; the kernel only reads `data`.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Removes one capability from the bounding set. `EINVAL` means that the kernel knows no such capability.
pub fn drop_bounding(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0)
}

/// Whether the bounding set holds the capability; `None` past the kernel's last one.
pub fn in_bounding(capability: u32) -> Option<bool> {
    // SAFETY: PR_CAPBSET_READ takes one integer and touches no memory.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, u64::from(capability), 0, 0, 0) } {
        1 => Some(true),
        0 => Some(false),
        _ => None,
    }
}

/// Clears the ambient set. Kernels before 4.3 have none and answer `EINVAL`.
pub fn clear_ambient() -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)
}

/// Raises one capability in the ambient set; it must be permitted and inheritable.
pub fn raise_ambient(capability: u32) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability))
}

/// Keeps permitted capabilities across a change from uid 0 (`PR_SET_KEEPCAPS`).
pub fn keep_across_setuid(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0)
}

fn prctl(option: i32, a: u64, b: u64) -> io::Result<()> {
    // SAFETY: every option used here takes integers only.
    if unsafe { libc::prctl(option, a, b, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
