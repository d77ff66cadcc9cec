//! The set of agent types: the built-in ones, and those that a configuration file adds or replaces.
//!
//! Data in, data out. The built-in numbers live in `agent_types.toml`, not here.

use super::agent_type_section;
use super::file::{Document, FileError, Section};
use super::names;
use crate::agent_type::{AgentType, OnLimit, Survivors};
use crate::limits::Limits;
use crate::network::policy::Fallback;

/// More types than this is a mistake; each one is a set of metric series.
pub const MAX_TYPES: usize = 64;

/// The key of the table of types in a configuration file.
pub const SECTION: &str = "agent_types";

const BUILT_IN: &str = include_str!("agent_types.toml");
const DEFAULTS: &str = "agent_type_defaults";

/// All agent types of a daemon, in the order of their files.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentTypes {
    types: Vec<AgentType>,
    defaults: AgentType,
}

impl AgentTypes {
    /// The types of the embedded file.
    ///
    /// # Errors
    /// Only when the embedded file is broken, which a test excludes.
    pub fn builtin() -> Result<Self, FileError> {
        let document = Document::parse("<built-in>", BUILT_IN)?;
        let root = document.root();
        root.reject_unknown(&[DEFAULTS, SECTION])?;
        let defaults = match root.get(DEFAULTS) {
            Some(item) => agent_type_section::read(&item.section()?, "", unlimited())?,
            None => unlimited(),
        };
        let mut types = Self { types: Vec::new(), defaults };
        types.merge(&root)?;
        Ok(types)
    }

    /// Adds or replaces the types of a file's `[agent_types.NAME]` tables; other keys of the file are not looked at.
    /// A type may build on an earlier one by `extends = "NAME"`; one that replaces a type starts from the defaults.
    ///
    /// # Errors
    /// [`FileError`] with the place of the first mistake; the set may then be half merged and must be dropped.
    pub fn merge(&mut self, root: &Section<'_>) -> Result<(), FileError> {
        let Some(item) = root.get(SECTION) else {
            return Ok(());
        };
        let mut seen: Vec<String> = Vec::new();
        for (written, item) in item.section()?.items() {
            let name = names::agent_type(&written).map_err(|message| item.error(message))?;
            if seen.contains(&name) {
                return Err(item.error("is there twice; names are matched without regard to case"));
            }
            let section = item.section()?;
            let base = self.base_of(&section)?;
            let kind = agent_type_section::read(&section, &name, base)?;
            seen.push(name);
            self.insert(kind).map_err(|message| item.error(message))?;
        }
        Ok(())
    }

    /// Finds a type without regard to case.
    pub fn get(&self, name: &str) -> Option<&AgentType> {
        self.types.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
    }

    /// The names, for messages and listings.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(|kind| kind.name.as_str())
    }

    /// All types.
    pub fn iter(&self) -> impl Iterator<Item = &AgentType> {
        self.types.iter()
    }

    fn base_of(&self, section: &Section<'_>) -> Result<AgentType, FileError> {
        let Some(item) = section.get("extends") else {
            return Ok(self.defaults.clone());
        };
        let parent = item.str()?;
        self.get(parent).cloned().ok_or_else(|| {
            let known: Vec<_> = self.names().collect();
            item.error(format!("{parent:?} is no agent type above this one; known are {}", known.join(", ")))
        })
    }

    fn insert(&mut self, kind: AgentType) -> Result<(), String> {
        if let Some(place) = self.types.iter_mut().find(|known| known.name == kind.name) {
            *place = kind;
        } else if self.types.len() < MAX_TYPES {
            self.types.push(kind);
        } else {
            return Err(format!("is one agent type too many; at most {MAX_TYPES}"));
        }
        Ok(())
    }
}

