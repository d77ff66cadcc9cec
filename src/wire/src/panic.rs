//! A panic in a handler ends that request and nothing else: the daemon may be PID 1.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The inner future panicked and is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked;

/// Runs a function and turns a panic into an error.
pub fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Shared state is behind locks that say when they were poisoned.
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| Panicked)
}

/// Runs a future and turns a panic into an error.
pub struct CatchPanic<F>(Option<Pin<Box<F>>>);

impl<F: Future> CatchPanic<F> {
    /// Wraps.
    pub fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.as_mut() else { return Poll::Ready(Err(Panicked)) };
        // The future is never polled again after a panic, and shared state is behind locks that say when they were poisoned.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => {
                // Its destructor may panic as well.
                let broken = self.0.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_also_after_a_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(CatchPanic::new(async { 1 }).await, Ok(1));
            let late = async {
                tokio::task::yield_now().await;
                panic!("late");
            };
            assert_eq!(CatchPanic::new(late).await, Err::<(), _>(Panicked));
        });
    }
}
