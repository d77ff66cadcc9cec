use super::*;
use crate::sys::time;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SLICE: Duration = Duration::from_micros(10);

fn fresh(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("execd-walk-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).expect("mkdir");
    root
}

fn start(root: &Path, old: Old, ceiling: u64) -> Walk {
    Walk::begin(File::open(root).expect("open root").as_fd(), old, ceiling).expect("begin")
}

fn finish(mut walk: Walk) -> Sum {
    loop {
        assert!(walk.open.len() <= KEPT_OPEN);
        if let Some(sum) = walk.step(SLICE) {
            return sum;
        }
    }
}

fn walk(root: &Path) -> u64 {
    let sum = finish(start(root, Old::None, u64::MAX));
    assert!(!sum.partial);
    sum.new
}

#[test]
fn files_count_once_and_links_are_not_followed() {
    let root = fresh("links");
    fs::create_dir_all(root.join("a/b")).expect("mkdir");
    let empty = walk(&root);
    fs::write(root.join("a/b/data"), vec![1; 1 << 20]).expect("write");
    let one = walk(&root);
    assert!(one - empty >= 1 << 20);
    fs::hard_link(root.join("a/b/data"), root.join("a/again")).expect("link");
    std::os::unix::fs::symlink("/", root.join("everything")).expect("symlink");
    assert!(walk(&root) - one < 64 << 10, "hard link or symlink counted again");
    fs::remove_dir_all(&root).expect("cleanup");
}

#[test]
fn files_changed_since_the_start_are_not_old() {
    let root = fresh("old");
    fs::write(root.join("before"), vec![1; 1 << 20]).expect("write");
    std::thread::sleep(Duration::from_millis(30));
    let began = time::of_files();
    fs::write(root.join("after"), vec![1; 2 << 20]).expect("write");
    // A program may give a file any mtime.
    File::open(root.join("after")).expect("open").set_modified(std::time::UNIX_EPOCH).expect("utimes");
    let sum = finish(start(&root, Old::Before(began), u64::MAX));
    assert!((1 << 20..2 << 20).contains(&sum.old), "{sum:?}");
    assert!((2 << 20..3 << 20).contains(&sum.new), "{sum:?}");
    assert_eq!(finish(start(&root, Old::All, u64::MAX)).new, 0);
    fs::remove_dir_all(&root).expect("cleanup");
}

#[test]
fn coarse_time_stamps_do_not_make_a_file_old() {
    let at = |seconds, nanos| Duration::new(seconds, nanos);
    let cases = [
        (at(100, 499), at(100, 500), true),
        (at(100, 500), at(100, 500), false),
        (at(101, 1), at(100, 500), false),
        // whole seconds: FAT rounds down to even ones
        (at(100, 0), at(100, 500), false),
        (at(100, 0), at(101, 500), false),
        (at(98, 0), at(100, 500), true),
    ];
    for (changed, began, expected) in cases {
        assert_eq!(Old::Before(began).holds(changed), expected, "{changed:?} against {began:?}");
    }
}

#[test]
fn every_level_of_a_deep_tree_is_walked_with_few_descriptors() {
    let root = fresh("deep");
    let mut folder = root.clone();
    for _ in 0..400 {
        // Names on both sides of the way down, so that reading has to go on where it was left.
        for name in ["a", "b", "y", "z"] {
            fs::create_dir(folder.join(name)).expect("mkdir");
        }
        folder.push("m");
        fs::create_dir(&folder).expect("mkdir");
    }
    let before = walk(&root);
    assert!(before >= 400 * 5 * PER_NAME, "{before}");
    fs::write(folder.join("data"), vec![1; 1 << 20]).expect("write");
    assert!(walk(&root) - before >= 1 << 20);
    fs::remove_dir_all(&root).expect("cleanup");
}

#[test]
fn a_level_that_was_moved_away_ends_its_branch_only() {
    let root = fresh("moved");
    let mut folder = root.clone();
    for _ in 0..KEPT_OPEN + 10 {
        folder.push("d");
    }
    fs::create_dir_all(&folder).expect("mkdir");
    let mut walk = start(&root, Old::None, u64::MAX);
    while walk.closed.len() < 5 {
        let level = walk.deepest.as_mut().or(walk.open.last_mut()).expect("a level");
        let name = level.next_name().expect("a name");
        walk.visit(&name);
    }
    let above = walk.closed.last_mut().expect("closed");
    above.inode += 1_000_000;
    assert!(finish(walk).partial);
    fs::remove_dir_all(&root).expect("cleanup");
}

#[test]
fn many_names_are_read_in_slices_and_each_costs_something() {
    let root = fresh("many");
    for number in 0..5000 {
        File::create(root.join(number.to_string())).expect("create");
    }
    let mut walk = start(&root, Old::None, u64::MAX);
    let mut steps = 0;
    let sum = loop {
        steps += 1;
        if let Some(sum) = walk.step(SLICE) {
            break sum;
        }
    };
    assert!(steps > 10, "{steps} steps");
    assert_eq!(sum.new, 5000 * PER_NAME);
    fs::remove_dir_all(&root).expect("cleanup");
}

#[test]
fn a_walk_that_found_too_much_ends_soon() {
    let root = fresh("ceiling");
    for number in 0..200 {
        File::create(root.join(number.to_string())).expect("create");
    }
    let mut walk = start(&root, Old::None, 10 * PER_NAME);
    assert_eq!(walk.step(Duration::ZERO), None);
    walk.spent += OVERTIME;
    let sum = walk.step(Duration::ZERO).expect("ended");
    assert!((11 * PER_NAME..200 * PER_NAME).contains(&sum.new), "{sum:?}");
    fs::remove_dir_all(&root).expect("cleanup");
}

#[test]
fn the_owner_is_let_into_a_folder_again() {
    let root = fresh("mode");
    let mode = |path: &Path| fs::metadata(path).expect("stat").permissions().mode() & 0o777;
    for flags in [OFlag::O_RDONLY, OFlag::O_PATH] {
        fs::set_permissions(&root, Permissions::from_mode(0o220)).expect("chmod");
        let parent = File::open(root.parent().expect("parent")).expect("open");
        let name = root.file_name().expect("name");
        let folder = openat(&parent, name, flags, Mode::empty())
            .or_else(|_| openat(&parent, name, OFlag::O_PATH, Mode::empty()));
        let folder = folder.expect("open");
        assert!(admit(folder.as_fd()));
        assert_eq!(mode(&root), 0o720);
        assert!(!admit(folder.as_fd()), "nothing left to change");
    }
    fs::remove_dir_all(&root).expect("cleanup");
}
