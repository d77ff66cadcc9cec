//! `execd logs`: the output of an execution, or the daemon's events; followed streams are resumed where they broke off.

use super::client::{Client, ClientError, Stream, encode};
use super::command::{Asked, Logs};
use super::fields;
use super::http;
use super::log_lines::{LineFilter, Source, stated_level};
use super::session;
use super::sse::{Event, Parser};
use super::tasks::{self, TaskError};
use super::terminal::{self, Printed};
use crate::config::values::LogLevel;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

/// Broken connections in a row before we give up.
const MAX_FAILURES: u32 = 10;
/// Wait before a reconnect when the daemon names none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// Prints until the end, or until nobody reads any more.
pub(super) fn run(asked: &Asked<Logs>) -> Result<u8, TaskError> {
    let client = session::open(&asked.target)?;
    let path = match &asked.what.id {
        None => "/v1/events".to_owned(),
        Some(id) if !asked.what.follow && asked.what.level.is_none() && !asked.json => {
            return copy_output(&client, &format!("/v1/executions/{}/output?stream=both", encode(id)));
        }
        // Filtering needs the stream of each line, which only the event form tells; it ends by itself with the execution.
        Some(id) if asked.what.follow => format!("/v1/executions/{}/logs?follow=true", encode(id)),
        Some(id) => format!("/v1/executions/{}/logs", encode(id)),
    };
    let mut printer = Printer::new(asked.what.id.is_some(), asked.what.level, asked.json);
    follow(&client, &path, &mut printer, asked.what.follow)?;
    printer.finish().map_err(tasks::output_error)?;
    Ok(0)
}

/// Raw bytes from beginning to end.
fn copy_output(client: &Client, path: &str) -> Result<u8, TaskError> {
    let mut stream = client.stream(path, None)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = stream.body.read(&mut buffer).map_err(|source| broken(client, source))?;
        if count == 0 || terminal::print_bytes(&buffer[..count]).map_err(tasks::output_error)? == Printed::ReaderGone {
            return Ok(0);
        }
    }
}

fn broken(client: &Client, source: io::Error) -> ClientError {
    ClientError::Unreachable { address: client.url(), source }
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    More,
    Done,
}

/// Reads events until the end event; a broken stream is taken up again after the last event that came whole.
fn follow(client: &Client, path: &str, printer: &mut Printer, resume: bool) -> Result<(), TaskError> {
    let mut parser = Parser::default();
    let mut failures = 0;
    loop {
        let opened = client.stream(path, parser.last_id());
        let read = match opened {
            Ok(stream) if is_json(&stream) => return print_listing(client, stream, printer),
            Ok(stream) => read_events(stream, &mut parser, printer, &mut failures)?,
            Err(error @ ClientError::Unreachable { .. }) if resume && failures < MAX_FAILURES => Err(error),
            Err(error) => return Err(error.into()),
        };
        match read {
            Ok(Next::Done) => return Ok(()),
            Ok(Next::More) if !resume => return Ok(()),
            Ok(Next::More) | Err(_) => failures += 1,
        }
        if failures > MAX_FAILURES {
            let source = io::Error::new(io::ErrorKind::ConnectionAborted, "the stream keeps breaking off");
            return Err(broken(client, source).into());
        }
        parser.cut();
        thread::sleep(parser.retry_ms().map_or(DEFAULT_RETRY, Duration::from_millis));
    }
}

type ReadEnd = Result<Next, ClientError>;

fn read_events(
    mut stream: Stream,
    parser: &mut Parser,
    printer: &mut Printer,
    failures: &mut u32,
) -> Result<ReadEnd, TaskError> {
    // A broken connection ends this stream and is taken up by the caller; a broken output ends all.
    while let Ok(Some(line)) = http::read_line(&mut stream.body) {
        if let Some(event) = parser.line(&String::from_utf8_lossy(&line)) {
            *failures = 0;
            if printer.event(&event).map_err(tasks::output_error)? == Next::Done {
                return Ok(Ok(Next::Done));
            }
        }
    }
    Ok(Ok(Next::More))
}

fn is_json(stream: &Stream) -> bool {
    stream.head.header("content-type").is_some_and(|kind| kind.contains("json"))
}

/// A stored log in one piece: the same events as a list.
fn print_listing(client: &Client, mut stream: Stream, printer: &mut Printer) -> Result<(), TaskError> {
    const MAX_LISTING: u64 = 64 << 20;
    let bytes = http::read_all(&mut stream.body, MAX_LISTING).map_err(|source| broken(client, source))?;
    let listing: Value =
        serde_json::from_slice(&bytes).map_err(|source| ClientError::NotJson { address: client.url(), source })?;
    for entry in fields::entries(&listing, "logs") {
        let name = entry.get("event").and_then(Value::as_str).unwrap_or("output").to_owned();
        let event = Event { name, data: entry.to_string() };
        if printer.event(&event).map_err(tasks::output_error)? == Next::Done {
            break;
        }
    }
    Ok(())
}

/// Turns events into what people or programs read.
struct Printer {
    of_execution: bool,
    level: Option<LogLevel>,
    json: bool,
    filters: Option<(LineFilter, LineFilter)>,
}

