//! What may be too much, and how often it was.
//!
//! Each limit is called what the flag is called that sets it, in logs, in `status` and in metrics.

use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something of which there can be too much. What exactly counts is said where the flag is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is explained at the flag of its name, and nowhere better")]
pub enum Limit {
    Timeout,
    MaxMemorySize,
    MaxTableElements,
    MaxCoreInstances,
    MaxCompileTime,
    MaxCompileMemory,
    MaxResources,
    MaxHostcallSize,
    MaxFieldSize,
    MaxOutboundRequests,
    MaxConcurrentOutboundRequests,
    MaxOutboundSize,
    MaxResponseSize,
    MaxLogLines,
    MaxLogSize,
    HeaderTimeout,
    BodyTimeout,
    KeepAliveTimeout,
    MaxHeaderSize,
    MaxHeaders,
    MaxTargetSize,
    MaxBodySize,
    MaxConcurrentRequests,
    MaxWaitingRequests,
    MaxConnections,
    MaxConnectionsPerAddress,
    MaxKeepAliveRequests,
    MaxHttp2Resets,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 28] = [
        Self::Timeout,
        Self::MaxMemorySize,
        Self::MaxTableElements,
        Self::MaxCoreInstances,
        Self::MaxCompileTime,
        Self::MaxCompileMemory,
        Self::MaxResources,
        Self::MaxHostcallSize,
        Self::MaxFieldSize,
        Self::MaxOutboundRequests,
        Self::MaxConcurrentOutboundRequests,
        Self::MaxOutboundSize,
        Self::MaxResponseSize,
        Self::MaxLogLines,
        Self::MaxLogSize,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::KeepAliveTimeout,
        Self::MaxHeaderSize,
        Self::MaxHeaders,
        Self::MaxTargetSize,
        Self::MaxBodySize,
        Self::MaxConcurrentRequests,
        Self::MaxWaitingRequests,
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::MaxKeepAliveRequests,
        Self::MaxHttp2Resets,
    ];

    /// The name of its flag, without the dashes before it.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::MaxMemorySize => "max-memory-size",
            Self::MaxTableElements => "max-table-elements",
            Self::MaxCoreInstances => "max-core-instances",
            Self::MaxCompileTime => "max-compile-time",
            Self::MaxCompileMemory => "max-compile-memory",
            Self::MaxResources => "max-resources",
            Self::MaxHostcallSize => "max-hostcall-size",
            Self::MaxFieldSize => "max-field-size",
            Self::MaxOutboundRequests => "max-outbound-requests",
            Self::MaxConcurrentOutboundRequests => "max-concurrent-outbound-requests",
            Self::MaxOutboundSize => "max-outbound-size",
            Self::MaxResponseSize => "max-response-size",
            Self::MaxLogLines => "max-log-lines",
            Self::MaxLogSize => "max-log-size",
            Self::HeaderTimeout => "header-timeout",
            Self::BodyTimeout => "body-timeout",
            Self::KeepAliveTimeout => "keep-alive-timeout",
            Self::MaxHeaderSize => "max-header-size",
            Self::MaxHeaders => "max-headers",
            Self::MaxTargetSize => "max-target-size",
            Self::MaxBodySize => "max-body-size",
            Self::MaxConcurrentRequests => "max-concurrent-requests",
            Self::MaxWaitingRequests => "max-waiting-requests",
            Self::MaxConnections => "max-connections",
            Self::MaxConnectionsPerAddress => "max-connections-per-address",
            Self::MaxKeepAliveRequests => "max-keep-alive-requests",
            Self::MaxHttp2Resets => "max-http2-resets",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.flag())
    }
}

/// How often limits were reached. What never was is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reached(BTreeMap<Limit, u64>);

impl Reached {
    /// Adds what somebody else counted.
    pub fn add(&mut self, other: &Self) {
        for (limit, times) in &other.0 {
            let sum = self.0.entry(*limit).or_default();
            *sum = sum.saturating_add(*times);
        }
    }

    /// Whether nothing was reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each limit that was reached, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        self.0.iter().map(|(limit, times)| (*limit, *times))
    }
}

impl FromIterator<(Limit, u64)> for Reached {
    fn from_iter<I: IntoIterator<Item = (Limit, u64)>>(counted: I) -> Self {
        Self(counted.into_iter().filter(|(_, times)| *times > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_at_its_own_number_and_called_like_its_flag() {
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number);
            let written = serde_json::to_value(limit).expect("plain");
            assert_eq!(written, limit.flag());
        }
    }

    #[test]
    fn what_two_have_counted_is_the_sum() {
        let mut sum: Reached = [(Limit::Timeout, 1), (Limit::MaxHeaders, 0)].into_iter().collect();
        sum.add(&[(Limit::Timeout, 2), (Limit::MaxBodySize, 3)].into_iter().collect());
        assert_eq!(sum.iter().collect::<Vec<_>>(), [(Limit::Timeout, 3), (Limit::MaxBodySize, 3)]);
        let written = serde_json::to_string(&sum).expect("plain");
        assert_eq!(written, r#"{"timeout":3,"max-body-size":3}"#);
        assert_eq!(serde_json::from_str::<Reached>(&written).expect("what was written"), sum);
        assert!(Reached::default().is_empty());
    }
}
