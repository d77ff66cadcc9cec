//! A request may tighten its type's limits, and loosen them only where the type says so. Pure.

use crate::agent_type::AgentType;
use crate::limits::{LimitKey, Limits};
use serde::Serialize;
use std::fmt;
use thiserror::Error;

/// More cores than any machine has; keeps `cpu.max` arithmetic far from overflow.
const MAX_CPU_CORES: f64 = 4096.0;

/// A limit's number: whole, or with a fraction for cores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LimitValue {
    /// Bytes, milliseconds or a count.
    Whole(u64),
    /// Cores.
    Cores(f64),
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitValue::Whole(value) => value.fmt(f),
            LimitValue::Cores(value) => value.fmt(f),
        }
    }
}

/// Why a request's limits were refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OverrideError {
    /// More than the type allows, on a limit that the type does not let requests loosen (403).
    #[error("{} may not be loosened: agent type {agent_type} allows {allowed}, asked for {asked}", .key.key())]
    Loosened {
        /// The type's name.
        agent_type: String,
        /// Which limit.
        key: LimitKey,
        /// The type's own value.
        allowed: LimitValue,
        /// The request's value.
        asked: LimitValue,
    },
    /// Not a value at all (422).
    #[error("{} cannot be {asked}: {message}", .key.key())]
    Invalid {
        /// Which limit.
        key: LimitKey,
        /// The request's value.
        asked: LimitValue,
        /// What would be right.
        message: &'static str,
    },
}

/// The limits of one execution: the type's, with the request's own where given.
///
/// # Errors
/// The first limit, in table order, that is invalid or loosens what may not be loosened. Nothing is applied by halves.
pub fn tighten(agent_type: &AgentType, asked: &Limits) -> Result<Limits, OverrideError> {
    let mut merged = agent_type.limits.clone();
    for key in LimitKey::ALL {
        let Some(value) = get(asked, key) else {
            continue;
        };
        check(key, value)?;
        if let Some(allowed) = get(&agent_type.limits, key)
            && looser(value, allowed)
            && !agent_type.may_loosen.contains(&key)
        {
            return Err(OverrideError::Loosened { agent_type: agent_type.name.clone(), key, allowed, asked: value });
        }
        set(&mut merged, key, value);
    }
    Ok(merged)
}

/// Whether a value makes sense for a limit, whoever gives it.
///
/// # Errors
/// [`OverrideError::Invalid`] for zero (except no network requests at all) and for cores that are no finite positive number.
pub fn check(key: LimitKey, asked: LimitValue) -> Result<(), OverrideError> {
    let invalid = |message| Err(OverrideError::Invalid { key, asked, message });
    match asked {
        LimitValue::Cores(cores) if !cores.is_finite() || cores <= 0.0 || cores > MAX_CPU_CORES => {
            invalid("must be a number above 0 and at most 4096")
        }
        LimitValue::Whole(0) if key != LimitKey::NetworkRequests => invalid("must be above 0"),
        LimitValue::Whole(_) | LimitValue::Cores(_) => Ok(()),
    }
}

/// Reads one limit by its key; `None` means not limited.
pub fn get(limits: &Limits, key: LimitKey) -> Option<LimitValue> {
    let whole = match key {
        LimitKey::MemoryBytes => limits.memory_bytes,
        LimitKey::CpuTimeMs => limits.cpu_time_ms,
        LimitKey::WallTimeMs => limits.wall_time_ms,
        LimitKey::NetworkRequests => limits.network_requests,
        LimitKey::StorageBytes => limits.storage_bytes,
        LimitKey::Pids => limits.pids,
        LimitKey::OpenFiles => limits.open_files,
        LimitKey::FileSizeBytes => limits.file_size_bytes,
        LimitKey::CpuCores => return limits.cpu_cores.map(LimitValue::Cores),
    };
    whole.map(LimitValue::Whole)
}

/// Sets one limit by its key. A whole number of cores is fine; a fraction of anything else is dropped.
pub(super) fn set(limits: &mut Limits, key: LimitKey, value: LimitValue) {
    let slot = match key {
        LimitKey::MemoryBytes => &mut limits.memory_bytes,
        LimitKey::CpuTimeMs => &mut limits.cpu_time_ms,
        LimitKey::WallTimeMs => &mut limits.wall_time_ms,
        LimitKey::NetworkRequests => &mut limits.network_requests,
        LimitKey::StorageBytes => &mut limits.storage_bytes,
        LimitKey::Pids => &mut limits.pids,
        LimitKey::OpenFiles => &mut limits.open_files,
        LimitKey::FileSizeBytes => &mut limits.file_size_bytes,
        LimitKey::CpuCores => {
            limits.cpu_cores = Some(as_f64(value));
            return;
        }
    };
    *slot = Some(match value {
        LimitValue::Whole(value) => value,
        LimitValue::Cores(value) => value as u64,
    });
}

