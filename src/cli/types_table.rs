//! `execd agent-types`: the types and their limits, from this configuration or from a daemon.

use super::command::{AgentTypesShown, Asked};
use super::fields::{self, Show};
use super::session;
use super::table::{self, Align, Cell};
use super::tasks::{self, TaskError};
use super::terminal::Terminal;
use crate::limits::LimitKey;
use crate::units;
use serde_json::{Value, json};

/// Prints the table, or everything about one type.
pub(super) fn run(asked: &Asked<AgentTypesShown>, terminal: Terminal) -> Result<u8, TaskError> {
    let types = types(asked)?;
    if let Some(name) = &asked.what.name {
        let matches = |kind: &&Value| fields::text(kind, "name").eq_ignore_ascii_case(name);
        let Some(kind) = types.iter().find(matches) else {
            let known: Vec<String> = types.iter().map(|kind| fields::text(kind, "name")).collect();
            return Err(TaskError::Unknown(format!("{name:?} is no agent type; known are {}", known.join(", "))));
        };
        return if asked.json { tasks::print_json(kind) } else { tasks::print(&details(kind, terminal)) };
    }
    if asked.json {
        return tasks::print_json(&Value::Array(types));
    }
    tasks::print(&overview(&types, terminal))
}

fn types(asked: &Asked<AgentTypesShown>) -> Result<Vec<Value>, TaskError> {
    if asked.target.url.is_some() {
        let answer = session::open(&asked.target)?.json("GET", "/v1/agent-types", None)?;
        return Ok(fields::entries(&answer, "agent_types").to_vec());
    }
    Ok(asked.what.local.iter().map(|kind| json!(kind)).collect())
}

/// The limits that differ most between types, one line each.
fn overview(types: &[Value], terminal: Terminal) -> String {
    let columns = [
        ("TYPE", Align::Left),
        ("MEMORY", Align::Right),
        ("CPU", Align::Right),
        ("WALL", Align::Right),
        ("REQUESTS", Align::Right),
        ("STORAGE", Align::Right),
        ("PIDS", Align::Right),
        ("CORES", Align::Right),
    ];
    let keys = [
        LimitKey::MemoryBytes,
        LimitKey::CpuTimeMs,
        LimitKey::WallTimeMs,
        LimitKey::NetworkRequests,
        LimitKey::StorageBytes,
        LimitKey::Pids,
        LimitKey::CpuCores,
    ];
    let row = |kind: &Value| -> Vec<Cell> {
        let limits = kind.get("limits").unwrap_or(&Value::Null);
        let name = Cell::from(fields::text(kind, "name"));
        std::iter::once(name).chain(keys.iter().map(|key| limit(limits, *key).into())).collect()
    };
    let rows: Vec<Vec<Cell>> = types.iter().map(row).collect();
    table::render(&columns, &rows, terminal, terminal.columns.max(80))
}

/// A limit, as a plain number or in the daemon's form with a `value`.
fn limit(limits: &Value, key: LimitKey) -> String {
    let value = limits.get(key.key()).map(|limit| limit.get("value").unwrap_or(limit)).unwrap_or(&Value::Null);
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => fields::limit_value(key.key(), whole),
        (None, fraction) => fraction.show(|cores| cores.to_string()),
    }
}

fn details(kind: &Value, terminal: Terminal) -> String {
    let limits = kind.get("limits").unwrap_or(&Value::Null);
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for key in LimitKey::ALL {
        rows.push(vec![key.key().into(), limit(limits, key).into()]);
    }
    for (key, value) in kind.as_object().into_iter().flatten() {
        let shown = match (key.as_str(), value) {
            ("limits", _) => continue,
            ("output_bytes", _) => value.as_u64().show(units::format_bytes),
            ("grace_ms", _) => value.as_u64().show(units::format_duration_ms),
            (_, Value::Array(list)) if list.is_empty() => "none".to_owned(),
            (_, Value::Array(list)) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
            (_, value) => plain(value),
        };
        rows.push(vec![fields::printable(key).into(), shown.into()]);
    }
    table::render(&[("KEY", Align::Left), ("VALUE", Align::Left)], &rows, terminal, usize::MAX)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => fields::printable(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentTypes;

    #[test]
    fn the_built_in_table() {
        let types: Vec<Value> = AgentTypes::builtin().expect("built in").iter().map(|kind| json!(kind)).collect();
        let text = overview(&types, Terminal::PLAIN);
        assert!(text.contains("VALIDATION         512 MiB   1m   10m        20  100 MiB   256      2\n"), "{text}");
        assert!(text.contains("DEFAULT                  -    -     -         -        -     -      -\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn one_type_is_shown_whole() {
        let types = AgentTypes::builtin().expect("built in");
        let text = details(&json!(types.get("DEFAULT")), Terminal::PLAIN);
        for part in [
            "keep_capabilities   ALL\n",
            "grace_ms            5s\n",
            "required            none\n",
            "memory_bytes        -\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
