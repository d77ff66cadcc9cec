//! Network interfaces.

use std::ffi::CStr;
use std::io;

/// Sets `IFF_UP` on an interface through any socket (netdevice(7)).
pub fn set_up(socket: i32, name: &CStr) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes().iter().take(libc::IFNAMSIZ - 1)) {
        *to = *from as libc::c_char;
    }
    // SAFETY: `request` is valid and large enough for both requests, which read and write its flags.
    unsafe {
        if libc::ioctl(socket, libc::SIOCGIFFLAGS as _, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as i16;
        if libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
