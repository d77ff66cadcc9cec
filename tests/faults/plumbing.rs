//! What the rows rely on: the world is what its name says, and the workload runs in it.

use crate::support::{World, world};
use std::process::Command;

#[test]
fn the_world_is_what_its_name_says() {
    let caps = Command::new(world::workload()).arg("caps").output().unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&caps.stdout).unwrap();
    let uid = seen["Uid"].as_str().unwrap().split('\t').next().unwrap().to_owned();
    match World::current() {
        World::Here => {}
        World::Docker => {
            assert_eq!(uid, "0");
            assert_eq!(seen["CapEff"], "00000000a80425fb", "the fourteen capabilities of a default container");
            assert_eq!(seen["Seccomp"], "2", "the default filter");
        }
        World::DockerLocked => {
            assert_eq!((uid.as_str(), &seen["NoNewPrivs"]), ("65534", &"1".into()));
            assert_eq!(seen["CapEff"], "0000000000000000");
        }
        World::Machine => {
            assert_eq!(uid, "0");
            assert_eq!(seen["Seccomp"], "0");
        }
    }
}
