//! Where a guest's outgoing requests may go.
//!
//! Two questions, asked at different times. Before a name is resolved: does a rule grant this host and port?
//! After: is the address one that the rule may reach? A name the owner of a public domain points at 127.0.0.1 or at
//! a cloud's metadata service passes the first question and must fail the second.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// One `--allow-outbound HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OutboundRule {
    host: HostPattern,
    port: Option<u16>,
}

impl OutboundRule {
    /// The only port that it is about, if it is about one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    /// `*`
    Any,
    /// `*.example.org`, kept as `.example.org`: every name below it, not itself.
    Below(String),
    /// A name, in lower case.
    Name(String),
    /// An address, which names itself: private ranges included.
    Address(IpAddr),
}

/// What the rules say about a destination, before any name is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No rule grants it.
    Denied,
    /// Granted, to public addresses only.
    Public,
    /// Granted by a rule that names this very host: also to the private addresses it may resolve to.
    Named,
}

/// Why an `--allow-outbound` value is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a host with an optional port, such as `api.example.org`, `*.example.org:443`, `127.0.0.1:5432`, `[::1]:80` or `*`"
)]
pub struct InvalidRule {
    value: String,
}

impl OutboundRule {
    fn judge(&self, host: &str, port: u16) -> Verdict {
        if self.port.is_some_and(|granted| granted != port) {
            return Verdict::Denied;
        }
        let matched = match &self.host {
            HostPattern::Any => return Verdict::Public,
            HostPattern::Below(suffix) => {
                let below = host.len() > suffix.len()
                    && host
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix));
                return if below { Verdict::Public } else { Verdict::Denied };
            }
            HostPattern::Name(name) => host.eq_ignore_ascii_case(name),
            HostPattern::Address(address) => parse_address(host) == Some(*address),
        };
        if matched { Verdict::Named } else { Verdict::Denied }
    }
}

/// What `rules` say about `host` (a name or an address, IPv6 with or without brackets) and `port`.
#[must_use]
pub fn judge(rules: &[OutboundRule], host: &str, port: u16) -> Verdict {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut best = Verdict::Denied;
    for rule in rules {
        match rule.judge(host, port) {
            Verdict::Named => return Verdict::Named,
            Verdict::Public => best = Verdict::Public,
            Verdict::Denied => {}
        }
    }
    best
}

/// Whether `address` is one that only a rule naming its host may reach: not on the public internet, or a cloud's
/// metadata service.
///
/// Sources: the IANA special-purpose address registries (RFC 6890 and its updates).
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_special_v4(v4),
        IpAddr::V6(v6) => is_special_v6(v6),
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_unspecified()
        || a == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local() // holds 169.254.169.254
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || (a == 100 && (64..128).contains(&b)) // shared address space, and some clouds' metadata
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 192 && b == 88 && c == 99) // 6to4 relay
        || (a == 198 && (b == 18 || b == 19)) // benchmarking
        || a >= 240 // reserved
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    // Addresses that carry an IPv4 address lead to it: judge that one.
    if let Some(v4) = embedded_v4(address) {
        return is_special_v4(v4);
    }
    let segments = address.segments();
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unique_local() // holds fd00:ec2::254
        || address.is_unicast_link_local()
        || (segments[0] & 0xffc0) == 0xfec0 // site-local, deprecated
        || (segments[0] == 0x2001 && segments[1] < 0x0200) // protocol assignments, Teredo
        || (segments[0] == 0x2001 && segments[1] == 0x0db8) // documentation
        || (segments[0] == 0x3fff && segments[1] < 0x1000) // documentation
        || segments[0] == 0x5f00 // segment routing
        || segments[..4] == [0x0100, 0, 0, 0] // discard only
        || (segments[0] & 0xe000) != 0x2000 // nothing outside 2000::/3 is global unicast today
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 or 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let tail = Ipv4Addr::from(((segments[6] as u32) << 16) | segments[7] as u32);
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(tail),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(tail),
        [0x0064, 0xff9b, 0, 0, 0, 0, ..] => Some(tail),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from(((high as u32) << 16) | low as u32)),
        _ => None,
    }
}

fn parse_address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

impl FromStr for OutboundRule {
    type Err = InvalidRule;

    fn from_str(value: &str) -> Result<Self, InvalidRule> {
        let invalid = || InvalidRule { value: value.to_owned() };
        if let Some(address) = parse_address(value) {
            return Ok(Self { host: HostPattern::Address(address), port: None });
        }
        let (host, port) = match value.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| invalid())?)),
            None => (value, None),
        };
        let host = if host == "*" {
            HostPattern::Any
        } else if let Some(address) = parse_address(host) {
            HostPattern::Address(address)
        } else if let Some(suffix) = host.strip_prefix('*') {
            let name = suffix.strip_prefix('.').filter(|name| is_name(name)).ok_or_else(invalid)?;
            HostPattern::Below(format!(".{}", name.to_ascii_lowercase()))
        } else if is_name(host) {
            HostPattern::Name(host.to_ascii_lowercase())
        } else {
            return Err(invalid());
        };
        Ok(Self { host, port })
    }
}

fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

impl fmt::Display for OutboundRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => write!(f, "*")?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Name(name) => write!(f, "{name}")?,
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            HostPattern::Address(address) => write!(f, "{address}")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for OutboundRule {
    type Error = InvalidRule;

    fn try_from(value: String) -> Result<Self, InvalidRule> {
        value.parse()
    }
}

impl From<OutboundRule> for String {
    fn from(rule: OutboundRule) -> Self {
        rule.to_string()
    }
}

#[cfg(any(test, fuzzing))]
pub mod laws;
#[cfg(test)]
mod tests;
