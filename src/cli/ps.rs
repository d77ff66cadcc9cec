//! `execd ps`: the executions as a table.

use super::client::{Client, ClientError, encode};
use super::command::{Asked, Filter};
use super::fields::{self, Show};
use super::session;
use super::table::{self, Align, Cell, Column};
use super::tasks::{self, TaskError};
use super::terminal::{Terminal, Tone};
use crate::units;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries per page.
const PAGE: usize = 500;
/// Most pages: what is behind is not for people to read.
const MAX_PAGES: usize = 20;

/// Columns of `ps` and `top`.
pub(super) const COLUMNS: [Column; 7] = [
    ("ID", Align::Left),
    ("TYPE", Align::Left),
    ("STATUS", Align::Left),
    ("AGE", Align::Right),
    ("CPU", Align::Right),
    ("MEMORY", Align::Right),
    ("REASON", Align::Left),
];

/// Lists and prints.
pub(super) fn run(asked: &Asked<Filter>, terminal: Terminal) -> Result<u8, TaskError> {
    let client = session::open(&asked.target)?;
    let list = executions(&client, &asked.what)?;
    if asked.json {
        return tasks::print_json(&Value::Array(list));
    }
    let now = now_ms();
    let rows: Vec<Vec<Cell>> = list.iter().map(|execution| row(execution, now)).collect();
    tasks::print(&table::render(&COLUMNS, &rows, terminal, terminal.columns.max(80)))
}

/// The executions that a filter lets through, page by page. Without a status or `--all`, the finished ones are left out here.
pub(super) fn executions(client: &Client, filter: &Filter) -> Result<Vec<Value>, ClientError> {
    let mut list: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = client.json("GET", &path(filter, after.as_deref()), None)?;
        let entries = fields::entries(&page, "executions");
        after = next(&page, entries);
        let full = entries.len() >= PAGE;
        list.extend_from_slice(entries);
        if after.is_none() || !full {
            break;
        }
    }
    if !filter.all && filter.status.is_none() {
        list.retain(|execution| !is_finished(execution));
    }
    Ok(list)
}

/// Where the next page starts: what the daemon says, else the last id.
fn next(page: &Value, entries: &[Value]) -> Option<String> {
    let told = ["next", "after"].iter().find_map(|key| page.get(key).and_then(Value::as_str));
    let last = || entries.last().and_then(|entry| entry.get("id")).and_then(Value::as_str);
    told.or_else(last).map(str::to_owned)
}

fn path(filter: &Filter, after: Option<&str>) -> String {
    let mut path = format!("/v1/executions?limit={PAGE}");
    let given = [
        ("status", filter.status.as_deref()),
        ("agent_type", filter.agent_type.as_deref()),
        ("task_id", filter.task_id.as_deref()),
        ("after", after),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    path
}

/// True for the three final statuses.
pub(super) fn is_finished(execution: &Value) -> bool {
    matches!(execution.get("status").and_then(Value::as_str), Some("completed" | "failed" | "terminated"))
}

/// One execution as a row of [`COLUMNS`].
pub(super) fn row(execution: &Value, now_ms: u64) -> Vec<Cell> {
    let usage = execution.get("usage").unwrap_or(&Value::Null);
    let status = fields::text(execution, "status");
    let tone = match status.as_str() {
        "completed" | "running" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Warn,
    };
    let age = fields::time_ms(execution, "created_at").map(|created| now_ms.saturating_sub(created));
    let memory = if is_finished(execution) { "memory_peak_bytes" } else { "memory_bytes" };
    vec![
        fields::text(execution, "id").into(),
        fields::text(execution, "agent_type").into(),
        Cell::toned(status, tone),
        age.show(age_text).into(),
        fields::cpu_ms(usage).show(units::format_duration_ms).into(),
        fields::number(usage, memory).show(units::format_bytes).into(),
        fields::text(execution, "reason").into(),
    ]
}

/// An age in its two largest units: nobody needs the milliseconds of a day.
fn age_text(ms: u64) -> String {
    let unit = match ms {
        0..60_000 => 1000,
        60_000..3_600_000 => 1000,
        3_600_000..86_400_000 => 60_000,
        _ => 3_600_000,
    };
    units::format_duration_ms(ms / unit * unit)
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn rows_show_what_is_known() {
        let execution = json!({"id": "e1", "agent_type": "VALIDATION", "status": "running", "reason": null,
            "created_at": "1970-01-01T00:00:01.500Z",
            "usage": {"cpu_user_ms": 1000, "cpu_system_ms": 500, "memory_bytes": 1_048_576, "memory_peak_bytes": 9}});
        let text = table::render(&COLUMNS, &[row(&execution, 95_700)], Terminal::PLAIN, 80);
        assert_eq!(
            text,
            "ID  TYPE        STATUS     AGE   CPU  MEMORY  REASON\n\
             e1  VALIDATION  running  1m34s  1.5s   1 MiB  -\n"
        );
        assert_eq!(row(&json!({}), 0).len(), COLUMNS.len());
    }

    #[test]
    fn the_filter_travels_and_finished_ones_stay_out() {
        let body = r#"{"executions":[{"id":"a","status":"running"},{"id":"b","status":"failed"}]}"#;
        let (address, seen) = fixture::serve_seen(vec![("GET /v1/executions", fixture::json(body))]);
        let client = Client::at(address, None, Duration::from_secs(2));
        let filter = Filter { task_id: Some("a b&c".to_owned()), ..Filter::default() };
        assert_eq!(executions(&client, &filter).expect("listed").len(), 1);
        assert_eq!(executions(&client, &Filter { all: true, ..Filter::default() }).expect("listed").len(), 2);
        let requests = seen.lock().expect("not poisoned");
        assert!(requests[0].starts_with("GET /v1/executions?limit=500&task_id=a%20b%26c HTTP/1.1"), "{}", requests[0]);
    }

    #[test]
    fn ages_have_two_units() {
        assert_eq!([age_text(61_999), age_text(3_661_000), age_text(90_061_000)], ["1m1s", "1h1m", "1d1h"]);
    }
}
