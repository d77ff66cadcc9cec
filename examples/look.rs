//! Shows what the sampler sees here, and what a look costs: `cargo run --release --example look [WORKSPACE]`.

use execd::cgroup::Layout;
use execd::sample::{Sampler, host};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layout = Layout::detect(Path::new("/"))?;
    let mut sampler = Sampler::new(Path::new("/"), &layout);
    if let Some(workspace) = std::env::args_os().nth(1) {
        sampler = sampler.with_workspace(workspace.into());
    }
    std::thread::sleep(Duration::from_millis(200));
    println!("{}", serde_json::to_string_pretty(&sampler.look())?);
    println!("{:?}\n{layout:#?}", host());
    let mut costs: Vec<_> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(sampler.look());
            start.elapsed()
        })
        .collect();
    costs.sort_unstable();
    println!("look: p50 {:?}, p99 {:?}, max {:?}", costs[1000], costs[1980], costs[1999]);
    Ok(())
}
