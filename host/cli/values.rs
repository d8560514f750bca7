//! What values of flags look like. Each parser's error completes "invalid value for ...".

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;
use std::fs::File;
use std::io::Read;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use ipnet::IpNet;
use wasmcluster_core::app::DirGrant;
use wasmcluster_core::control::Change;
use wasmcluster_supervisor::Instances;

/// Where a component is served when nobody says otherwise.
pub(crate) const DEFAULT_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Long enough for any purpose, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `HOST:PORT`; `:PORT` and `PORT` alone are on the default host.
pub(crate) fn address(value: &str) -> Result<SocketAddr, String> {
    let bare = value.strip_prefix(':').unwrap_or(value);
    if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = bare.parse().map_err(|_| "a port is at most 65535".to_owned())?;
        return Ok(SocketAddr::new(DEFAULT_ADDR.ip(), port));
    }
    if let Ok(addr) = value.parse() {
        return Ok(addr);
    }
    let shape =
        || "expected `HOST:PORT`, such as `127.0.0.1:8080`, `[::]:8080` or `localhost:8080`".to_owned();
    let (host, port) = value.rsplit_once(':').ok_or_else(shape)?;
    if host.is_empty() || host.contains(':') || port.parse::<u16>().is_err() {
        return Err(shape());
    }
    let mut found = value.to_socket_addrs().map_err(|_| format!("`{host}` has no address"))?;
    found.next().ok_or_else(|| format!("`{host}` has no address"))
}

/// Something for a shell to do.
pub(crate) fn command(value: &str) -> Result<String, String> {
    match value.trim() {
        "" => Err("expected a command, such as `make app.wasm`".into()),
        command => Ok(command.to_owned()),
    }
}

/// `N`, `+N` or `-N`, of workers.
pub(crate) fn change(value: &str) -> Result<Change, String> {
    let most = Instances::LIMIT;
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        true => text.parse().ok().filter(|number| *number <= most).ok_or_else(|| format!("at most {most}")),
        false => Err("expected a number of workers, such as `8`, or `+2` and `-2` for more and fewer".into()),
    };
    let signed = |number: u16| i16::try_from(number).map_err(|error| error.to_string());
    match (value.strip_prefix('+'), value.strip_prefix('-')) {
        (Some(more), _) => Ok(Change::By(signed(number(more)?)?)),
        (_, Some(fewer)) => Ok(Change::By(-signed(number(fewer)?)?)),
        (None, None) => match number(value)? {
            0 => Err("at least 1 worker is needed; `wasmcluster stop` stops them all".into()),
            slots => Ok(Change::To(slots)),
        },
    }
}

/// A duration, also of no time at all.
pub(crate) fn duration(value: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(value)
        .map_err(|_| "expected a time with its unit, such as `500ms`, `30s` or `2m`".to_owned())?;
    if duration > LONGEST { Err("at most a year".into()) } else { Ok(duration) }
}

/// A duration in which something can happen.
pub(crate) fn positive_duration(value: &str) -> Result<Duration, String> {
    duration(value).and_then(|duration| {
        if duration.is_zero() { Err("must be longer than no time at all".into()) } else { Ok(duration) }
    })
}

/// A duration, or `none` for no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Option<Duration>);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        match value {
            "none" => Ok(Self(None)),
            _ => positive_duration(value)
                .map(|duration| Self(Some(duration)))
                .map_err(|error| format!("{error}; or `none`")),
        }
    }
}

/// A network, or an address that is one of its own.
pub(crate) fn network(value: &str) -> Result<IpNet, String> {
    let network = value.parse().or_else(|_| value.parse().map(|address: IpAddr| IpNet::from(address)));
    network.map_err(|_| {
        "expected an address or a network, such as `10.0.0.1`, `10.0.0.0/8` or `fd00::/8`".into()
    })
}

