//! Checks of single names: agent types, hosts, origins, capabilities. Pure.

/// Longest agent-type name; it becomes a metric label and a table column.
pub const MAX_TYPE_NAME: usize = 32;

/// The Linux capabilities by name, in the order of their numbers (`linux/capability.h`).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The canonical (upper-case) form of an agent-type name.
///
/// # Errors
/// A message when it is not a letter followed by letters, digits, `_` or `-`, or is longer than [`MAX_TYPE_NAME`].
pub fn agent_type(name: &str) -> Result<String, String> {
    let tail_ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() > MAX_TYPE_NAME {
        return Err(format!("an agent type's name has at most {MAX_TYPE_NAME} characters"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(tail_ok) {
        return Err(format!("{name:?} is not an agent type's name: a letter, then letters, digits, _ or -"));
    }
    Ok(name.to_ascii_uppercase())
}

/// The canonical form of a capability: `chown` and `CAP_CHOWN` are `CAP_CHOWN`; `ALL` stays.
///
/// # Errors
/// A message when Linux has no such capability.
pub fn capability(name: &str) -> Result<String, String> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if CAPABILITIES.contains(&full.as_str()) {
        Ok(full)
    } else {
        Err(format!("{name:?} is not a Linux capability; write for example CAP_CHOWN, or ALL"))
    }
}

/// A host name or address in lower case, without port (RFC 1123 labels, as `Host` carries them).
///
/// # Errors
/// A message when it is not a host name or an address.
pub fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label_ok) {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(format!("{text:?} is not a host name or address (no scheme, no port)"))
    }
}

/// An origin as browsers send it: `https://name[:port]`, no path.
///
/// # Errors
/// A message when it is not one; `*` is refused because it would let any page drive the daemon.
pub fn origin(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is not an origin; write for example https://panel.example:8443");
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    if scheme != "http" && scheme != "https" {
        return Err(bad());
    }
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse::<u16>().map_err(|_| bad())?)),
        _ => (rest, None),
    };
    let bracketed = name.starts_with('[');
    // Without brackets an IPv6 address and a port look alike.
    if name.contains(':') && !bracketed {
        return Err(bad());
    }
    let name = host(name).map_err(|_| bad())?;
    let name = if bracketed { format!("[{name}]") } else { name };
    // Browsers leave the scheme's own port out of the header.
    let default_port = if scheme == "http" { 80 } else { 443 };
    Ok(match port {
        Some(port) if port != default_port => format!("{scheme}://{name}:{port}"),
        _ => format!("{scheme}://{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agent_type_names() {
        assert_eq!(agent_type("validation"), Ok("VALIDATION".to_owned()));
        assert_eq!(agent_type("a-1_B"), Ok("A-1_B".to_owned()));
        for bad in ["", "1A", "-A", "A B", "ÄGENT", "A.B", &"A".repeat(MAX_TYPE_NAME + 1)] {
            assert!(agent_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities() {
        assert_eq!(capability("chown"), Ok("CAP_CHOWN".to_owned()));
        assert_eq!(capability("cap_bpf"), Ok("CAP_BPF".to_owned()));
        assert_eq!(capability("all"), Ok("ALL".to_owned()));
        assert!(capability("CAP_EVERYTHING").is_err());
    }

    #[test]
    fn hosts_and_origins() {
        assert_eq!(host("Execd.NS.svc."), Ok("execd.ns.svc".to_owned()));
        assert_eq!(host("[::1]"), Ok("::1".to_owned()));
        assert_eq!(origin("https://A.example:443"), Ok("https://a.example".to_owned()));
        assert_eq!(origin("http://[::1]:8080"), Ok("http://[::1]:8080".to_owned()));
        for bad in ["", "a..b", "-a", "a:1", "http://a", "a b", "*.com"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for bad in
            ["*", "null", "https://a/b", "ftp://a", "https://", "https://a:b", "https://a:99999", "http://1::2:80"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in "[a-zA-Z0-9.:/*\\[\\]é_-]{0,30}") {
            let _ = (agent_type(&text), capability(&text), host(&text), origin(&text));
        }

        #[test]
        fn canonical_forms_are_stable(text in "[a-zA-Z0-9.-]{1,12}") {
            if let Ok(once) = host(&text) {
                prop_assert_eq!(host(&once), Ok(once.clone()));
            }
        }
    }
}
