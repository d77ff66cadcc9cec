//! `execd config check` and `execd config show`.

use super::table::{self, Align, Cell};
use super::tasks::{self, TaskError};
use super::terminal::{Terminal, Tone};
use crate::config::load::{self, Loaded};
use crate::config::resolve;
use serde_json::json;
use std::path::Path;

/// Checks one file on its own. A broken one is told with file, line, column and key, exit code 78.
pub(super) fn check(file: &Path, as_json: bool) -> Result<u8, TaskError> {
    let name = file.to_string_lossy().into_owned();
    let text = resolve::read_text(file)
        .map_err(|source| TaskError::Io { what: format!("cannot read configuration file {name}"), source })?;
    match load::check_file(&name, &text) {
        Ok(loaded) => {
            let set =
                loaded.shown.iter().filter(|shown| !matches!(shown.source.as_str(), "default" | "not set")).count();
            let types: Vec<&str> = loaded.agent_types.names().collect();
            if as_json {
                return tasks::print_json(&json!({"ok": true, "file": name, "settings": set, "agent_types": types}));
            }
            tasks::print(&format!("{name}: ok, {set} settings, agent types {}\n", types.join(", ")))
        }
        Err(error) if as_json => {
            tasks::print_json(&problem(&name, &error))?;
            Ok(super::parse::BROKEN_CONFIG)
        }
        Err(error) => Err(TaskError::Config(error.to_string())),
    }
}

fn problem(file: &str, error: &load::LoadError) -> serde_json::Value {
    match error {
        load::LoadError::File(place) => json!({"ok": false, "file": file, "line": place.line, "column": place.column,
                                              "key": place.key, "message": place.message}),
        other => json!({"ok": false, "file": file, "message": other.to_string()}),
    }
}

/// Every setting in force, and where it comes from.
pub(super) fn show(loaded: &Loaded, as_json: bool, terminal: Terminal) -> Result<u8, TaskError> {
    if as_json {
        let settings: serde_json::Map<String, serde_json::Value> = loaded
            .shown
            .iter()
            .map(|shown| (shown.key.clone(), json!({"value": shown.value, "source": shown.source})))
            .collect();
        return tasks::print_json(&json!({"config_file": loaded.config_file, "settings": settings,
                                         "agent_types": loaded.agent_types.names().collect::<Vec<_>>(),
                                         "ignored_variables": loaded.ignored_variables}));
    }
    tasks::print(&listing(loaded, terminal))
}

fn listing(loaded: &Loaded, terminal: Terminal) -> String {
    let columns = [("SETTING", Align::Left), ("VALUE", Align::Left), ("FROM", Align::Left)];
    let row = |shown: &load::Shown| -> Vec<Cell> {
        let value = shown.value.as_deref().map_or_else(|| "-".to_owned(), super::fields::printable);
        let faint = matches!(shown.source.as_str(), "default" | "not set");
        let source = if faint { Cell::toned(shown.source.as_str(), Tone::Faint) } else { shown.source.as_str().into() };
        vec![shown.key.as_str().into(), value.into(), source]
    };
    let rows: Vec<Vec<Cell>> = loaded.shown.iter().map(row).collect();
    let mut out = table::render(&columns, &rows, terminal, usize::MAX);
    out.push_str(&format!("\nconfiguration file: {}\n", loaded.config_file.as_deref().unwrap_or("none")));
    out.push_str(&format!("agent types: {}\n", loaded.agent_types.names().collect::<Vec<_>>().join(", ")));
    if !loaded.ignored_variables.is_empty() {
        out.push_str(&format!("ignored variables: {}\n", loaded.ignored_variables.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_judged_with_its_place() {
        let error = load::check_file("c.toml", "listen = ':1'\n[agent_types.X]\npids = 0\n").expect_err("broken");
        assert_eq!(
            problem("c.toml", &error),
            json!({"ok": false, "file": "c.toml", "line": 3, "column": 8, "key": "agent_types.X.pids",
                   "message": "pids cannot be 0: must be above 0"})
        );
    }

    #[test]
    fn the_listing_names_sources_and_hides_secrets() {
        let loaded = load::check_file("c.toml", "listen = ':1'\naccess_token = 'hunter2'\n").expect("right");
        let text = listing(&loaded, Terminal::PLAIN);
        assert!(text.contains(":1") && text.contains("c.toml:1:10"), "{text}");
        assert!(text.contains("(hidden)") && !text.contains("hunter2"), "{text}");
    }
}
