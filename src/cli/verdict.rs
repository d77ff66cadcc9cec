//! What `execd run` says and returns at the end. Pure functions over the execution object of `GET /v1/executions/{id}`.

use super::fields::{self, Show};
use crate::units;
use serde_json::Value;

/// execd itself failed: a bad request, no start, nobody saw the end.
pub const OWN_FAILURE: u8 = 125;

/// The exit code of `execd run`: the command's own, or one per reason (PRODUCT table of `execd run`).
///
/// The reason decides before the code does: a program that answers our TERM with 0 has still run into its wall limit.
pub fn exit_code(view: &Value) -> u8 {
    let own = view.get("exit_code").and_then(Value::as_i64).and_then(|code| u8::try_from(code).ok());
    match view.get("reason").and_then(Value::as_str) {
        Some("exit") => own.unwrap_or(OWN_FAILURE),
        Some("signal") => fields::signal_number(view).and_then(|number| number.checked_add(128)).unwrap_or(OWN_FAILURE),
        // 126 not executable, 127 not found; any other failure to start is ours.
        Some("start_failed") => own.filter(|code| matches!(code, 126 | 127)).unwrap_or(OWN_FAILURE),
        Some("wall_time_limit") => 124,
        Some("memory_limit") => 137,
        Some("cpu_time_limit") => 152,
        Some("storage_limit") => 153,
        Some("network_limit" | "process_limit") => 154,
        Some("cancelled" | "cleanup" | "shutdown") => 143,
        Some(_) | None => OWN_FAILURE,
    }
}

/// One line: status and reason, the limit with what was used and what enforced it, then peak memory, CPU and wall time.
pub fn verdict_line(view: &Value) -> String {
    let mut line = format!("execd: {} {}", fields::text(view, "status"), reason(view));
    if let Some(breach) = view.get("breach").filter(|breach| breach.is_object()) {
        line.push_str(&breach_part(breach));
    }
    let usage = view.get("usage").unwrap_or(&Value::Null);
    line.push_str(&format!(
        " | peak memory {}, CPU {}, wall {}",
        fields::number(usage, "memory_peak_bytes").show(units::format_bytes),
        fields::cpu_ms(usage).show(units::format_duration_ms),
        fields::number(usage, "wall_ms").show(units::format_duration_ms),
    ));
    for (key, what) in [
        ("pids_denied", "processes denied"),
        ("network_requests", "network requests"),
        ("network_denied", "requests denied"),
        ("network_denied_domain", "requests to other domains denied"),
    ] {
        if let Some(count) = fields::number(usage, key).filter(|count| *count > 0) {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    if view.get("pipes_held_open").and_then(Value::as_bool) == Some(true) {
        line.push_str(", pipes held open");
    }
    line
}

fn reason(view: &Value) -> String {
    match view.get("reason").and_then(Value::as_str) {
        Some("exit") => format!("exit {}", fields::text(view, "exit_code")),
        Some("signal") => format!("signal {}", fields::signal_name(view)),
        Some("start_failed") => format!("start_failed: {}", fields::text(view, "message")),
        Some(_) => fields::text(view, "reason"),
        None => "-".to_owned(),
    }
}

fn breach_part(breach: &Value) -> String {
    let limit = breach.get("limit").and_then(Value::as_str).unwrap_or("-");
    let show = |key| fields::number(breach, key).show(|value| fields::limit_value(limit, value));
    format!(": {limit} limit {}, used {}, by {}", show("allowed"), show("used"), fields::text(breach, "mechanism"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn exit_codes_follow_the_table() {
        for (view, code) in [
            (json!({"reason": "exit", "exit_code": 0}), 0),
            (json!({"reason": "exit", "exit_code": 255}), 255),
            (json!({"reason": "exit", "exit_code": 256}), 125),
            (json!({"reason": "signal", "signal": "SIGSEGV"}), 139),
            (json!({"reason": "signal", "signal": 9}), 137),
            (json!({"reason": "signal", "signal": "SIGRTMIN+1"}), 163),
            (json!({"reason": "signal"}), 125),
            (json!({"reason": "start_failed", "exit_code": 127}), 127),
            (json!({"reason": "start_failed", "exit_code": 126}), 126),
            (json!({"reason": "start_failed", "exit_code": null}), 125),
            (json!({"reason": "wall_time_limit", "exit_code": 0}), 124),
            (json!({"reason": "memory_limit", "signal": "SIGKILL"}), 137),
            (json!({"reason": "cpu_time_limit"}), 152),
            (json!({"reason": "storage_limit"}), 153),
            (json!({"reason": "network_limit"}), 154),
            (json!({"reason": "process_limit"}), 154),
            (json!({"reason": "cancelled"}), 143),
            (json!({"reason": "cleanup"}), 143),
            (json!({"reason": "shutdown"}), 143),
            (json!({"reason": "lost"}), 125),
            (json!({"reason": "from the future"}), 125),
            (json!({"status": "running", "reason": null}), 125),
            (json!([]), 125),
        ] {
            assert_eq!(exit_code(&view), code, "{view}");
        }
    }

    #[test]
    fn a_breach_is_told_with_its_numbers() {
        let view = json!({
            "status": "failed", "reason": "memory_limit",
            "breach": {"limit": "memory_bytes", "allowed": 67_108_864, "used": 68_157_440, "mechanism": "cgroup2"},
            "usage": {"memory_peak_bytes": 67_108_864, "cpu_user_ms": 400, "cpu_system_ms": 20, "wall_ms": 1250},
        });
        assert_eq!(
            verdict_line(&view),
            "execd: failed memory_limit: memory_bytes limit 64 MiB, used 65 MiB, by cgroup2 \
             | peak memory 64 MiB, CPU 420ms, wall 1.25s"
        );
    }

    #[test]
    fn what_is_unknown_is_a_dash() {
        assert_eq!(verdict_line(&json!({})), "execd: - - | peak memory -, CPU -, wall -");
        let view = json!({"status": "failed", "reason": "exit", "exit_code": 3, "pipes_held_open": true,
                          "usage": {"wall_ms": 5, "cpu_user_ms": null, "pids_denied": 2}});
        assert_eq!(
            verdict_line(&view),
            "execd: failed exit 3 | peak memory -, CPU -, wall 5ms, 2 processes denied, pipes held open"
        );
    }
}
