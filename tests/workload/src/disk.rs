//! Programs that fill a disk or a descriptor table.

use crate::json::Object;
use crate::memory::write_zeros;
use std::fs::{File, OpenOptions};
use std::time::Duration;

fn hold() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn create(path: &str) -> Option<File> {
    OpenOptions::new().create(true).truncate(true).write(true).open(path).ok()
}

/// Fills one file and stays.
pub(crate) fn fill(path: &str, bytes: u64) {
    let written = create(path).map_or(0, |mut file| write_zeros(&mut file, bytes));
    Object::new().value("written", written).print();
    hold()
}

/// Fills a file that has no name any more.
pub(crate) fn deleted_open(path: &str, bytes: u64) {
    let Some(mut file) = create(path) else { std::process::exit(3) };
    let _ = std::fs::remove_file(path);
    let written = write_zeros(&mut file, bytes);
    Object::new().value("written", written).print();
    hold()
}

/// `count` files of `bytes` each.
pub(crate) fn many_files(folder: &str, count: u64, bytes: u64) {
    let mut written = 0;
    for i in 0..count {
        written += create(&format!("{folder}/f{i}")).map_or(0, |mut file| write_zeros(&mut file, bytes));
    }
    Object::new().value("files", count).value("written", written).print();
    hold()
}

/// Opens /dev/null until the system refuses or `count` is reached.
pub(crate) fn open_many(count: u64) {
    let mut files = Vec::new();
    let mut errno = 0;
    while (files.len() as u64) < count {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                errno = error.raw_os_error().unwrap_or(0);
                break;
            }
        }
    }
    let opened = files.len();
    drop(files);
    Object::new().value("opened", opened).value("errno", errno).print();
}
