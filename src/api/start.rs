//! From a request's JSON to a [`StartRequest`], and from the engine's refusal to a [`Problem`]. Shapes are checked here, values by
//! the engine.

use super::json::{Json, Members, invalid};
use super::problem::{Code, Problem};
use crate::config::OverrideError;
use crate::exec::{MAX_INLINE_STDIN, StartError, StartRequest, Stdin};
use crate::limits::{LimitKey, Limits};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Members of a start request.
const MEMBERS: &[&str] = &[
    "agent_type",
    "command",
    "shell",
    "task_id",
    "env",
    "cwd",
    "stdin",
    "stdin_base64",
    "stdin_open",
    "uid",
    "gid",
    "labels",
    "hold",
    "retries",
    "keep_work_dir",
    "allowed_domains",
    "limits",
];

/// More retries than this only hide a broken command.
const RETRIES_MAX: u64 = 10;
/// Labels of one execution, and bytes of a label or task id.
const LABELS_MAX: usize = 64;
const WORD_MAX: usize = 256;
/// uid_t and gid_t without −1, which means "unchanged".
const ID_MAX: u64 = 4_294_967_294;
/// CPU cores that anybody could have.
const CORES_MAX: f64 = 65_536.0;

/// Reads a start request. `waits` says that the caller waits for the end: it cannot send input meanwhile, so the command's standard
/// input is empty unless the request says otherwise.
///
/// # Errors
/// 400 for malformed JSON and wrong types, 422 for unknown members and values out of bounds, 413 for too much input.
pub(super) fn parse(body: &[u8], waits: bool) -> Result<StartRequest, Problem> {
    let mut m = Members::of(Json::parse(body)?, "", MEMBERS)?;
    let small = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
    Ok(StartRequest {
        agent_type: m.string("agent_type")?,
        argv: argv(&mut m)?,
        task_id: word(&mut m, "task_id")?,
        env: m.texts("env")?.unwrap_or_default(),
        cwd: m.string("cwd")?.map(PathBuf::from),
        stdin: stdin(&mut m, waits)?,
        uid: m.whole("uid", 0..=ID_MAX)?.map(small),
        gid: m.whole("gid", 0..=ID_MAX)?.map(small),
        labels: labels(&mut m)?,
        hold: m.bool("hold")?.unwrap_or(false),
        retries: m.whole("retries", 0..=RETRIES_MAX)?.map_or(0, small),
        limits: limits(m.take("limits"))?,
        allowed_domains: m.strings("allowed_domains")?,
        keep_work_dir: m.bool("keep_work_dir")?.unwrap_or(false),
        awaited: waits,
    })
}

fn argv(m: &mut Members) -> Result<Vec<Vec<u8>>, Problem> {
    match (m.strings("command")?, m.string("shell")?) {
        (Some(_), Some(_)) => Err(both("command", "shell")),
        (Some(command), None) => Ok(command.into_iter().map(String::into_bytes).collect()),
        (None, Some(shell)) if shell.trim().is_empty() => Err(invalid("shell", "empty", "a line for /bin/sh")),
        (None, Some(shell)) => Ok(vec![b"/bin/sh".to_vec(), b"-c".to_vec(), shell.into_bytes()]),
        (None, None) => Ok(Vec::new()),
    }
}

fn stdin(m: &mut Members, waits: bool) -> Result<Stdin, Problem> {
    let open = m.bool("stdin_open")?;
    let bytes = match (m.string("stdin")?, m.string("stdin_base64")?) {
        (Some(_), Some(_)) => return Err(both("stdin", "stdin_base64")),
        (Some(text), None) => Some(("stdin", text.into_bytes())),
        (None, Some(text)) => {
            let decoded = STANDARD.decode(text.as_bytes());
            let wrong = |e| invalid("stdin_base64", &format!("not base64 ({e})"), "standard base64 with padding");
            Some(("stdin_base64", decoded.map_err(wrong)?))
        }
        (None, None) => None,
    };
    match bytes {
        Some((field, bytes)) if bytes.len() > MAX_INLINE_STDIN => {
            let detail = format!("{field} may hold {MAX_INLINE_STDIN} bytes; send more with PUT …/stdin");
            Err(Problem::new(Code::PayloadTooLarge, detail).with("field", field).with("allowed", MAX_INLINE_STDIN))
        }
        Some((field, _)) if open == Some(true) => Err(both(field, "stdin_open")),
        Some((_, bytes)) => Ok(Stdin::Bytes(Bytes::from(bytes))),
        None if open.unwrap_or(!waits) => Ok(Stdin::Open),
        None => Ok(Stdin::Empty),
    }
}

