//! What connections and requests may take.

use core::time::Duration;

use clap::value_parser;
use ipnet::IpNet;

use crate::cli::values::{BodySize, Timeout, header_size, network, positive_duration, target_size};

const HEADING: &str = "Connections and requests";

/// Flags of `serve`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RequestArgs {
    /// Wall and CPU time of a request, or `none`
    ///
    /// From its head to the end of its response. After that the answer is 504, or is cut off if it had begun.
    #[arg(long, env = "WASMCLUSTER_TIMEOUT", value_name = "TIME", default_value = "30s", help_heading = HEADING)]
    pub(crate) timeout: Timeout,

    /// Requests that a worker handles at once; more wait
    #[arg(long, env = "WASMCLUSTER_MAX_CONCURRENT_REQUESTS", value_name = "N", default_value = "256")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_concurrent_requests: u32,

    /// Requests that may wait in a worker for their turn; more are refused
    ///
    /// With a status of 503 and `retry-after`. New connections wait outside, where another worker can take them: these are
    /// requests on connections that a worker has accepted.
    #[arg(long, env = "WASMCLUSTER_MAX_WAITING_REQUESTS", value_name = "N", default_value = "1024")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(..=1_000_000))]
    pub(crate) max_waiting_requests: u32,

    /// Connections that a worker holds at once; more wait
    #[arg(long, visible_alias = "max-concurrent-connections", env = "WASMCLUSTER_MAX_CONNECTIONS")]
    #[arg(value_name = "N", default_value = "4096", help_heading = HEADING)]
    #[arg(value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,

    /// Connections that a worker holds of one address [default: all but a sixteenth]
    ///
    /// Of `--max-connections`. One more is closed at once. Of IPv6, the addresses of one network (/64) count together. A
    /// proxy before us is one address.
    #[arg(long, env = "WASMCLUSTER_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N", help_heading = HEADING)]
    #[arg(value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections_per_address: Option<u32>,

    /// Requests after which a client has to connect anew
    ///
    /// Nothing is lost by it: the last response says so, and HTTP/2 has a word for it.
    #[arg(long, env = "WASMCLUSTER_MAX_KEEP_ALIVE_REQUESTS", value_name = "N", default_value = "100000")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_keep_alive_requests: u32,

    /// Requests under way at once on one connection of HTTP/2
    #[arg(long, env = "WASMCLUSTER_MAX_HTTP2_STREAMS", value_name = "N", default_value = "128")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) max_http2_streams: u32,

    /// Requests of HTTP/2 that a client may take back before they were looked at
    ///
    /// One more ends the connection.
    #[arg(long, env = "WASMCLUSTER_MAX_HTTP2_RESETS", value_name = "N", default_value = "20")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) max_http2_resets: u32,

    /// How long a client may take to send the head of a request
    #[arg(long, env = "WASMCLUSTER_HEADER_TIMEOUT", value_name = "TIME", default_value = "10s")]
    #[arg(help_heading = HEADING, value_parser = positive_duration)]
    pub(crate) header_timeout: Duration,

    /// How long a client may be silent within a request's body
    #[arg(long, env = "WASMCLUSTER_BODY_TIMEOUT", value_name = "TIME", default_value = "30s")]
    #[arg(help_heading = HEADING, value_parser = positive_duration)]
    pub(crate) body_timeout: Duration,

    /// How long a connection is kept for another request
    #[arg(long, env = "WASMCLUSTER_KEEP_ALIVE_TIMEOUT", value_name = "TIME", default_value = "75s")]
    #[arg(help_heading = HEADING, value_parser = positive_duration)]
    pub(crate) keep_alive_timeout: Duration,

    /// Largest head of a request
    #[arg(long, env = "WASMCLUSTER_MAX_HEADER_SIZE", value_name = "SIZE", default_value = "64KiB")]
    #[arg(help_heading = HEADING, value_parser = header_size)]
    pub(crate) max_header_size: u32,

    /// Longest target of a request: its path and query
    ///
    /// A longer one is refused with a status of 414.
    #[arg(long, env = "WASMCLUSTER_MAX_TARGET_SIZE", value_name = "SIZE", default_value = "8KiB")]
    #[arg(help_heading = HEADING, value_parser = target_size)]
    pub(crate) max_target_size: u32,

    /// How many header fields a request may have
    ///
    /// More are refused with a status of 431.
    #[arg(long, env = "WASMCLUSTER_MAX_HEADERS", value_name = "N", default_value = "100")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) max_headers: u32,

    /// Largest body of a request, or `none`
    ///
    /// A larger one is refused with a status of 413: at once where its length is given, else when so much has come.
    #[arg(long, env = "WASMCLUSTER_MAX_BODY_SIZE", value_name = "SIZE", default_value = "128MiB")]
    #[arg(help_heading = HEADING)]
    pub(crate) max_body_size: BodySize,

    /// Largest body of a response, or `none`
    ///
    /// A larger one is cut, or becomes a status of 500 where nothing of it was sent.
    #[arg(long, env = "WASMCLUSTER_MAX_RESPONSE_SIZE", value_name = "SIZE", default_value = "none")]
    #[arg(help_heading = HEADING)]
    pub(crate) max_response_size: BodySize,

    /// How much of a response is sent in a second, or `none`
    ///
    /// Of each response by itself, from the first 64KiB on, which are sent at once. Its guest waits, and `--timeout` does not.
    #[arg(long, env = "WASMCLUSTER_MAX_RESPONSE_RATE", value_name = "SIZE", default_value = "none")]
    #[arg(help_heading = HEADING)]
    pub(crate) max_response_rate: BodySize,

    /// A proxy whose word is taken for where a request comes from
    ///
    /// An address, or a network such as `10.0.0.0/8`. The guest is told the client's address in `x-forwarded-for`, `http` or
    /// `https` in `x-forwarded-proto`, and a number of the request that the log knows in `x-request-id`. From a proxy that is
    /// named here those are what it says, as far as only such proxies are involved; from anybody else all headers of the kind
    /// are replaced or removed. Can be repeated.
    #[arg(long, value_name = "ADDRESS[/BITS]", help_heading = HEADING, value_parser = network)]
    pub(crate) trust_proxy: Vec<IpNet>,
}
