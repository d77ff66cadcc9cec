//! Reading and writing a socket that two directions share, without buffers that outlive a wait.

use bytes::BytesMut;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// Sent bytes that the peer has not acknowledged end the connection after this long, in milliseconds.
const PEER_TIMEOUT_MS: u32 = 120_000;
/// A peer that has been silent this long is asked whether it is there: seconds until then, between questions, and their number.
const KEEP_ALIVE: (u32, u32, u32) = (60, 15, 4);
/// One read while a connection carries little, in bytes.
pub(super) const SMALL_READ: usize = 16 * 1024;
/// One read of an answer, in bytes.
pub(super) const READ_SIZE: usize = 64 * 1024;
/// The same after one that was filled.
pub(super) const LARGE_READ: usize = 256 * 1024;
/// Tunnels in which nothing moves for this long, or twice as long, are ended.
pub(super) const IDLE: Duration = Duration::from_secs(900);

/// Options of every connection; a kernel that has one of them not does without.
pub(super) fn tune(stream: &TcpStream) {
    let (idle, interval, count) = KEEP_ALIVE;
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &PEER_TIMEOUT_MS);
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &idle);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &interval);
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &count);
}

/// Reads more into the buffer; 0 is the end of the stream.
pub(super) async fn read_more(stream: &TcpStream, buffer: &mut BytesMut, at_most: usize) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        buffer.reserve(at_most);
        match stream.try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Writes everything.
pub(super) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
