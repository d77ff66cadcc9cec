//! Start requests and the objects that come back.

use super::world;
use serde_json::{Value, json};
use std::time::Duration;

/// A start request in the making.
#[derive(Clone, Debug)]
pub struct Start(Value);

impl Start {
    /// A command under an agent type.
    pub fn command<S: AsRef<str>>(agent_type: &str, command: &[S]) -> Start {
        let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
        Start(json!({"agent_type": agent_type, "command": words}))
    }

    /// A subcommand of the workload binary under VALIDATION (512 MiB, 60 s CPU, 10 min, 100 MiB).
    pub fn workload<S: AsRef<str>>(words: &[S]) -> Start {
        let program = world::workload().display().to_string();
        let command: Vec<String> =
            std::iter::once(program).chain(words.iter().map(|w| w.as_ref().to_owned())).collect();
        Start::command("VALIDATION", &command)
    }

    /// A shell line.
    pub fn shell(line: &str) -> Start {
        Start(json!({"agent_type": "VALIDATION", "shell": line}))
    }

    /// Sets a member of the request.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Start {
        self.0[key] = value.into();
        self
    }

    /// Tightens a limit.
    pub fn limit(mut self, key: &str, value: u64) -> Start {
        self.0["limits"][key] = value.into();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Start {
        self.0["env"][key] = value.into();
        self
    }

    /// The body of the request.
    pub fn json(&self) -> Value {
        self.0.clone()
    }
}

/// The final object of an execution.
#[derive(Debug)]
pub struct Finished {
    pub object: Value,
    /// From sending the request to having the answer.
    pub replied_after: Duration,
}

impl Finished {
    pub fn id(&self) -> &str {
        self.object["id"].as_str().expect("an id")
    }

    pub fn reason(&self) -> &str {
        self.object["reason"].as_str().unwrap_or("none")
    }

    pub fn status(&self) -> &str {
        self.object["status"].as_str().unwrap_or("none")
    }

    pub fn exit_code(&self) -> Option<i64> {
        self.object["exit_code"].as_i64()
    }

    /// A figure of `usage`; unknown is `None`, not 0.
    pub fn usage(&self, key: &str) -> Option<u64> {
        self.object["usage"][key].as_u64()
    }

    /// User and system CPU time together, in milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        let part = |key: &str| self.usage(key).unwrap_or_else(|| panic!("no {key}: {}", self.object));
        part("cpu_user_ms") + part("cpu_system_ms")
    }

    /// Status and reason, or a panic that shows the whole object.
    pub fn must_end(&self, status: &str, reason: &str) -> &Finished {
        assert_eq!((self.status(), self.reason()), (status, reason), "{:#}", self.object);
        self
    }

    /// A breach of this limit, named with its evidence.
    pub fn must_breach(&self, limit: &str, reason: &str) -> &Finished {
        self.must_end("failed", reason);
        assert_eq!(self.object["breach"]["limit"], limit, "{:#}", self.object);
        assert!(self.object["breach"]["mechanism"].is_string(), "{:#}", self.object);
        self
    }
}
