//! Work beside the caller. It is boxed, so that the runtime's own code exists once and not once per kind of work: a kilobyte or two each.

use std::future::Future;
use std::pin::Pin;

/// A future that nobody asks for a result.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a future beside the caller, on the runtime.
pub fn run(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(Box::pin(work) as Work));
}

/// Runs a function that may block beside the caller, in a thread.
pub fn run_blocking(work: impl FnOnce() + Send + 'static) {
    let work: Box<dyn FnOnce() + Send> = Box::new(work);
    drop(tokio::task::spawn_blocking(work));
}
