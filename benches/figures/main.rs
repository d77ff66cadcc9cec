//! The figures of SPECIFICATION.md, measured in one run with their comparisons beside them: `make bench`.
//!
//! Prints one table and exits 1 when a figure is missed. `make bench ARGS=name` measures only rows whose name contains it.
//! Run by itself in a container (`inner`), it measures what differs there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "a measurement that cannot go on should panic where it stands"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod egress;
mod floor;
mod footprint;
mod gate;
mod http;
mod keepalive;
mod limits;
mod output;
mod starts;
mod table;
mod watchers;

use support::World;
use support::container::{Container, Docker};
use table::Table;

/// Measures one group of figures.
type Group = (&'static str, fn(&mut Table));

const HERE: &[Group] = &[
    ("binary size", footprint::binary_size),
    ("idle memory", footprint::idle_memory),
    ("idle context switches", footprint::context_switches),
    ("start to first 200", starts::first_answer),
    ("health throughput", http::throughput),
    ("metrics latency", http::metrics_latency),
    ("start to verdict", starts::verdict),
    ("watchers", watchers::thousand),
    ("output throughput", output::gibibyte),
    ("cpu over-run", limits::cpu_over_run),
    ("livez under load", limits::livez_under_load),
    ("network gate connect", gate::connect),
    ("network gate ordinary work", gate::ordinary_work),
    ("network gate memory", gate::memory),
    ("egress throughput", egress::throughput),
    ("egress small requests", egress::small_requests),
];

const IN_A_CONTAINER: &[Group] = &[
    ("start to first 200", starts::first_answer),
    ("cpu over-run", limits::cpu_over_run),
    ("memory over-run", limits::memory_over_run),
    ("livez under load", limits::livez_under_load),
];

fn main() {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with("--")).unwrap_or_default();
    let inner = World::current().is_inner();
    let mut table = Table::default();
    for (name, measure) in if inner { IN_A_CONTAINER } else { HERE } {
        if name.contains(&wanted) {
            measure(&mut table);
        }
    }
    if !inner {
        in_a_container(&mut table, &wanted);
    }
    table.print();
    // The container's part is judged by the table that it is merged into.
    std::process::exit(i32::from(!inner && table.missed() > 0));
}

fn in_a_container(table: &mut Table, wanted: &str) {
    if !IN_A_CONTAINER.iter().any(|(name, _)| name.contains(wanted)) {
        return;
    }
    let Some(docker) = Docker::start() else { return };
    let command = ["/tests/inner", wanted];
    let command = if wanted.is_empty() { &command[..1] } else { &command[..] };
    let container = Container { world: "docker", command, ..Container::default() };
    let (_, printed) = docker.run(&container, std::time::Duration::from_secs(300));
    table.merge("container", &printed);
}