/// Takes one limit away.
pub(super) fn clear(limits: &mut Limits, key: LimitKey) {
    match key {
        LimitKey::MemoryBytes => limits.memory_bytes = None,
        LimitKey::CpuTimeMs => limits.cpu_time_ms = None,
        LimitKey::WallTimeMs => limits.wall_time_ms = None,
        LimitKey::NetworkRequests => limits.network_requests = None,
        LimitKey::StorageBytes => limits.storage_bytes = None,
        LimitKey::Pids => limits.pids = None,
        LimitKey::OpenFiles => limits.open_files = None,
        LimitKey::FileSizeBytes => limits.file_size_bytes = None,
        LimitKey::CpuCores => limits.cpu_cores = None,
    }
}

fn looser(asked: LimitValue, allowed: LimitValue) -> bool {
    match (asked, allowed) {
        (LimitValue::Whole(asked), LimitValue::Whole(allowed)) => asked > allowed,
        (asked, allowed) => as_f64(asked) > as_f64(allowed),
    }
}

fn as_f64(value: LimitValue) -> f64 {
    match value {
        LimitValue::Whole(value) => value as f64,
        LimitValue::Cores(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentTypes;
    use proptest::prelude::*;

    fn validation() -> AgentType {
        AgentTypes::builtin().ok().and_then(|types| types.get("VALIDATION").cloned()).expect("built in")
    }

    #[test]
    fn tightening_is_allowed_and_the_rest_stays() {
        let asked = Limits { memory_bytes: Some(1 << 20), network_requests: Some(0), ..Limits::default() };
        let merged = tighten(&validation(), &asked).expect("tighter");
        assert_eq!(merged.memory_bytes, Some(1 << 20));
        assert_eq!(merged.network_requests, Some(0));
        assert_eq!(merged.cpu_time_ms, validation().limits.cpu_time_ms);
    }

    #[test]
    fn the_same_value_is_no_loosening() {
        let limits = validation().limits;
        assert_eq!(tighten(&validation(), &limits), Ok(limits));
    }

    #[test]
    fn loosening_names_the_limit_and_both_values() {
        let asked = Limits { cpu_cores: Some(64.0), ..Limits::default() };
        let error = tighten(&validation(), &asked).expect_err("looser");
        assert!(matches!(&error, OverrideError::Loosened { key: LimitKey::CpuCores, .. }), "{error}");
        let asked = Limits { memory_bytes: Some(1 << 40), ..Limits::default() };
        let text = tighten(&validation(), &asked).expect_err("looser").to_string();
        let expected =
            "memory_bytes may not be loosened: agent type VALIDATION allows 536870912, asked for 1099511627776";
        assert_eq!(text, expected);
    }

    #[test]
    fn loosening_where_the_type_allows_it() {
        let mut kind = validation();
        kind.may_loosen = vec![LimitKey::WallTimeMs];
        let asked = Limits { wall_time_ms: Some(u64::MAX), ..Limits::default() };
        assert_eq!(tighten(&kind, &asked).ok().and_then(|l| l.wall_time_ms), Some(u64::MAX));
    }

    #[test]
    fn an_unlimited_type_takes_any_limit() {
        let kind = AgentType { limits: Limits::default(), ..validation() };
        let asked = Limits { pids: Some(5), ..Limits::default() };
        assert_eq!(tighten(&kind, &asked), Ok(asked));
    }

    #[test]
    fn zero_and_odd_floats_are_no_limits() {
        for asked in [
            Limits { memory_bytes: Some(0), ..Limits::default() },
            Limits { pids: Some(0), ..Limits::default() },
            Limits { cpu_cores: Some(0.0), ..Limits::default() },
            Limits { cpu_cores: Some(-1.0), ..Limits::default() },
            Limits { cpu_cores: Some(f64::NAN), ..Limits::default() },
            Limits { cpu_cores: Some(f64::INFINITY), ..Limits::default() },
        ] {
            assert!(matches!(tighten(&validation(), &asked), Err(OverrideError::Invalid { .. })), "{asked:?}");
        }
    }

    proptest! {
        #[test]
        fn the_result_never_exceeds_the_type(memory in 1_u64.., pids in 1_u64.., cores in 0.001_f64..9000.0) {
            let kind = validation();
            let asked = Limits { memory_bytes: Some(memory), pids: Some(pids), cpu_cores: Some(cores), ..Limits::default() };
            if let Ok(merged) = tighten(&kind, &asked) {
                prop_assert!(merged.memory_bytes <= kind.limits.memory_bytes);
                prop_assert!(merged.pids <= kind.limits.pids);
                prop_assert!(merged.cpu_cores <= kind.limits.cpu_cores);
            }
        }
    }
}
