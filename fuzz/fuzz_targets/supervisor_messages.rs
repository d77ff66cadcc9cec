//! What comes over the socket from the side that runs foreign code, and what its side gets: whatever is understood is understood in the
//! same way when it is sent again.
#![no_main]

use execd::fuzzing::supervisor;
use execd::supervisor::protocol::{Errand, Order, Report, Spec};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// serde believes lengths up to a mebibyte; a specification has at most four.
const CAP: usize = 10 << 20;

fn encoded<M: Serialize>(message: &M) -> Vec<u8> {
    postcard::to_allocvec(message).expect("what was read can be written")
}

fn again<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<M> {
    let message: M = execd_fuzz::within(CAP, || postcard::from_bytes(bytes).ok())?;
    let sent = encoded(&message);
    let arrived: M = postcard::from_bytes(&sent).expect("what was written can be read");
    assert_eq!(encoded(&arrived), sent);
    Some(message)
}

fn usable(spec: &Spec) {
    let _ = spec.shape();
    assert!(spec.argv.iter().chain(spec.env.iter()).all(|string| !string.to_bytes().contains(&0)));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = (again::<Report>(bytes), again::<Errand>(bytes));
    for sent in supervisor::stub_messages(bytes).into_iter().flatten() {
        assert!(supervisor::stub_messages(&sent).contains(&Some(sent)));
    }
    let _ = again::<Spec>(bytes).as_ref().map(usable);
    let parcel = match again::<Order>(bytes) {
        Some(Order::Start(parcel)) => parcel,
        // The beginning of a parcel whose content travels beside it.
        _ => match postcard::from_bytes(&[0, 0]) {
            Ok(Order::Start(parcel)) => parcel,
            other => panic!("{other:?} is not a start"),
        },
    };
    let fd = nix::sys::memfd::memfd_create(c"fuzz", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).expect("memfd");
    let file = File::from(fd);
    file.write_all_at(bytes, 0).expect("memory");
    if let Ok((spec, others)) = execd_fuzz::within(CAP, || parcel.open(&[file.into()])) {
        assert!(others <= 1);
        usable(&spec);
    }
    assert!(postcard::from_bytes::<Order>(&[0, 0]).is_ok());
});
