//! The composition root: builds every part, in the one order that works, and hands them to each other.

mod ground;
mod note;
pub mod run;
pub mod serve;

pub use ground::Ground;

/// How long a thread of the runtime's pool waits for more work.
const POOL_KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(1);

/// The runtime: one thread. More are slower for this load, and a forked child of a threaded daemon would be a hazard.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // Threads that write records go soon after: an idle daemon has one thread and no timer.
    tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(POOL_KEEP_ALIVE).build()
}

/// What of this place matters to the network of executions. The resolvers are those of this moment: what a program writes into their file
/// later makes nothing free.
fn surroundings(control_ports: impl Into<Vec<u16>>, control_guarded: bool) -> crate::exec::Surroundings {
    let text = crate::config::resolve::read_text(std::path::Path::new("/etc/resolv.conf")).unwrap_or_default();
    let resolvers = crate::network::resolvers::parse(&text);
    crate::exec::Surroundings { control_ports: control_ports.into(), control_guarded, resolvers, ..Default::default() }
}

/// What `execd doctor --offline` shows: the enforcement table of this place, found the way a daemon would find it.
pub fn offline_health() -> serde_json::Value {
    use crate::limits::LimitKey;
    use crate::limits::plan::{plan, table};
    use crate::limits::world::Subject;
    let layout = crate::cgroup::Layout::detect(std::path::Path::new("/")).unwrap_or_default();
    let context = crate::supervisor::probe::probe(&layout, 1024);
    let rows = table(&context.world, Subject::TYPICAL);
    let gate = plan(LimitKey::NetworkRequests, &context.world, Subject::TYPICAL);
    let domains = ("allowed_domains", crate::exec::domain_enforcement(gate));
    let enforcement: serde_json::Map<String, serde_json::Value> = rows
        .into_iter()
        .map(|(key, row)| (key.key(), row))
        .chain([domains])
        .map(|(key, row)| (key.to_owned(), serde_json::json!(row)))
        .collect();
    context.domain.remove();
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "enforcement": enforcement,
        "containment": context.world.containment(),
        "notes": context.domain.notes,
    })
}