/// What is longer than the second that lies between two heartbeats, or `none`.
pub(crate) fn heartbeat(value: &str) -> Result<Timeout, String> {
    match value.parse()? {
        Timeout(Some(time)) if time < Duration::from_secs(2) => Err("at least 2s, or `none`".into()),
        timeout => Ok(timeout),
    }
}

/// `5%`, or `none` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) Option<u8>);

impl FromStr for Percent {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        if value == "none" {
            return Ok(Self(None));
        }
        let number = value.strip_suffix('%').unwrap_or(value).parse().ok().filter(|percent| *percent <= 100);
        number.map(|percent| Self(Some(percent))).ok_or_else(|| "expected `0%` to `100%`, or `none`".into())
    }
}

/// `3x`, or `none` for no limit. Kept in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factor(pub(crate) Option<u32>);

impl FromStr for Factor {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        if value == "none" {
            return Ok(Self(None));
        }
        let number = value.strip_suffix('x').unwrap_or(value).parse::<f64>().ok();
        let hundredths = number.filter(|factor| (1.0..=1000.0).contains(factor)).map(|factor| factor * 100.0);
        hundredths
            .map(|hundredths| Self(Some(hundredths.round() as u32)))
            .ok_or_else(|| "expected a factor from `1x` to `1000x`, such as `1.5x`, or `none`".into())
    }
}

/// What a worker may have: more than one that does nothing.
pub(crate) fn process_size(value: &str) -> Result<u64, String> {
    size(value, 16 << 20, 1 << 40)
}

/// What a compiler may have: more than it takes to start one.
pub(crate) fn compiler_size(value: &str) -> Result<u64, String> {
    size(value, 64 << 20, 1 << 40)
}

/// The path of a request, and its query.
pub(crate) fn path(value: &str) -> Result<String, String> {
    let visible = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if value.starts_with('/') && visible {
        Ok(value.to_owned())
    } else {
        Err("expected a path such as `/health`".into())
    }
}

/// What one instance may have: a page of memory at least, what 32 bits can address at most.
pub(crate) fn memory_size(value: &str) -> Result<u64, String> {
    size(value, 64 << 10, 4 << 30)
}

/// What the head of a request may take: what HTTP libraries need as a buffer at least.
pub(crate) fn header_size(value: &str) -> Result<u32, String> {
    size(value, 8 << 10, 16 << 20).and_then(|size| u32::try_from(size).map_err(|error| error.to_string()))
}

/// What the target of a request may take: what HTTP libraries take as one at most.
pub(crate) fn target_size(value: &str) -> Result<u32, String> {
    size(value, 64, 65_534).and_then(|size| u32::try_from(size).map_err(|error| error.to_string()))
}

/// What one call of a guest may hold: a header list at least.
pub(crate) fn hostcall_size(value: &str) -> Result<u64, String> {
    size(value, 64 << 10, 4 << 30)
}

/// What a list of header fields may take.
pub(crate) fn field_size(value: &str) -> Result<u64, String> {
    size(value, 1 << 10, 16 << 20)
}

/// What guests may print in a second: a line at least.
pub(crate) fn log_size(value: &str) -> Result<u64, String> {
    size(value, 8 << 10, 1 << 40)
}

/// What the body of a request may take, or `none` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodySize(pub(crate) Option<u64>);

impl FromStr for BodySize {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        match value {
            "none" => Ok(Self(None)),
            _ => size(value, 1, 1 << 50)
                .map(|size| Self(Some(size)))
                .map_err(|error| format!("{error}; or `none`")),
        }
    }
}

fn size(value: &str, least: u64, most: u64) -> Result<u64, String> {
    let size: ByteSize = value
        .parse()
        .map_err(|_| "expected a number of bytes, or one with its unit, such as `256MiB`".to_owned())?;
    match size.as_u64() {
        size if size < least => Err(format!("at least {}", ByteSize(least))),
        size if size > most => Err(format!("at most {}", ByteSize(most))),
        size => Ok(size),
    }
}

