//! Bodies of start requests: one that is accepted is JSON to everybody, and within the bounds that the engine relies on.
#![no_main]

use execd::exec::{MAX_INLINE_STDIN, Stdin};
use execd::fuzzing::api;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A value of some tens of bytes in memory takes two on the wire; lists begin with room for four.
    let cap = 512 * bytes.len() + (64 << 10);
    for waits in [false, true] {
        match execd_fuzz::within(cap, || api::start(bytes, waits)) {
            Ok(request) => {
                assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|value| value.is_object()));
                assert_eq!(request.awaited, waits);
                assert!(request.retries <= 10 && request.labels.len() <= 64);
                assert!(request.task_id.is_none_or(|id| id.len() <= 256 && !id.contains('\0')));
                assert!(request.limits.cpu_cores.is_none_or(|cores| cores > 0.0));
                assert!(request.uid.is_none_or(|uid| uid != u32::MAX) && request.gid.is_none_or(|gid| gid != u32::MAX));
                if let Stdin::Bytes(bytes) = request.stdin {
                    assert!(bytes.len() <= MAX_INLINE_STDIN);
                }
            }
            Err(problem) => {
                assert!([400, 413, 422].contains(&problem.code().status().as_u16()));
                assert!(!problem.detail().is_empty());
            }
        }
    }
});
