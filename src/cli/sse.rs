//! Server-sent events out of lines, as the HTML standard defines them (section 9.2.6). Pure.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `event:`, or `message`.
    pub name: String,
    /// The `data:` lines, joined.
    pub data: String,
}

/// Gathers lines into events and remembers where a reconnect must go on.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    name: String,
    data: String,
    has_data: bool,
    /// The id as read; it counts only once its event came whole, else that event would be skipped after a reconnect.
    id: Option<String>,
    last_id: Option<String>,
    retry_ms: Option<u64>,
}

impl Parser {
    /// Takes one line without its end; gives the event that an empty line completes.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.complete();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            // A comment (empty field) keeps the connection alive; unknown fields must be ignored.
            _ => {}
        }
        None
    }

    /// The value for `Last-Event-ID` after a reconnect.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long the server asks to wait before a reconnect, in milliseconds, at most ten seconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms.map(|ms| ms.min(10_000))
    }

    /// Forgets an event that a cut connection left half done; ids and times stay.
    pub fn cut(&mut self) {
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.id.clone_from(&self.last_id);
    }

    fn complete(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let name = if name.is_empty() { "message".to_owned() } else { name };
        std::mem::take(&mut self.has_data).then_some(Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> (Vec<Event>, Parser) {
        let mut parser = Parser::default();
        let found = text.lines().filter_map(|line| parser.line(line)).collect();
        (found, parser)
    }

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_follow_the_standard() {
        let (found, parser) = events(
            ": hello\nretry: 1500\n\nevent: output\nid: 7\ndata: a\ndata:b\n\nid: 8\n\ndata:  two spaces\nodd\n\nevent: x\n\ndata: unfinished",
        );
        assert_eq!(found, [event("output", "a\nb"), event("message", " two spaces")]);
        assert_eq!((parser.last_id(), parser.retry_ms()), (Some("8"), Some(1500)));
    }

    #[test]
    fn a_cut_connection_drops_only_the_half_event() {
        let (_, mut parser) = events("id: 2\ndata: whole\n\nid: 3\ndata: half");
        parser.cut();
        assert_eq!(parser.line(""), None);
        assert_eq!(parser.last_id(), Some("2"));
    }

    #[test]
    fn an_absurd_retry_is_bounded() {
        let (_, parser) = events("retry: 99999999\nretry: soon\n\n");
        assert_eq!(parser.retry_ms(), Some(10_000));
    }
}
