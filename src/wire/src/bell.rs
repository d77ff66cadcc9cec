//! Waiting for what happens all the time and for what happens seldom, without asking for the latter each time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Which of the two came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First<A, B> {
    Often(A),
    Seldom(B),
}

/// Wakes the task and remembers who called.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// Waits for either; `often` is asked first, and `seldom` only when it has called since it was asked.
pub(crate) async fn first<A: Future, B: Future>(mut often: Pin<&mut A>, seldom: B) -> First<A::Output, B::Output> {
    let mut seldom = pin!(seldom);
    let mut bell: Option<(Arc<Bell>, Waker)> = None;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(end) = often.as_mut().poll(cx) {
            return Poll::Ready(First::Often(end));
        }
        let (bell, waker) = match &mut bell {
            Some(known) if known.0.task.will_wake(cx.waker()) => known,
            other => {
                let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: cx.waker().clone() });
                other.insert((bell.clone(), bell.into()))
            }
        };
        // The acquire pairs with the release of the call: what it tells of is seen below.
        if !bell.rung.load(Ordering::Relaxed) || !bell.rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        seldom.as_mut().poll(&mut Context::from_waker(waker)).map(First::Seldom)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;
    use tokio::sync::{Notify, mpsc};

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") })
    }

    #[test]
    fn the_seldom_one_is_asked_when_it_calls_and_not_before() {
        run(async {
            let (asked, called) = (Cell::new(0), Notify::new());
            let (sender, mut receiver) = mpsc::channel::<u32>(1);
            let often = async {
                let mut sum = 0;
                while let Some(n) = receiver.recv().await {
                    sum += n;
                }
                sum
            };
            let mut twice = pin!(async {
                called.notified().await;
                called.notified().await;
                "called"
            });
            let seldom = std::future::poll_fn(|cx| {
                asked.set(asked.get() + 1);
                twice.as_mut().poll(cx)
            });
            let mut often = pin!(often);
            let mut both = pin!(first(often.as_mut(), seldom));
            let rest = async {
                for n in 0..100 {
                    sender.send(n).await.unwrap();
                    tokio::task::yield_now().await;
                }
                assert_eq!(asked.get(), 1);
                called.notify_one();
                tokio::task::yield_now().await;
                assert_eq!(asked.get(), 2);
                called.notify_one();
                std::future::pending::<()>().await;
            };
            let end = tokio::select! { biased; end = &mut both => end, () = rest => unreachable!() };
            assert_eq!(end, First::Seldom("called"));
        });
    }

    #[test]
    fn the_often_one_comes_first() {
        run(async {
            let often = pin!(async { 1 });
            assert_eq!(first(often, async { 2 }).await, First::Often(1));
            let never = pin!(std::future::pending::<()>());
            assert_eq!(first(never, tokio::time::sleep(Duration::from_millis(2))).await, First::Seldom(()));
        });
    }

    #[test]
    fn another_task_goes_on_where_the_first_one_waited() {
        run(async {
            let called = Arc::new(Notify::new());
            let theirs = called.clone();
            let mut both = Box::pin(async move {
                let never = pin!(std::future::pending::<()>());
                first(never, theirs.notified()).await
            });
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut both).await.is_err());
            let elsewhere = tokio::spawn(both);
            tokio::task::yield_now().await;
            called.notify_one();
            assert_eq!(elsewhere.await.unwrap(), First::Seldom(()));
        });
    }
}