fn labels(m: &mut Members) -> Result<BTreeMap<String, String>, Problem> {
    let labels = m.texts("labels")?.unwrap_or_default();
    if labels.len() > LABELS_MAX {
        return Err(invalid("labels", &format!("{} members", labels.len()), &format!("at most {LABELS_MAX}")));
    }
    if let Some((name, _)) = labels.iter().find(|(name, value)| name.len() > WORD_MAX || value.len() > WORD_MAX) {
        let shown: String = name.chars().take(40).collect();
        return Err(invalid(&format!("labels.{shown}"), "too long", &format!("at most {WORD_MAX} bytes")));
    }
    let mut all = BTreeMap::new();
    for (name, value) in labels {
        all.insert(name, value);
    }
    Ok(all)
}

fn word(m: &mut Members, name: &str) -> Result<Option<String>, Problem> {
    let text = m.string(name)?;
    match text.as_ref().filter(|t| t.len() > WORD_MAX || t.contains('\0')) {
        Some(_) => Err(invalid(name, "too long", &format!("at most {WORD_MAX} bytes without NUL"))),
        None => Ok(text),
    }
}

fn limits(value: Option<Json>) -> Result<Limits, Problem> {
    let Some(value) = value else { return Ok(Limits::default()) };
    let mut m = Members::of(value, "limits", &LimitKey::ALL.map(LimitKey::key))?;
    let mut whole = |key: LimitKey| m.whole(key.key(), 0..=u64::MAX);
    let limits = Limits {
        memory_bytes: whole(LimitKey::MemoryBytes)?,
        cpu_time_ms: whole(LimitKey::CpuTimeMs)?,
        wall_time_ms: whole(LimitKey::WallTimeMs)?,
        network_requests: whole(LimitKey::NetworkRequests)?,
        storage_bytes: whole(LimitKey::StorageBytes)?,
        pids: whole(LimitKey::Pids)?,
        open_files: whole(LimitKey::OpenFiles)?,
        file_size_bytes: whole(LimitKey::FileSizeBytes)?,
        cpu_cores: None,
    };
    Ok(Limits { cpu_cores: m.positive(LimitKey::CpuCores.key(), CORES_MAX)?, ..limits })
}

