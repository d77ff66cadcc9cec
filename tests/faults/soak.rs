//! Not a row of every run: `EXECD_SOAK_MINUTES=20 make test ARGS='--test faults soak -- --ignored'`.

use crate::support::{Daemon, Start, proc};
use std::time::{Duration, Instant};

#[test]
#[ignore = "takes twenty minutes"]
fn twenty_minutes_of_runs_and_reconnects_leave_everything_flat() {
    let minutes = std::env::var("EXECD_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(20u64);
    let daemon = Daemon::own(&[]);
    let round = |count: u32| {
        for i in 0..count {
            daemon.run(&Start::shell(&format!("echo {i}; exit {}", i % 3)));
            let mut events = daemon.client.events("/metrics/watch", None);
            events.patience(Duration::from_secs(5));
            assert!(events.next().is_some());
            events.cut();
        }
    };
    // The first minute fills rings, tables and caches up to their bounds.
    let warm = Instant::now() + Duration::from_secs(60);
    while Instant::now() < warm {
        round(20);
    }
    // At rest: the last runs are tidied up, and threads that had nothing to do are gone.
    let figures = || {
        std::thread::sleep(Duration::from_secs(6));
        (proc::rss(daemon.pid).unwrap(), proc::open_fds(daemon.pid), proc::stat(daemon.pid).unwrap().threads)
    };
    let before = figures();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(minutes * 60) {
        round(20);
    }
    let after = figures();
    let hours = begun.elapsed().as_secs_f64() / 3600.0;
    let slope = after.0.saturating_sub(before.0) as f64 / hours;
    println!("{before:?} → {after:?}, {slope:.0} bytes per hour");
    assert!(slope <= f64::from(1 << 20), "RSS grows by {slope:.0} bytes an hour");
    assert_eq!((after.1, after.2), (before.1, before.2), "descriptors and threads");
}
