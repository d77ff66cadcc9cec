//! One `[agent_types.NAME]` table to one [`AgentType`]. Which types exist is not known here.

use super::file::{FileError, Item, Section};
use super::{names, overrides};
use crate::agent_type::{AgentType, OnLimit, Survivors};
use crate::config::overrides::LimitValue;
use crate::limits::LimitKey;
use crate::network::policy::{Fallback, RULES_MAX};
use crate::network::rule::Rule;
use crate::units;

/// What a limit is counted in, so that text may carry the right units.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Time,
    Count,
    Cores,
}

const fn unit(key: LimitKey) -> Unit {
    match key {
        LimitKey::MemoryBytes | LimitKey::StorageBytes | LimitKey::FileSizeBytes => Unit::Bytes,
        LimitKey::CpuTimeMs | LimitKey::WallTimeMs => Unit::Time,
        LimitKey::NetworkRequests | LimitKey::Pids | LimitKey::OpenFiles => Unit::Count,
        LimitKey::CpuCores => Unit::Cores,
    }
}

/// The list of the egress proxy, which `may_loosen` may also name.
const DOMAINS: &str = "allowed_domains";

/// The keys beside the limits.
const POLICY_KEYS: [&str; 16] = [
    "extends",
    "description",
    "required",
    "may_loosen",
    "on_pids",
    "on_network",
    "survivors",
    "output_bytes",
    DOMAINS,
    "domains_default",
    "network_gate",
    "no_new_privs",
    "keep_capabilities",
    "uid",
    "gid",
    "grace_ms",
];

/// Reads a table over a base: what the table leaves out stays as in `base`.
pub(super) fn read(section: &Section<'_>, name: &str, base: AgentType) -> Result<AgentType, FileError> {
    let mut known: Vec<&str> = LimitKey::ALL.iter().map(|key| key.key()).collect();
    known.extend(POLICY_KEYS);
    section.reject_unknown(&known)?;
    let mut kind = AgentType { name: name.to_owned(), ..base };
    for key in LimitKey::ALL {
        if let Some(item) = section.get(key.key()) {
            read_limit(&item, key, &mut kind)?;
        }
    }
    read_policy(section, &mut kind)?;
    read_identity(section, &mut kind)?;
    Ok(kind)
}

fn read_limit(item: &Item<'_>, key: LimitKey, kind: &mut AgentType) -> Result<(), FileError> {
    if item.is_str() && item.str()? == "none" {
        overrides::clear(&mut kind.limits, key);
        return Ok(());
    }
    let value = match unit(key) {
        Unit::Bytes => LimitValue::Whole(bytes(item)?),
        Unit::Time => LimitValue::Whole(duration_ms(item)?),
        Unit::Count => LimitValue::Whole(item.u64()?),
        Unit::Cores => LimitValue::Cores(item.f64()?),
    };
    overrides::check(key, value).map_err(|e| item.error(e.to_string()))?;
    overrides::set(&mut kind.limits, key, value);
    Ok(())
}

fn read_policy(section: &Section<'_>, kind: &mut AgentType) -> Result<(), FileError> {
    if let Some(item) = section.get("description") {
        kind.description = one_line(&item)?;
    }
    if let Some(item) = section.get("required") {
        kind.required = limit_keys(&item)?;
    }
    if let Some(item) = section.get("may_loosen") {
        let (domains, limits): (Vec<_>, Vec<_>) = item.strings()?.into_iter().partition(|text| *text == DOMAINS);
        kind.may_loosen_domains = !domains.is_empty();
        kind.may_loosen = checked(&item, limits, limit_key)?;
    }
    if let Some(item) = section.get("on_pids") {
        kind.on_pids = on_limit(&item)?;
    }
    if let Some(item) = section.get("on_network") {
        kind.on_network = on_limit(&item)?;
    }
    if let Some(item) = section.get("survivors") {
        kind.survivors = match item.str()? {
            "kill" => Survivors::Kill,
            "keep" => Survivors::Keep,
            other => return Err(item.error(format!("{other:?} must be \"kill\" or \"keep\""))),
        };
    }
    if let Some(item) = section.get("output_bytes") {
        kind.output_bytes = bytes(&item)?;
    }
    read_domains(section, kind)?;
    if let Some(item) = section.get("network_gate") {
        kind.network_gate = item.bool()?;
    }
    if let Some(item) = section.get("grace_ms") {
        kind.grace_ms = duration_ms(&item)?;
    }
    Ok(())
}

