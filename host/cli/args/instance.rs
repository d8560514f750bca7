//! What instances of a guest may have.

use core::time::Duration;
use std::path::PathBuf;

use clap::{ValueEnum, value_parser};

use crate::cli::values::{
    BodySize, duration, field_size, hostcall_size, log_size, memory_size, new_directory,
};

const HEADING: &str = "Instances of the guest";

/// Flags of `serve`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InstanceArgs {
    /// How much memory an instance may have
    ///
    /// All that it has. Growing past it fails in the guest. At most 4GiB.
    #[arg(long, env = "WASMCLUSTER_MAX_MEMORY_SIZE", value_name = "SIZE", default_value = "256MiB")]
    #[arg(help_heading = HEADING, value_parser = memory_size)]
    pub(crate) max_memory_size: u64,

    /// Largest table of an instance, in elements
    ///
    /// Growing past it fails in the guest.
    #[arg(long, env = "WASMCLUSTER_MAX_TABLE_ELEMENTS", value_name = "N", default_value = "20000")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(crate) max_table_elements: u32,

    /// How many core instances an instance may consist of
    ///
    /// A component instantiates its core modules, one of them as often as it likes. One that has more does not start.
    #[arg(long, env = "WASMCLUSTER_MAX_CORE_INSTANCES", value_name = "N", default_value = "100")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) max_core_instances: u32,

    /// How many resources of the host an instance may hold
    ///
    /// Header lists, requests, responses, bodies, streams, files and the like. One more ends the request with a status of
    /// 500.
    #[arg(long, env = "WASMCLUSTER_MAX_RESOURCES", value_name = "N", default_value = "10000")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(64..=10_000_000))]
    pub(crate) max_resources: u32,

    /// How much a guest may give to the host in one call
    ///
    /// Strings and lists, which the host has to copy. More ends the request with a status of 500. Bodies are given in
    /// pieces.
    #[arg(long, env = "WASMCLUSTER_MAX_HOSTCALL_SIZE", value_name = "SIZE", default_value = "16MiB")]
    #[arg(help_heading = HEADING, value_parser = hostcall_size)]
    pub(crate) max_hostcall_size: u64,

    /// Largest list of header fields that a guest may make
    ///
    /// Names and values of one request, response or set of trailers together. Adding more fails in the guest.
    #[arg(long, env = "WASMCLUSTER_MAX_FIELD_SIZE", value_name = "SIZE", default_value = "128KiB")]
    #[arg(help_heading = HEADING, value_parser = field_size)]
    pub(crate) max_field_size: u64,

    /// How many requests a guest may send while it serves one
    ///
    /// Those that are granted by `--allow-outbound`. More are denied.
    #[arg(long, env = "WASMCLUSTER_MAX_OUTBOUND_REQUESTS", value_name = "N", default_value = "1000")]
    #[arg(help_heading = HEADING)]
    pub(crate) max_outbound_requests: u32,

    /// How many of them may be under way at once
    ///
    /// More are denied.
    #[arg(
        long,
        env = "WASMCLUSTER_MAX_CONCURRENT_OUTBOUND_REQUESTS",
        value_name = "N",
        default_value = "100"
    )]
    #[arg(help_heading = HEADING)]
    pub(crate) max_concurrent_outbound_requests: u32,

    /// How much a guest may send while it serves one request, or `none`
    ///
    /// In the bodies of the requests that it sends, together. What has more is cut.
    #[arg(long, env = "WASMCLUSTER_MAX_OUTBOUND_SIZE", value_name = "SIZE", default_value = "1GiB")]
    #[arg(help_heading = HEADING)]
    pub(crate) max_outbound_size: BodySize,

    /// How many lines the guests of a worker may print in a second
    ///
    /// More are thrown away and counted.
    #[arg(long, env = "WASMCLUSTER_MAX_LOG_LINES", value_name = "N", default_value = "10000")]
    #[arg(help_heading = HEADING, value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_log_lines: u32,

    /// How much the guests of a worker may print in a second
    ///
    /// More is thrown away and counted, by lines.
    #[arg(long, env = "WASMCLUSTER_MAX_LOG_SIZE", value_name = "SIZE", default_value = "4MiB")]
    #[arg(help_heading = HEADING, value_parser = log_size)]
    pub(crate) max_log_size: u64,

    /// How many requests an instance serves [default: 1 for 0.2, 128 for 0.3]
    ///
    /// With more than 1, what a request leaves in the guest's memory is there for the next one. The default depends on
    /// the version of wasi:http that the component exports.
    #[arg(long, env = "WASMCLUSTER_MAX_INSTANCE_REUSE_COUNT", value_name = "N", help_heading = HEADING)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_instance_reuse_count: Option<u32>,

    /// How long an instance waits for its next request
    #[arg(long, env = "WASMCLUSTER_IDLE_INSTANCE_TIMEOUT", value_name = "TIME", default_value = "1s")]
    #[arg(help_heading = HEADING, value_parser = duration)]
    pub(crate) idle_instance_timeout: Duration,

    /// Where core dumps of guests that trap are kept [default: nowhere]
    ///
    /// Memory and stack, in the format of WebAssembly's tools, for this user to read. The first one of a worker, and then one
    /// in ten seconds, as long as there are fewer than 16 in the directory. While a worker collects one, its other requests
    /// wait.
    #[arg(long, env = "WASMCLUSTER_COREDUMP", value_name = "DIR", help_heading = HEADING)]
    #[arg(value_parser = new_directory)]
    pub(crate) coredump: Option<PathBuf>,

    /// How memory is erased between instances
    #[arg(long, env = "WASMCLUSTER_ISOLATION", value_name = "HOW", default_value = "fast", help_heading = HEADING)]
    pub(crate) isolation: Isolation,
}

/// `--isolation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// The pages that the kernel reports as written, where that can be relied on
    Fast,
    /// Every page, given back to the kernel
    Strict,
}
