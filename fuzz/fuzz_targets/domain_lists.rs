//! Lists of domains against the hosts that clients write, and the files and settings that name hosts.
#![no_main]

use execd::config::names;
use execd::fuzzing::network;
use execd::network::host::{self, Host};
use execd::network::policy::{Fallback, Policy, RuleList};
use execd::network::resolvers;
use execd::network::rule::Rule;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let servers = resolvers::parse(text);
    assert!(servers.len() <= resolvers::MAX);
    let written: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    assert_eq!(resolvers::parse(&written), servers);
    // What a setting becomes is a right setting too.
    for check in [names::host, names::origin] {
        if let Ok(canonical) = check(text) {
            assert_eq!(check(&canonical), Ok(canonical.clone()), "{text:?}");
        }
    }

    let (asked, entries) = text.split_once('\n').unwrap_or((text, ""));
    let entries: Vec<&str> = entries.lines().take(16).collect();
    let rules: Vec<Rule> = entries.iter().filter_map(|entry| Rule::parse(entry).ok()).collect();
    for rule in &rules {
        assert_eq!(Rule::parse(&rule.to_string()).as_ref(), Ok(rule));
        assert!(network::covers(rule, rule));
    }
    let asked = host::authority(asked);
    if let Some((host, port)) = &asked {
        let form = format!("{host}:{port}");
        assert_eq!(host::authority(&form).as_ref(), Some(&(host.clone(), *port)), "{form}");
        let about = |rule: &Rule| match host {
            Host::Name(name) => network::names(rule, name, *port),
            Host::Address(address) => network::holds(rule, *address, *port),
        };
        for rule in &rules {
            for wide in rules.iter().filter(|wide| network::covers(wide, rule)) {
                assert!(!about(rule) || about(wide), "{wide} covers {rule} but for {form}");
            }
        }
        let written: Vec<String> = rules.iter().map(Rule::to_string).collect();
        lists(&written, host, *port, rules.iter().any(|rule| !rule.denies && about(rule)));
    }
});

fn lists(entries: &[String], host: &Host, port: u16, named: bool) {
    let list = |fallback| RuleList::parse(entries.iter().map(String::as_str), fallback).expect("each is right");
    let (closed, open) = (list(Fallback::Deny), list(Fallback::Allow));
    assert_eq!(closed.first_loosening(&closed), None, "a list loosens nothing of itself");
    let admits = |lists: &[&RuleList]| Policy::new(lists.iter().copied().cloned()).admits(host, port);
    assert!(!admits(&[&closed]) || named, "only what is named is let through");
    assert!(!admits(&[&closed]) || admits(&[&open]), "the open one allows more");
    assert_eq!(admits(&[&closed, &open]), admits(&[&closed]) && admits(&[&open]), "each list must agree");
}
