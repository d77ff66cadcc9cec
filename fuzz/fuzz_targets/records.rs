//! What an earlier daemon left in the state directory, where executions may have written too, and the environments of strange processes.
#![no_main]

use execd::exec::ExecutionView;
use execd::exec::output::{Selection, Stream};
use execd::fuzzing::exec::{OutputFile, execution_of};
use std::sync::LazyLock;

static PLACE: LazyLock<std::path::PathBuf> =
    LazyLock::new(|| format!("/dev/shm/execd-fuzz-{}", std::process::id()).into());

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(view) = serde_json::from_slice::<ExecutionView>(bytes) {
        let written = serde_json::to_vec(&view).expect("what was read can be written");
        assert!(serde_json::from_slice::<ExecutionView>(&written).is_ok());
    }
    if let Some(id) = execution_of(bytes) {
        assert!(bytes.len() >= id.len() && !id.contains('\0'));
    }

    std::fs::write(&*PLACE, bytes).expect("a file in memory");
    if let Ok(file) = OutputFile::open(&PLACE) {
        let [both, stdout, stderr] = [Selection::Both, Selection::Stdout, Selection::Stderr].map(|s| content(&file, s));
        assert!(both.len() <= bytes.len());
        assert_eq!(both.len(), stdout.len() + stderr.len());
        assert_eq!(both.len() as u64, file.end().of(Selection::Both));
    }
    let _ = std::fs::remove_file(&*PLACE);
});

/// Everything from the start on, in reads of a few bytes.
fn content(file: &OutputFile, selection: Selection) -> Vec<u8> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    loop {
        let found = execd_fuzz::within(4 << 20, || file.read(selection, cursor, 300));
        let Some(last) = found.last() else { return all };
        let next = last.at.of(selection) + last.bytes.len() as u64;
        assert!(next > cursor, "a read that finds something goes on");
        cursor = next;
        for segment in found {
            assert!(selection != Selection::Stdout || segment.stream == Stream::Stdout);
            all.extend_from_slice(&segment.bytes);
        }
    }
}