fn read_domains(section: &Section<'_>, kind: &mut AgentType) -> Result<(), FileError> {
    if let Some(item) = section.get(DOMAINS) {
        kind.allowed_domains = domains(&item)?;
    }
    if let Some(item) = section.get("domains_default") {
        kind.domains_default = match item.str()? {
            "deny" => Fallback::Deny,
            "allow" if kind.allowed_domains.is_some() => Fallback::Allow,
            "allow" => return Err(item.error("needs a list in allowed_domains beside it, which may be empty")),
            other => return Err(item.error(format!("{other:?} must be \"deny\" or \"allow\""))),
        };
    }
    Ok(())
}

fn read_identity(section: &Section<'_>, kind: &mut AgentType) -> Result<(), FileError> {
    if let Some(item) = section.get("no_new_privs") {
        kind.no_new_privs = item.bool()?;
    }
    if let Some(item) = section.get("keep_capabilities") {
        kind.keep_capabilities = checked_list(&item, names::capability)?;
    }
    if let Some(item) = section.get("uid") {
        kind.uid = Some(id(&item)?);
    }
    if let Some(item) = section.get("gid") {
        kind.gid = Some(id(&item)?);
        if kind.uid.is_none() {
            return Err(item.error("needs a uid beside it"));
        }
    }
    Ok(())
}

fn bytes(item: &Item<'_>) -> Result<u64, FileError> {
    if item.is_str() { units::parse_bytes(item.str()?).map_err(|e| item.error(e.to_string())) } else { item.u64() }
}

fn duration_ms(item: &Item<'_>) -> Result<u64, FileError> {
    if item.is_str() {
        units::parse_duration_ms(item.str()?).map_err(|e| item.error(e.to_string()))
    } else {
        item.u64()
    }
}

/// A numeric id; the highest one means "unchanged" to the kernel and is no user.
fn id(item: &Item<'_>) -> Result<u32, FileError> {
    match u32::try_from(item.u64()?) {
        Ok(id) if id != u32::MAX => Ok(id),
        Ok(_) | Err(_) => Err(item.error("is not a user or group id (0 to 4294967294)")),
    }
}

fn one_line(item: &Item<'_>) -> Result<String, FileError> {
    let text = item.str()?;
    if text.len() > 200 || text.chars().any(char::is_control) {
        return Err(item.error("must be one line of at most 200 bytes"));
    }
    Ok(text.to_owned())
}

fn on_limit(item: &Item<'_>) -> Result<OnLimit, FileError> {
    match item.str()? {
        "deny" => Ok(OnLimit::Deny),
        "kill" => Ok(OnLimit::Kill),
        other => Err(item.error(format!("{other:?} must be \"deny\" or \"kill\""))),
    }
}

fn limit_keys(item: &Item<'_>) -> Result<Vec<LimitKey>, FileError> {
    checked_list(item, limit_key)
}

fn limit_key(text: &str) -> Result<LimitKey, String> {
    LimitKey::ALL.into_iter().find(|key| key.key() == text).ok_or_else(|| {
        let known: Vec<_> = LimitKey::ALL.iter().map(|key| key.key()).collect();
        format!("{text:?} is not a limit; known are {}", known.join(", "))
    })
}

fn domains(item: &Item<'_>) -> Result<Option<Vec<String>>, FileError> {
    if item.is_str() {
        return match item.str()? {
            "any" => Ok(None),
            _ => Err(item.error("must be a list of domains, or \"any\"")),
        };
    }
    checked_list(item, |text| Rule::parse(text).map(|rule| rule.to_string())).map(Some)
}

/// A list of checked names, each once, bounded.
fn checked_list<T: PartialEq>(item: &Item<'_>, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, FileError> {
    checked(item, item.strings()?, check)
}

fn checked<T: PartialEq>(
    item: &Item<'_>,
    texts: Vec<&str>,
    check: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, FileError> {
    if texts.len() > RULES_MAX {
        return Err(item.error(format!("has more than {RULES_MAX} entries")));
    }
    let mut list = Vec::with_capacity(texts.len());
    for text in texts {
        let entry = check(text).map_err(|message| item.error(message))?;
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
    Ok(list)
}
