//! A virtual machine without hardware help: Debian's cloud kernel, an archive of our own, execd as init.

use super::container::{BUSYBOX, test_binary};
use super::cpio::Archive;
use super::wait_for;
use super::world::{self, Scratch};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Boots, runs `command` as execd's main command and returns what came out of the serial port.
///
/// `serve` are flags of execd before `--`. `None` when skipped.
pub fn run(serve: &str, command: &str, limit: Duration) -> Option<String> {
    if !world::needs_tools(&["qemu-system-x86_64", "busybox", "mke2fs", "ip", "ldd"]) {
        return None;
    }
    let Some(kernel) = kernel() else {
        world::skip("no kernel for the virtual machine: apt-get download linux-image-cloud-amd64 failed");
        return None;
    };
    let folder = Scratch::new("machine");
    let initrd = folder.path().join("initrd");
    std::fs::write(&initrd, archive(folder.path(), serve, command)).expect("initrd");
    let disk = disk(folder.path());
    Some(boot(&kernel, &initrd, &disk, limit))
}

fn boot(kernel: &Path, initrd: &Path, disk: &Path, limit: Duration) -> String {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let mut qemu = Command::new(world::which("qemu-system-x86_64").expect("checked"));
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1536", "-smp", "2"]);
    qemu.args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet loglevel=3 rdinit=/init"]);
    qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", disk.display()));
    qemu.args(["-device", "nvme,drive=disk,serial=1"]);
    qemu.stdin(Stdio::null()).stderr(writer.try_clone().expect("pipe")).stdout(writer);
    let mut child = qemu.spawn().expect("qemu");
    drop(qemu);
    let printed = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let ended = wait_for(limit, || child.try_wait().expect("our own child"));
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut text = printed.join().expect("reader");
    if ended.is_none() {
        text.push_str("\nthe machine did not power off in time\n");
    }
    text
}

/// The kernel out of Debian's package, fetched once, with its module for pairs of network devices.
fn kernel() -> Option<PathBuf> {
    let cache = world::cache();
    let kernel = cache.join("vmlinuz");
    if !kernel.exists() || !cache.join("veth.ko").exists() {
        let script = "set -e; rm -rf fetch; mkdir fetch; cd fetch; \
            name=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}'); \
            apt-get download \"$name\" >&2; dpkg -x \"$name\"_*.deb .; mv boot/vmlinuz-* ../vmlinuz.new; \
            mv lib/modules/*/kernel/drivers/net/veth.ko ../veth.ko; \
            cd ..; rm -rf fetch; mv vmlinuz.new vmlinuz";
        let fetched = Command::new("sh").args(["-c", script]).current_dir(&cache).status();
        if !fetched.is_ok_and(|status| status.success()) {
            return None;
        }
    }
    Some(kernel)
}

/// An empty ext4: the root of the machine is memory, and page cache needs a disk.
fn disk(folder: &Path) -> PathBuf {
    let disk = folder.join("disk");
    let file = std::fs::File::create(&disk).expect("disk");
    file.set_len(1 << 30).expect("sparse file");
    let made =
        Command::new(world::which("mke2fs").expect("checked")).args(["-q", "-t", "ext4", "-F"]).arg(&disk).status();
    assert!(made.is_ok_and(|status| status.success()), "mke2fs");
    disk
}

fn archive(folder: &Path, serve: &str, command: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    for name in ["bin", "dev", "proc", "sys", "tmp", "run", "etc", "var", "var/lib", "tests", "work"] {
        archive.folder(name);
    }
    archive.console();
    archive.program("bin/busybox", &read(&world::which("busybox").expect("checked")));
    for applet in BUSYBOX {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    archive.program("execd", &read(&world::execd()));
    archive.program("workload", &read(&world::workload()));
    archive.program("tests/inner", &read(&test_binary(folder).join("inner")));
    networking(&mut archive);
    archive.file("etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
    // The kernel cannot pass "--" on to init, so a script does; it mounts nothing, that is execd's part.
    let module = "/bin/busybox insmod /veth.ko";
    let init =
        format!("#!/bin/busybox sh\nexport EXECD_WORLD=vm PATH=/bin\n{module}\nexec /execd {serve} -- {command}\n");
    archive.program("init", init.as_bytes());
    archive.finish()
}

/// What rows with a network of their own need: `ip` with its libraries, the module, and a file to put a resolver over.
fn networking(archive: &mut Archive) {
    let ip = world::which("ip").expect("checked");
    archive.program("bin/ip", &read(&ip));
    archive.program("veth.ko", &read(&world::cache().join("veth.ko")));
    archive.file("etc/resolv.conf", b"");
    let listed = Command::new(world::which("ldd").expect("checked")).arg(&ip).output().expect("ldd");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut folders = std::collections::BTreeSet::new();
    for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let library = Path::new(library);
        for folder in library.parent().into_iter().flat_map(Path::ancestors).collect::<Vec<_>>().into_iter().rev() {
            let name = folder.strip_prefix("/").expect("absolute").display().to_string();
            if !name.is_empty() && folders.insert(name.clone()) {
                archive.folder(&name);
            }
        }
        archive.program(&library.strip_prefix("/").expect("absolute").display().to_string(), &read(library));
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