/// What the embedded file's defaults start from: nothing limited, nothing kept.
fn unlimited() -> AgentType {
    AgentType {
        name: String::new(),
        description: String::new(),
        limits: Limits::default(),
        required: Vec::new(),
        may_loosen: Vec::new(),
        on_pids: OnLimit::Deny,
        on_network: OnLimit::Deny,
        survivors: Survivors::Kill,
        output_bytes: 0,
        allowed_domains: None,
        domains_default: Fallback::Deny,
        may_loosen_domains: false,
        network_gate: false,
        no_new_privs: false,
        keep_capabilities: Vec::new(),
        uid: None,
        gid: None,
        grace_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LimitKey;

    const MIB: u64 = 1 << 20;

    fn with_file(text: &str) -> Result<AgentTypes, FileError> {
        let mut types = AgentTypes::builtin()?;
        types.merge(&Document::parse("c.toml", text)?.root())?;
        Ok(types)
    }

    fn refusal(text: &str) -> String {
        with_file(text).expect_err(text).to_string()
    }

    #[test]
    fn built_in_types_have_the_promised_numbers() {
        let types = AgentTypes::builtin().expect("the embedded file is right");
        for (name, memory, cpu_s, wall_min, requests, storage) in [
            ("ELICITATION", 256, 30, 5, 10, 50),
            ("TEST_WRITER", 512, 60, 10, 20, 100),
            ("IMPLEMENTATION", 1024, 120, 15, 50, 200),
            ("CONTEXT_GATHERING", 256, 30, 5, 30, 50),
            ("VALIDATION", 512, 60, 10, 20, 100),
        ] {
            let kind = types.get(&name.to_lowercase()).expect(name);
            assert_eq!(kind.limits.memory_bytes, Some(memory * MIB), "{name}");
            assert_eq!(kind.limits.cpu_time_ms, Some(cpu_s * 1000), "{name}");
            assert_eq!(kind.limits.wall_time_ms, Some(wall_min * 60_000), "{name}");
            assert_eq!(kind.limits.network_requests, Some(requests), "{name}");
            assert_eq!(kind.limits.storage_bytes, Some(storage * MIB), "{name}");
            assert!(kind.network_gate && kind.no_new_privs && kind.keep_capabilities.is_empty(), "{name}");
            assert_eq!((kind.survivors, kind.grace_ms), (Survivors::Kill, 5000), "{name}");
            // A file-size signal before the storage limit would hide the real reason.
            assert!(kind.limits.file_size_bytes > kind.limits.storage_bytes.map(|bytes| bytes * 2), "{name}");
            assert!(
                LimitKey::ALL.iter().all(|key| crate::config::overrides::get(&kind.limits, *key).is_some()),
                "{name}"
            );
        }
        let default = types.get("Default").expect("DEFAULT");
        assert_eq!(default.limits, Limits::default());
        assert!(!default.network_gate && !default.no_new_privs);
        assert_eq!(default.keep_capabilities, ["ALL"]);
        assert_eq!(types.names().count(), 6);
    }

    #[test]
    fn every_number_of_the_embedded_file_has_a_comment() {
        for line in BUILT_IN.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            assert!(line.contains('#') || line.starts_with("description"), "{line}");
        }
    }

    #[test]
    fn a_file_adds_extends_and_replaces() {
        let types = with_file(
            "[agent_types.fast]\nextends = 'validation'\nwall_time_ms = '30s'\nmay_loosen = ['pids']\nuid = 65534\n\
             [agent_types.VALIDATION]\nmemory_bytes = 1048576\ncpu_time_ms = 'none'\nallowed_domains = ['*.Example.com:443', '!10.0.0.0/8']\ndomains_default = 'allow'\nmay_loosen = ['allowed_domains', 'pids']\n",
        )
        .expect("right");
        let fast = types.get("FAST").expect("added");
        assert_eq!((fast.limits.wall_time_ms, fast.limits.memory_bytes), (Some(30_000), Some(512 * MIB)));
        assert_eq!((fast.uid, fast.may_loosen.as_slice()), (Some(65_534), &[LimitKey::Pids][..]));
        let replaced = types.get("validation").expect("replaced");
        assert_eq!((replaced.limits.memory_bytes, replaced.limits.cpu_time_ms), (Some(MIB), None));
        let domains = ["*.example.com:443".to_owned(), "!10.0.0.0/8".to_owned()];
        assert_eq!(replaced.allowed_domains.as_deref(), Some(&domains[..]));
        assert_eq!((replaced.domains_default, replaced.may_loosen_domains), (Fallback::Allow, true));
        assert_eq!(replaced.may_loosen, [LimitKey::Pids]);
        assert_eq!(types.names().count(), 7);
    }

    #[test]
    fn mistakes_are_located() {
        for (text, start, part) in [
            ("[agent_types.A]\nmemry = 1\n", "c.toml:2:1: agent_types.A.memry: ", "memory_bytes"),
            ("[agent_types.A]\nmemory_bytes = '1 apple'\n", "c.toml:2:16: agent_types.A.memory_bytes: ", "apple"),
            ("[agent_types.A]\nmemory_bytes = 0\n", "c.toml:2:16: ", "above 0"),
            ("[agent_types.A]\ncpu_cores = nan\n", "c.toml:2:13: ", "above 0"),
            (
                "[agent_types.A]\nallowed_domains = ['a.b', '127.1']\n",
                "c.toml:2:19: agent_types.A.allowed_domains: ",
                "127.1",
            ),
            ("[agent_types.A]\nallowed_domains = ['https://a']\n", "c.toml:2:19: ", "https://a"),
            ("[agent_types.A]\ndomains_default = 'allow'\n", "c.toml:2:19: ", "allowed_domains"),
            ("[agent_types.A]\nallowed_domains = []\ndomains_default = 'maybe'\n", "c.toml:3:19: ", "maybe"),
            ("[agent_types.A]\nextends = 'B'\n", "c.toml:2:11: ", "VALIDATION"),
            ("[agent_types.A]\nrequired = ['memory']\n", "c.toml:2:12: ", "memory_bytes"),
            ("[agent_types.A]\nkeep_capabilities = ['X']\n", "c.toml:2:21: ", "CAP_CHOWN"),
            ("[agent_types.A]\ngid = 1\n", "c.toml:2:7: ", "uid"),
            ("[agent_types.A]\nuid = 4294967295\n", "c.toml:2:7: ", "4294967294"),
            ("[agent_types.A]\nsurvivors = 'eat'\n", "c.toml:2:13: ", "keep"),
            ("[agent_types.a]\n[agent_types.A]\n", "c.toml:", "twice"),
            ("[agent_types.'A B']\n", "c.toml:", "letter"),
            ("agent_types = 1\n", "c.toml:1:15: agent_types: ", "table"),
        ] {
            let message = refusal(text);
            assert!(message.starts_with(start) && message.contains(part), "{text:?} -> {message}");
        }
    }

    #[test]
    fn the_number_of_types_is_bounded() {
        let many: String = (0..=MAX_TYPES).map(|n| format!("[agent_types.T{n}]\n")).collect();
        assert!(refusal(&many).contains("at most 64"));
    }
}