/// A part of a whole, more than nothing.
pub(crate) fn percent(value: &str) -> Result<u8, String> {
    let number = value.strip_suffix('%').and_then(|number| number.parse().ok());
    number
        .filter(|number| (1..=100).contains(number))
        .ok_or_else(|| "expected a share from `1%` to `100%`".to_owned())
}

/// `HOST[::GUEST[::ro]]`. The directory has to be there.
pub(crate) fn directory(value: &str) -> Result<DirGrant, String> {
    let mut parts = value.split("::");
    let host = parts.next().filter(|host| !host.is_empty()).ok_or("expected `HOST::GUEST`")?;
    let guest = parts.next().unwrap_or(host);
    let writable = match parts.next() {
        None => true,
        Some("ro") => false,
        Some(other) => return Err(format!("`{other}` is no way to grant a directory: only `ro` is")),
    };
    if guest.is_empty() || parts.next().is_some() {
        return Err("expected `HOST::GUEST` or `HOST::GUEST::ro`".into());
    }
    let metadata = std::fs::metadata(host).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no directory `{host}`"),
        _ => format!("failed to look at `{host}`: {error}"),
    })?;
    if !metadata.is_dir() {
        return Err(format!("`{host}` is not a directory"));
    }
    let host = std::path::absolute(Path::new(host)).map_err(|error| format!("`{host}`: {error}"))?;
    if host.to_str().is_none() {
        return Err(format!("the path `{}` is not UTF-8", host.display()));
    }
    Ok(DirGrant { host, guest: guest.to_owned(), writable })
}

/// Variables that stand in a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvFile {
    pub(crate) path: PathBuf,
    pub(crate) variables: Vec<(String, String)>,
}

/// What one may hold at most: no more than fits an environment.
const LONGEST_ENV_FILE: u64 = 1 << 20;

/// A file of lines such as `NAME=value`, as other programs take it.
pub(crate) fn env_file(value: &str) -> Result<EnvFile, String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{value}`"),
        _ => format!("failed to read `{value}`: {error}"),
    };
    let mut bytes = Vec::new();
    // It may be a pipe, of which nobody knows how long it is.
    File::open(value)
        .and_then(|file| file.take(LONGEST_ENV_FILE + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > LONGEST_ENV_FILE {
        return Err(format!("`{value}` has more than {}", ByteSize(LONGEST_ENV_FILE)));
    }
    let variables: Result<_, _> = dotenvy::from_read_iter(&*bytes).collect();
    variables.map(|variables| EnvFile { path: value.into(), variables }).map_err(|error| match error {
        dotenvy::Error::LineParse(line, _) => {
            format!("`{value}` has a line that is not `NAME=value`: `{line}`")
        }
        error => format!("`{value}`: {error}"),
    })
}

/// A directory that is made when it is needed.
pub(crate) fn new_directory(value: &str) -> Result<PathBuf, String> {
    match std::fs::metadata(value) {
        Ok(found) if !found.is_dir() => Err(format!("`{value}` is not a directory")),
        _ => std::path::absolute(value).map_err(|error| format!("`{value}`: {error}")),
    }
}

/// `K=V`.
pub(crate) fn pair(value: &str) -> Result<(String, String), String> {
    let (key, value) = value.split_once('=').ok_or("expected `KEY=VALUE`")?;
    if key.is_empty() {
        return Err("the part before `=` is empty".into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `K=V`, or `K` for the value that K has for us.
pub(crate) fn variable(value: &str) -> Result<(String, String), String> {
    if value.contains('=') {
        return pair(value);
    }
    match std::env::var(value) {
        Ok(inherited) => Ok((value.to_owned(), inherited)),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the value of `{value}` in our environment is not UTF-8"))
        }
        Err(std::env::VarError::NotPresent) => Err(format!(
            "there is no `{value}` in our environment to pass on; `{value}=` passes an empty one"
        )),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod laws;
#[cfg(test)]
mod tests;