impl Printer {
    fn new(of_execution: bool, level: Option<LogLevel>, json: bool) -> Self {
        let filter = |level| (LineFilter::new(level, Source::Stdout), LineFilter::new(level, Source::Stderr));
        Self { of_execution, level, json, filters: level.map(filter) }
    }

    fn event(&mut self, event: &Event) -> io::Result<Next> {
        let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        if self.json || !self.of_execution {
            self.object(event, data)
        } else {
            match event.name.as_str() {
                "output" => self.output(&data),
                "gap" => {
                    let lost = fields::text(&data, "lost_bytes");
                    terminal::complain(&format!("execd: some output was dropped before it was read ({lost} bytes)"));
                    Ok(Next::More)
                }
                "end" => Ok(Next::Done),
                _ => Ok(Next::More),
            }
        }
    }

    /// One line of JSON per event, with its name in it.
    fn object(&self, event: &Event, mut data: Value) -> io::Result<Next> {
        let level = event_level(&data);
        if let Some(members) = data.as_object_mut() {
            members.entry("event").or_insert_with(|| Value::String(event.name.clone()));
        } else {
            data = serde_json::json!({"event": event.name, "data": event.data});
        }
        if self.level.is_none_or(|wanted| level <= wanted)
            && terminal::print(&format!("{data}\n"))? == Printed::ReaderGone
        {
            return Ok(Next::Done);
        }
        Ok(if self.of_execution && event.name == "end" { Next::Done } else { Next::More })
    }

    fn output(&mut self, data: &Value) -> io::Result<Next> {
        let bytes = output_bytes(data);
        let stderr = data.get("stream").and_then(Value::as_str) == Some("stderr");
        let bytes = match &mut self.filters {
            None => bytes,
            Some((_, err)) if stderr => err.take(&bytes),
            Some((out, _)) => out.take(&bytes),
        };
        write_to(stderr, &bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some((out, err)) = &mut self.filters {
            write_to(false, &out.finish())?;
            write_to(true, &err.finish())?;
        }
        Ok(())
    }
}

fn write_to(stderr: bool, bytes: &[u8]) -> io::Result<Next> {
    if stderr {
        // Nobody can be told when this fails.
        let _ = io::stderr().write_all(bytes);
        return Ok(Next::More);
    }
    Ok(match terminal::print_bytes(bytes)? {
        Printed::Read => Next::More,
        Printed::ReaderGone => Next::Done,
    })
}

/// The bytes of an output event: text, or base64 where they are not UTF-8.
fn output_bytes(data: &Value) -> Vec<u8> {
    let member = |names: [&str; 2]| names.iter().find_map(|name| data.get(name).and_then(Value::as_str));
    let encoded = member(["data_base64", "base64"]).and_then(|text| STANDARD.decode(text).ok());
    encoded.unwrap_or_else(|| member(["data", "text"]).unwrap_or_default().as_bytes().to_vec())
}

/// Its own level, or error for what failed.
fn event_level(data: &Value) -> LogLevel {
    let failed = data.get("status").and_then(Value::as_str) == Some("failed")
        || data.get("stream").and_then(Value::as_str) == Some("stderr");
    stated_level(data).unwrap_or(if failed { LogLevel::Error } else { LogLevel::Info })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;

    fn client(address: std::net::SocketAddr) -> Client {
        Client::at(address, None, Duration::from_secs(2))
    }

    #[test]
    fn a_broken_stream_goes_on_after_the_last_whole_event() {
        let first =
            "retry: 1\n\nevent: output\nid: 1\ndata: {\"stream\":\"stderr\",\"data\":\"\"}\n\nevent: output\nid: 2\nda";
        let second = "event: end\nid: 3\ndata: {}\n\n";
        let start = "GET /logs";
        let (address, seen) =
            fixture::serve_seen(vec![(start, fixture::events(first)), (start, fixture::events(second))]);
        let mut printer = Printer::new(true, None, false);
        follow(&client(address), "/logs", &mut printer, true).expect("followed to the end");
        let requests = seen.lock().expect("not poisoned");
        assert_eq!(requests.len(), 2);
        assert!(!requests[0].contains("last-event-id") && requests[1].contains("last-event-id: 1\r\n"), "{requests:?}");
    }

    #[test]
    fn an_unknown_execution_is_refused_at_once() {
        let address = fixture::serve(vec![]);
        let error = follow(&client(address), "/logs", &mut Printer::new(true, None, false), true).expect_err("404");
        assert_eq!(error.code(), 1);
    }

    #[test]
    fn bytes_of_both_forms() {
        assert_eq!(output_bytes(&serde_json::json!({"data": "ä"})), "ä".as_bytes());
        assert_eq!(output_bytes(&serde_json::json!({"data_base64": "/wA="})), [0xff, 0]);
        assert_eq!(output_bytes(&serde_json::json!({})), b"");
    }

    #[test]
    fn failures_are_errors() {
        assert_eq!(event_level(&serde_json::json!({"status": "failed"})), LogLevel::Error);
        assert_eq!(event_level(&serde_json::json!({"level": "warn", "status": "failed"})), LogLevel::Warn);
        assert_eq!(event_level(&serde_json::json!({"status": "running"})), LogLevel::Info);
    }
}
