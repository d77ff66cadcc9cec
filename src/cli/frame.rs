//! One picture of `execd top`. Pure: two looks at the daemon in, text out.

use super::fields::{self, Show};
use super::ps;
use super::table::{self, Align, Cell, Column};
use super::terminal::{Terminal, Tone};
use crate::units;
use serde_json::Value;
use std::collections::BTreeMap;

const COLUMNS: [Column; 8] = [
    ("ID", Align::Left),
    ("TYPE", Align::Left),
    ("STATUS", Align::Left),
    ("AGE", Align::Right),
    ("CPU%", Align::Right),
    ("CPU", Align::Right),
    ("MEMORY", Align::Right),
    ("PIDS", Align::Right),
];

/// What one look saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// `GET /metrics`.
    pub(super) metrics: Value,
    /// Unfinished executions.
    pub(super) executions: Vec<Value>,
    /// When, in milliseconds since 1970.
    pub(super) at_ms: u64,
}

/// Draws a frame of at most the terminal's size; busiest executions first.
pub(super) fn draw(look: &Look, previous: Option<&Look>, terminal: Terminal) -> String {
    let before: BTreeMap<&str, u64> = previous.map(cpu_by_id).unwrap_or_default();
    let span_ms = previous.map(|previous| look.at_ms.saturating_sub(previous.at_ms)).unwrap_or_default();
    let mut rated: Vec<(Option<f64>, &Value)> =
        look.executions.iter().map(|execution| (rate(execution, &before, span_ms), execution)).collect();
    let id = |execution: &Value| execution.get("id").map(ToString::to_string);
    let memory = |execution: &Value| execution.get("usage").and_then(|usage| fields::number(usage, "memory_bytes"));
    rated.sort_unstable_by(|(a, x), (b, y)| {
        let by_rate = b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        // Equal ones stay where they are from frame to frame.
        by_rate.then_with(|| memory(y).cmp(&memory(x))).then_with(|| id(x).cmp(&id(y)))
    });
    // Head, empty line and headings stand above the rows, and the cursor's line below.
    let room = terminal.rows.saturating_sub(4).max(1);
    let shown = if terminal.tty { room } else { usize::MAX };
    let rows: Vec<Vec<Cell>> =
        rated.iter().take(shown).map(|(rate, execution)| row(execution, *rate, look.at_ms)).collect();
    format!("{}\n\n{}", head(look, terminal), table::render(&COLUMNS, &rows, terminal, terminal.columns.max(40)))
}

fn head(look: &Look, terminal: Terminal) -> String {
    let metrics = &look.metrics;
    let percent = fields::float(metrics, "cpu_used_pct").show(|value| format!("{value:.1}%"));
    let cores = fields::float(metrics, "cpu_count").show(|value| format!("{value}"));
    let memory = |key| fields::float(metrics, key).show(|mib| format!("{mib:.0}"));
    let line = format!(
        "execd top  {} executions  cpu {percent} of {cores}  memory {}/{} MiB",
        look.executions.len(),
        memory("mem_used_mib"),
        memory("mem_total_mib"),
    );
    terminal.paint(Tone::Strong, &table::cut(&line, terminal.columns))
}

fn cpu_by_id(look: &Look) -> BTreeMap<&str, u64> {
    let cpu = |execution: &'_ Value| fields::cpu_ms(execution.get("usage")?);
    look.executions.iter().filter_map(|execution| Some((execution.get("id")?.as_str()?, cpu(execution)?))).collect()
}

/// CPU time per time between the looks, in percent of one core; unknown at the first look.
fn rate(execution: &Value, before: &BTreeMap<&str, u64>, span_ms: u64) -> Option<f64> {
    let now = fields::cpu_ms(execution.get("usage")?)?;
    let before = before.get(execution.get("id")?.as_str()?)?;
    (span_ms > 0).then(|| now.saturating_sub(*before) as f64 * 100.0 / span_ms as f64)
}

fn row(execution: &Value, rate: Option<f64>, now_ms: u64) -> Vec<Cell> {
    let usage = execution.get("usage").unwrap_or(&Value::Null);
    let mut cells = ps::row(execution, now_ms);
    cells.truncate(4);
    cells.push(rate.show(|percent| format!("{percent:.0}")).into());
    cells.push(fields::cpu_ms(usage).show(units::format_duration_ms).into());
    cells.push(fields::number(usage, "memory_bytes").show(units::format_bytes).into());
    cells.push(fields::text(usage, "pids").into());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look(at_ms: u64, cpu: &[(&str, u64)]) -> Look {
        let execution = |(id, cpu): &(&str, u64)| {
            json!({"id": id, "agent_type": "VALIDATION", "status": "running", "created_at": 0,
                   "usage": {"cpu_user_ms": cpu, "cpu_system_ms": 0, "memory_bytes": 1_048_576, "pids": 3}})
        };
        let metrics = json!({"cpu_used_pct": 12.34, "cpu_count": 2.0, "mem_used_mib": 120.5, "mem_total_mib": 512});
        Look { metrics, executions: cpu.iter().map(execution).collect(), at_ms }
    }

    #[test]
    fn the_busiest_come_first() {
        let text = draw(
            &look(2000, &[("idle", 100), ("busy", 1600)]),
            Some(&look(1000, &[("idle", 100), ("busy", 100)])),
            Terminal::PLAIN,
        );
        assert_eq!(
            text,
            "execd top  2 executions  cpu 12.3% of 2  memory 120/512 MiB\n\n\
             ID    TYPE        STATUS   AGE  CPU%    CPU  MEMORY  PIDS\n\
             busy  VALIDATION  running   2s   150   1.6s   1 MiB     3\n\
             idle  VALIDATION  running   2s     0  100ms   1 MiB     3\n"
        );
    }

    #[test]
    fn a_first_look_knows_no_rate_and_a_small_terminal_gets_fewer_rows() {
        let small = Terminal { tty: true, rows: 6, ..Terminal::PLAIN };
        let text = draw(&look(0, &[("a", 1), ("b", 2), ("c", 3)]), None, small);
        assert_eq!(text.lines().count(), 5, "{text}");
        let empty = draw(&Look::default(), None, Terminal::PLAIN);
        assert!(empty.contains("cpu - of -") && empty.contains("memory -/- MiB"), "{empty}");
    }
}