fn both(one: &str, other: &str) -> Problem {
    Problem::new(Code::InvalidValue, format!("give {one} or {other}, not both")).with("field", one)
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Problem {
        let detail = error.to_string();
        match error {
            StartError::UnknownAgentType { known, .. } => {
                Problem::new(Code::UnknownAgentType, detail).with("field", "agent_type").with("allowed", known)
            }
            StartError::BadValue { field, .. } => Problem::new(Code::InvalidValue, detail).with("field", field),
            StartError::Limits(OverrideError::Loosened { key, allowed, asked, .. }) => {
                Problem::new(Code::LimitLoosened, detail)
                    .with("field", format!("limits.{}", key.key()))
                    .with("allowed", allowed.to_string())
                    .with("asked", asked.to_string())
            }
            StartError::Limits(OverrideError::Invalid { key, .. }) => {
                Problem::new(Code::InvalidValue, detail).with("field", format!("limits.{}", key.key()))
            }
            StartError::DomainNotAllowed { asked, .. } => {
                Problem::new(Code::LimitLoosened, detail).with("field", "allowed_domains").with("asked", asked)
            }
            StartError::RequiredMissing { key, enforcement } => Problem::new(Code::EnforcementUnavailable, detail)
                .with("limit", key.key())
                .with("enforcement", serde_json::json!(enforcement)),
            StartError::Full { max } => Problem::new(Code::TooManyExecutions, detail).with("allowed", max),
            StartError::Draining => Problem::new(Code::ShuttingDown, detail),
            StartError::Internal(_) => Problem::new(Code::RuntimeError, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> StartRequest {
        parse(body.as_bytes(), false).unwrap_or_else(|p| panic!("{}", p.detail()))
    }

    #[test]
    fn the_whole_request_is_read() {
        let request = parsed(
            r#"{"agent_type":"VALIDATION","command":["a","b"],"task_id":"t","env":{"A":"1"},"cwd":"/tmp","stdin":"x",
                "uid":1,"gid":2,"labels":{"l":"v"},"hold":true,"retries":3,"keep_work_dir":true,
                "allowed_domains":["a.example"],
                "limits":{"memory_bytes":5,"cpu_cores":0.5,"pids":9}}"#,
        );
        assert_eq!(request.argv, [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(request.env, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(request.stdin, Stdin::Bytes("x".into()));
        assert_eq!((request.uid, request.gid, request.hold, request.retries), (Some(1), Some(2), true, 3));
        assert_eq!(request.allowed_domains, Some(vec!["a.example".to_owned()]));
        let limits = Limits { memory_bytes: Some(5), pids: Some(9), cpu_cores: Some(0.5), ..Limits::default() };
        assert_eq!(request.limits, limits);
    }

    #[test]
    fn input_is_open_unless_nobody_could_send_any() {
        assert_eq!(parsed(r#"{"command":["a"]}"#).stdin, Stdin::Open);
        assert_eq!(parse(br#"{"command":["a"]}"#, true).unwrap().stdin, Stdin::Empty);
        assert_eq!(parse(br#"{"command":["a"],"stdin_open":true}"#, true).unwrap().stdin, Stdin::Open);
        assert_eq!(parsed(r#"{"command":["a"],"stdin_open":false}"#).stdin, Stdin::Empty);
        assert_eq!(
            parsed(r#"{"command":["a"],"stdin_base64":"/w=="}"#).stdin,
            Stdin::Bytes(Bytes::from_static(b"\xff"))
        );
        assert_eq!(parsed(r#"{"shell":"a | b"}"#).argv[2], b"a | b");
    }

    #[test]
    fn every_wrong_request_is_told_what_is_wrong() {
        let long = "x".repeat(MAX_INLINE_STDIN + 1);
        for (body, code, field) in [
            (r#"{"comand":["a"]}"#, Code::UnknownMember, "comand"),
            (r#"{"limits":{"memory":1}}"#, Code::UnknownMember, "limits.memory"),
            (r#"{"command":"a"}"#, Code::InvalidRequestBody, "command"),
            (r#"{"command":[1]}"#, Code::InvalidRequestBody, "command[0]"),
            (r#"{"env":{"A":1}}"#, Code::InvalidRequestBody, "env.A"),
            (r#"{"limits":[]}"#, Code::InvalidRequestBody, "limits"),
            (r#"{"limits":{"pids":"1"}}"#, Code::InvalidRequestBody, "limits.pids"),
            (r#"{"limits":{"pids":-1}}"#, Code::InvalidValue, "limits.pids"),
            (r#"{"limits":{"cpu_cores":0}}"#, Code::InvalidValue, "limits.cpu_cores"),
            (r#"{"command":["a"],"shell":"b"}"#, Code::InvalidValue, "command"),
            (r#"{"shell":" "}"#, Code::InvalidValue, "shell"),
            (r#"{"stdin":"a","stdin_base64":"YQ=="}"#, Code::InvalidValue, "stdin"),
            (r#"{"stdin_base64":"!"}"#, Code::InvalidValue, "stdin_base64"),
            (r#"{"uid":4294967295}"#, Code::InvalidValue, "uid"),
            (r#"{"retries":11}"#, Code::InvalidValue, "retries"),
            (&format!("{{\"stdin\":\"{long}\"}}"), Code::PayloadTooLarge, "stdin"),
            (&format!("{{\"task_id\":\"{}\"}}", &long[..300]), Code::InvalidValue, "task_id"),
        ] {
            let problem = parse(body.as_bytes(), false).unwrap_err();
            assert_eq!(problem.code(), code, "{body:.60}: {}", problem.detail());
            let told: serde_json::Value = serde_json::from_str(&problem.body("/")).unwrap();
            assert_eq!(told["field"], field, "{body:.60}");
        }
    }
}
