//! Name servers in `resolv.conf` (resolv.conf(5)). Pure.

use std::net::IpAddr;

/// Servers that are kept; resolvers use three.
pub const MAX: usize = 8;

/// The servers in the order of the file, each once. Where none is named, resolvers ask this machine.
pub fn parse(text: &str) -> Vec<IpAddr> {
    let mut servers: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A zone (`%eth0`) says by which interface; the address is the same.
        let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
        if let Some(address) = address.map(|address| address.to_canonical())
            && servers.len() < MAX
            && !servers.contains(&address)
        {
            servers.push(address);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn servers_are_read_and_nothing_else() {
        let text = "# nameserver 9.9.9.9\n; nameserver 9.9.9.9\nsearch corp\nnameserver 127.0.0.11\n  nameserver\t10.0.0.2 # two\n\
                    nameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver ::ffff:10.0.0.3\nnameserver\nnameserver dns.corp\n\
                    nameservers 8.8.8.8\noptions ndots:5\n";
        let shown: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.11", "10.0.0.2", "fe80::1", "10.0.0.3"]);
    }

    #[test]
    fn the_number_is_bounded() {
        let many: String = (0..100).map(|n| format!("nameserver 10.0.0.{n}\n")).collect();
        assert_eq!(parse(&many).len(), MAX);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(nameserver|[ \\t#;]|[0-9.:%a-f]{1,12}|\\n){0,40}") {
            prop_assert!(parse(&text).len() <= MAX);
        }
    }
}
