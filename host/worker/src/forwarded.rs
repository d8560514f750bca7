//! What a guest is told of where a request comes from.
//!
//! Anybody can write into a header that he is somebody else. So what a request says of its client is believed only where it
//! comes from a proxy that was named (`--trust-proxy`), and what it would say else is taken from it. Every request that the
//! guest sees has a client's address, a scheme and a number by this, in the headers that frameworks look for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const ADDRESSES: HeaderName = HeaderName::from_static("x-forwarded-for");
const SCHEME: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ADDRESS: HeaderName = HeaderName::from_static("x-real-ip");
const ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_ANYTHING: &str = "x-forwarded-";

const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// Bytes of a proxy's number for a request.
const LONGEST_ID: usize = 128;

/// The other end of a connection.
pub(crate) struct Sender<'a> {
    address: HeaderValue,
    proxies: &'a [IpNet],
    /// What it says of others is believed.
    trusted: bool,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(address: IpAddr, proxies: &'a [IpNet]) -> Self {
        let address = address.to_canonical();
        let trusted = is_among(proxies, address);
        // Every address can be written into a header.
        let text = HeaderValue::try_from(address.to_string());
        Self { address: text.unwrap_or(HeaderValue::from_static("unknown")), proxies, trusted }
    }

    /// Says in a request's `headers` where it comes from, and by which number the log will know it.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) -> Signature {
        let (mut addresses, mut scheme, mut id) = (None, None, None);
        if self.trusted {
            addresses = self.clients(headers);
            scheme = headers.get(SCHEME);
            id = headers.get(ID).filter(|id| is_presentable(id.as_bytes()));
        } else {
            let claims: Vec<_> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
            for claim in claims {
                headers.remove(claim);
            }
        }
        let secure = scheme.is_some_and(|scheme| scheme == "https");
        let scheme = HeaderValue::from_static(if secure { "https" } else { "http" });
        let id = id.cloned().map_or_else(|| RequestId::Ours(fastrand::u128(..)), RequestId::Given);
        // A map of few headers would grow with each.
        headers.reserve(3);
        headers.insert(ADDRESSES, addresses.unwrap_or_else(|| self.address.clone()));
        headers.insert(SCHEME, scheme);
        id.write(headers);
        Signature { id, secure }
    }

    /// The client and the proxies that it came by, as far as that can be believed: from the right, whatever a trusted proxy
    /// says, up to the first address that is none.
    fn clients(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let lists: Vec<_> = headers.get_all(ADDRESSES).iter().filter_map(|list| list.to_str().ok()).collect();
        let said = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
        let mut chain = vec![self.address.to_str().ok()?.to_owned()];
        for said in said.collect::<Vec<_>>().into_iter().rev() {
            // Whatever is left of something else was not said by anybody who is believed.
            let Some(address) = address(said) else { break };
            chain.push(address.to_string());
            if !is_among(self.proxies, address) {
                break;
            }
        }
        chain.reverse();
        HeaderValue::try_from(chain.join(", ")).ok()
    }
}

fn is_among(proxies: &[IpNet], address: IpAddr) -> bool {
    proxies.iter().any(|proxies| proxies.contains(&address))
}

/// Whether a header of this name says where a request comes from.
fn is_claim(name: &HeaderName) -> bool {
    *name == FORWARDED || *name == ADDRESS || *name == ID || name.as_str().starts_with(FORWARDED_ANYTHING)
}

/// An address as proxies write them: some add the port.
fn address(said: &str) -> Option<IpAddr> {
    let address = said.parse().or_else(|_| said.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// Whether a proxy's number for a request can stand in a line of the log.
fn is_presentable(id: &[u8]) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// What was said of a request.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) id: RequestId,
    /// Its client speaks TLS with somebody whom we trust.
    pub(crate) secure: bool,
}

/// What a request is called, in its headers and in the log.
#[derive(Clone, Debug)]
pub(crate) enum RequestId {
    /// By us. Written down only where somebody reads it.
    Ours(u128),
    /// By a proxy.
    Given(HeaderValue),
}

impl RequestId {
    /// Into the headers of its request, or of the response to it.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(ID, self.value());
    }

    fn value(&self) -> HeaderValue {
        match self {
            // Digits can stand in a header.
            Self::Ours(number) => {
                HeaderValue::from_bytes(&digits(*number)).unwrap_or(HeaderValue::from_static(""))
            }
            Self::Given(value) => value.clone(),
        }
    }
}

/// As `{:032x}` writes it, in half of the time: each request has one.
fn digits(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    digits
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(number) => write!(f, "{number:032x}"),
            Self::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
