//! Server-sent events as the standard parses them.

use super::http::{Body, Client};
use std::io::{BufRead, BufReader};
use std::time::Duration;

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An open stream.
pub struct Events {
    reader: BufReader<Body>,
    /// `: comment` lines seen.
    pub comments: usize,
    /// The last `retry:`.
    pub retry: Option<u64>,
}

impl Client {
    /// Opens a stream; panics unless it is one.
    pub fn events(&self, path: &str, last_id: Option<&str>) -> Events {
        let mut headers = vec![("Accept", "text/event-stream")];
        headers.extend(last_id.map(|id| ("Last-Event-ID", id)));
        let (status, headers, body) =
            self.open("GET", path, &headers, b"").unwrap_or_else(|e| panic!("GET {path}: {e}"));
        assert_eq!(status, 200, "GET {path}: {headers:?}");
        let kind =
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case("content-type")).map(|(_, value)| value.clone());
        assert!(kind.as_deref().is_some_and(|kind| kind.starts_with("text/event-stream")), "GET {path}: {kind:?}");
        Events { reader: BufReader::new(body), comments: 0, retry: None }
    }
}

impl Events {
    /// How long `next` waits for a line.
    pub fn patience(&self, limit: Duration) {
        let _ = self.reader.get_ref().stream().set_read_timeout(Some(limit));
    }

    /// Cuts the connection at once, with a reset instead of a goodbye.
    pub fn cut(self) {
        let socket = self.reader.get_ref().stream();
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Linger, &linger);
    }
}

impl Iterator for Events {
    type Item = Event;

    /// The next complete event; `None` at the end of the stream or when patience ran out.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: "message".to_owned(), ..Event::default() };
        let mut data: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if data.is_empty() {
                    continue;
                }
                event.data = data.join("\n");
                return Some(event);
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "id" => event.id = Some(value.to_owned()),
                "event" => event.name = value.to_owned(),
                "data" => data.push(value.to_owned()),
                "retry" => self.retry = value.parse().ok(),
                _ => {}
            }
        }
    }
}
