//! The way into an execution's standard input. Writers wait for the reader's speed; closing waits for nobody.

use super::execution::Refused;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Open or closed.
#[derive(Debug, Default)]
pub(super) struct Feed {
    now: Mutex<Option<Arc<Line>>>,
}

/// One pipe. It closes with its last writer, and closing sends all of them away.
#[derive(Debug)]
struct Line {
    pipe: tokio::sync::Mutex<pipe::Sender>,
    closed: watch::Sender<bool>,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a new pipe, or none, in the place of the old one.
    pub(super) fn set(&self, pipe: Option<pipe::Sender>) {
        let line = pipe.map(|pipe| Arc::new(Line { pipe: pipe.into(), closed: watch::Sender::new(false) }));
        let old = std::mem::replace(&mut *self.lock(), line);
        if let Some(old) = old {
            old.closed.send_replace(true);
        }
    }

    /// Writes everything, or says that it cannot. A write under way when the pipe is closed stops where it is.
    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), Refused> {
        let line = self.lock().clone().ok_or(Refused::StdinClosed)?;
        let mut closed = line.closed.subscribe();
        let written = tokio::select! {
            biased;
            () = async { drop(closed.wait_for(|closed| *closed).await) } => false,
            result = async { line.pipe.lock().await.write_all(bytes).await } => result.is_ok(),
        };
        if written {
            return Ok(());
        }
        let mut now = self.lock();
        if now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &line)) {
            *now = None;
        }
        Err(Refused::StdinClosed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;
    use std::io::Read;

    fn sender() -> (std::fs::File, pipe::Sender) {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        (read.into(), pipe::Sender::from_owned_fd(write).unwrap())
    }

    #[tokio::test]
    async fn closing_frees_writers_that_nobody_reads_and_gives_the_reader_its_end() {
        let (mut read, write) = sender();
        let feed = Arc::new(Feed::default());
        feed.set(Some(write));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let feed = feed.clone();
                tokio::spawn(async move { feed.write(&[1; 1 << 20]).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        feed.set(None);
        for writer in writers {
            assert_eq!(writer.await.unwrap(), Err(Refused::StdinClosed));
        }
        // The end of the stream is reached, so no sender is left.
        assert!(read.read_to_end(&mut Vec::new()).unwrap() > 0);
        assert_eq!(feed.write(b"x").await, Err(Refused::StdinClosed));
    }

    #[tokio::test]
    async fn a_reader_that_went_away_closes_this_pipe_only() {
        let (read, write) = sender();
        let feed = Feed::default();
        feed.set(Some(write));
        drop(read);
        assert_eq!(feed.write(b"x").await, Err(Refused::StdinClosed));
        let (mut read, write) = sender();
        feed.set(Some(write));
        assert_eq!(feed.write(b"ab").await, Ok(()));
        feed.set(None);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab");
    }
}
