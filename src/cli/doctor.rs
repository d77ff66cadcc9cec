//! `execd doctor`: limit by limit what enforces it and how strongly, and who is protected from whom. Fits 80×24.

use super::command::{Asked, Doctor};
use super::fields;
use super::health;
use super::session;
use super::table::{self, Align, Cell};
use super::tasks::{self, TaskError};
use super::terminal::{Terminal, Tone};
use crate::limits::LimitKey;
use serde_json::Value;

/// Rows of protection that fit below nine limits and the allowed domains on 24 lines.
const MAX_PROTECTION_ROWS: usize = 7;

/// Asks the daemon, or looks at this machine when there is none.
pub(super) fn run(asked: &Asked<Doctor>, terminal: Terminal, offline: &dyn Fn() -> Value) -> Result<u8, TaskError> {
    let (place, body) = if asked.what.offline { ("offline".to_owned(), offline()) } else { ask(asked, offline)? };
    if asked.json {
        return tasks::print_json(&body);
    }
    let width = if asked.what.wide { usize::MAX } else { terminal.columns };
    tasks::print(&format!("{}\n{}", health::line(&place, &body, terminal), doctor_table(&body, terminal, width)))
}

fn ask(asked: &Asked<Doctor>, offline: &dyn Fn() -> Value) -> Result<(String, Value), TaskError> {
    match session::open(&asked.target) {
        Ok(client) => Ok((client.url(), client.json("GET", "/health", None)?)),
        Err(error) if asked.target.url.is_some() => Err(error.into()),
        Err(_) => Ok(("offline (no daemon found)".to_owned(), offline())),
    }
}

/// The two tables of a health object. Explanations are cut at `width`; `usize::MAX` shows them whole.
pub fn doctor_table(health: &Value, terminal: Terminal, width: usize) -> String {
    let Some(enforcement) = health.get("enforcement").filter(|table| table.is_object()) else {
        return "The daemon tells the rest only with its token: set EXECD_ACCESS_TOKEN or --access-token-file.\n"
            .to_owned();
    };
    let columns =
        [("LIMIT", Align::Left), ("MECHANISM", Align::Left), ("STRENGTH", Align::Left), ("DETAIL", Align::Left)];
    let mut out = table::render(&columns, &limit_rows(enforcement), terminal, width);
    let rows = protection_rows(health, width == usize::MAX);
    if !rows.is_empty() {
        let columns = [("PROTECTION", Align::Left), ("HOLDS", Align::Left), ("DETAIL", Align::Left)];
        out.push('\n');
        out.push_str(&table::render(&columns, &rows, terminal, width));
    }
    if out.contains('…') {
        out.push_str(&terminal.paint(Tone::Faint, "Whole sentences: execd doctor --wide\n"));
    }
    out
}

/// Known limits in their usual order, then whatever a newer daemon adds.
fn limit_rows(enforcement: &Value) -> Vec<Vec<Cell>> {
    let known = LimitKey::ALL.map(LimitKey::key);
    let all = enforcement.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let extra = all.filter(|key| !known.contains(key));
    known
        .into_iter()
        .chain(extra)
        .filter_map(|key| enforcement.get(key).map(|row| (key, row)))
        .map(|(key, row)| {
            let strength = fields::text(row, "strength");
            let tone = strength_tone(&strength);
            let strength = Cell::toned(strength, tone);
            vec![
                fields::printable(key).into(),
                fields::text(row, "mechanism").into(),
                strength,
                fields::text(row, "detail").into(),
            ]
        })
        .collect()
}

fn strength_tone(strength: &str) -> Tone {
    match strength {
        "enforced" => Tone::Good,
        "unavailable" => Tone::Bad,
        _ => Tone::Warn,
    }
}

/// One row per promise: `{"name": {"holds": bool, "detail"}}`, or the same in a list with a `name`.
fn protection_rows(health: &Value, all: bool) -> Vec<Vec<Cell>> {
    let table = health.get("protection").unwrap_or(&Value::Null);
    let named: Vec<(String, &Value)> = match table {
        Value::Object(rows) => rows.iter().map(|(name, row)| (fields::printable(name), row)).collect(),
        Value::Array(rows) => rows.iter().map(|row| (fields::text(row, "name"), row)).collect(),
        _ => Vec::new(),
    };
    let mut rows: Vec<Vec<Cell>> = named.iter().map(|(name, row)| protection_row(name, row)).collect();
    let over = rows.len().saturating_sub(MAX_PROTECTION_ROWS);
    if over > 0 && !all {
        rows.truncate(MAX_PROTECTION_ROWS - 1);
        rows.push(vec![format!("{} more", over + 1).into(), "".into(), "execd doctor --wide".into()]);
    }
    rows
}

fn protection_row(name: &str, row: &Value) -> Vec<Cell> {
    let holds = row.as_bool().or_else(|| row.get("holds").and_then(Value::as_bool));
    let holds = match holds {
        Some(true) => Cell::toned("yes", Tone::Good),
        Some(false) => Cell::toned("no", Tone::Bad),
        None => fields::text(row, "holds").into(),
    };
    vec![name.into(), holds, fields::text(row, "detail").into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample() -> Value {
        let row = json!({"mechanism": "watchdog", "strength": "sampled", "detail": "KILL within 50 ms of crossing at up to 1 GB/s of growth; page cache never kills"});
        let enforcement: serde_json::Map<String, Value> = LimitKey::ALL
            .iter()
            .map(|key| key.key())
            .chain(["allowed_domains"])
            .map(|key| (key.to_owned(), row.clone()))
            .collect();
        let promise =
            json!({"holds": true, "detail": "daemon and supervisors are non-dumpable before any execution exists"});
        let protection: serde_json::Map<String, Value> =
            (0..10).map(|n| (format!("promise {n}"), promise.clone())).collect();
        json!({"enforcement": enforcement, "protection": protection})
    }

    #[test]
    fn it_fits_the_smallest_terminal() {
        let text = doctor_table(&sample(), Terminal::PLAIN, 80);
        // One line of health, one empty line and the prompt stand around it.
        assert!(text.lines().count() + 3 <= 24, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("4 more") && text.contains('…'), "{text}");
    }

    #[test]
    fn wide_cuts_nothing() {
        let text = doctor_table(&sample(), Terminal::PLAIN, usize::MAX);
        assert!(!text.contains('…') && text.contains("promise 9"), "{text}");
    }

    #[test]
    fn unknown_limits_and_a_brief_answer() {
        let text = doctor_table(&json!({"enforcement": {"gpu": {"strength": "advisory"}}}), Terminal::PLAIN, 80);
        assert_eq!(text, "LIMIT  MECHANISM  STRENGTH  DETAIL\ngpu    -          advisory  -\n");
        assert!(doctor_table(&json!({"status": "healthy"}), Terminal::PLAIN, 80).contains("token"));
    }
}
