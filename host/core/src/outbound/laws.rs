//! What holds for whatever somebody writes into a rule, and wherever a guest wants to go.

use core::net::IpAddr;

use super::{OutboundRule, Verdict, is_special, judge};

/// Any text is no rule, or one that is written as it is read.
pub fn any_rule_is_read_as_it_is_written(text: &str) -> Option<OutboundRule> {
    let rule: OutboundRule = match text.parse() {
        Ok(rule) => rule,
        Err(error) => {
            assert!(format!("{error}").starts_with(&format!("`{text}` is not a host")));
            return None;
        }
    };
    let written = rule.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&rule), "`{text}` is written as `{written}`");
    assert_eq!(String::from(rule.clone()), written);
    Some(rule)
}

/// Any destination is judged alike however its name is written, by the best of all rules, and by none that is about another
/// port. Of rules that do not name it none leads to what is not public.
pub fn any_destination_is_judged(rules: &[&str], host: &str, port: u16) {
    let rules: Vec<_> = rules.iter().filter_map(|rule| any_rule_is_read_as_it_is_written(rule)).collect();
    let verdict = judge(&rules, host, port);
    assert_eq!(judge(&rules, &host.to_ascii_uppercase(), port), verdict);
    if !host.ends_with('.') {
        assert_eq!(judge(&rules, &format!("{host}."), port), verdict);
    }
    let rank = |verdict| match verdict {
        Verdict::Denied => 0,
        Verdict::Public => 1,
        Verdict::Named => 2,
    };
    let each = rules.iter().map(|rule| rank(judge(std::slice::from_ref(rule), host, port)));
    assert_eq!(each.max().unwrap_or(0), rank(verdict), "no rule takes back what another one grants");
    let about: Vec<_> =
        rules.iter().filter(|rule| rule.port().is_none_or(|only| only == port)).cloned().collect();
    assert_eq!(judge(&about, host, port), verdict);
    if verdict == Verdict::Named {
        assert!(
            about.iter().any(|rule| !rule.to_string().starts_with('*')),
            "`{host}` is named by no pattern"
        );
    }
    if let Some(named) = any_rule_is_read_as_it_is_written(host)
        && !host.starts_with('*')
        && named.port().is_none()
    {
        assert_eq!(judge(&[named], host, port), Verdict::Named, "a host names itself");
    }
    if let Ok(IpAddr::V4(v4)) = host.parse() {
        for same in [v4.to_ipv6_mapped(), v4.to_ipv6_compatible()] {
            let alone = same.segments()[..7] == [0; 7];
            assert!(alone || is_special(same.into()) == is_special(v4.into()), "{same} leads to {v4}");
        }
    }
}
