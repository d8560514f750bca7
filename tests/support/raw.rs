//! HTTP/1.1 by hand, for what a well-behaved client would not send, and to see each byte that comes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::PATIENCE;

/// One connection.
#[derive(Debug)]
pub(crate) struct RawClient {
    stream: TcpStream,
    /// Received and not yet looked at.
    buffer: Vec<u8>,
    addr: SocketAddr,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The status line and what follows it, as they came.
    pub(crate) head: String,
    /// In the order they came, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Without the framing.
    pub(crate) body: Vec<u8>,
    /// What followed the last chunk.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The value of a trailer, by its name in lower case.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        find(&self.trailers, name)
    }

    /// The body, which must be text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Whether the server says that it is the last one on its connection.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Fails unless the status is this.
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

impl RawClient {
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("failed to connect to {addr}: {error}"))
    }

    /// From an address of this machine, by IPv4.
    #[track_caller]
    pub(crate) fn connect_from(from: Ipv4Addr, addr: SocketAddr) -> Self {
        let (SocketAddr::V4(addr), from) = (addr, SocketAddrV4::new(from, 0)) else { panic!("{addr}") };
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
        connect(socket.as_raw_fd(), &SockaddrIn::from(addr))
            .unwrap_or_else(|error| panic!("failed to connect from {from} to {addr}: {error}"));
        Self::over(socket.into(), addr.into()).unwrap()
    }

    pub(crate) fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&addr, PATIENCE)?, addr)
    }

    fn over(stream: TcpStream, addr: SocketAddr) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), addr })
    }

    /// What a read may take from here on.
    pub(crate) fn set_timeout(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }

    /// The connection itself, for its options.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends these bytes and nothing else.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("failed to send: {error}"));
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends the head of a request with a Host, and these lines after it.
    #[track_caller]
    pub(crate) fn send_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{fields}\r\n", self.addr));
    }

    /// One GET and its answer. The connection can be used again.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub(crate) fn try_get(&mut self, path: &str) -> io::Result<Response> {
        self.try_send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.addr))?;
        self.try_response("GET")
    }

    /// One POST and its answer.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Response {
        let body = body.as_ref();
        self.send_head("POST", path, &[("content-length", &body.len().to_string())]);
        self.send(body);
        self.response()
    }

    /// The next response, be it an interim one.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response("GET").unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// The next response to a HEAD.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.try_response("HEAD").unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads one response. Fails with `UnexpectedEof` when the server closes before its end, and with `InvalidData`
    /// when it is not HTTP.
    pub(crate) fn try_response(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.try_head()?;
        let bodiless = method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        if bodiless {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = self.try_chunk()? {
                response.body.extend(chunk);
            }
            response.trailers = fields(&self.until(b"\r\n", true)?)?;
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(invalid)?;
            response.body = self.try_take(length)?;
        } else {
            response.body = self.try_rest()?;
        }
        Ok(response)
    }

    /// Reads a head, and leaves the body.
    pub(crate) fn try_head(&mut self) -> io::Result<Response> {
        let head = String::from_utf8(self.until(b"\r\n\r\n", false)?).map_err(invalid)?;
        let (line, rest) = head.split_once("\r\n").ok_or_else(|| invalid("no line"))?;
        let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)).ok_or_else(|| invalid(line))?;
        let status = status.parse().map_err(invalid)?;
        let headers = fields(rest.as_bytes())?;
        Ok(Response { status, headers, head, ..Response::default() })
    }

    /// The next chunk of a chunked body; none for the last, whose trailers are left.
    pub(crate) fn try_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = String::from_utf8(self.until(b"\r\n", false)?).map_err(invalid)?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid(format!("chunk of size {size:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = self.try_take(size + 2)?;
        if chunk.split_off(size) != b"\r\n" {
            return Err(invalid("a chunk longer than it says"));
        }
        Ok(Some(chunk))
    }

    /// Everything until the server closes.
    pub(crate) fn try_rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.buffer);
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Waits until the server closes, and fails if it sends anything before. A reset is a way to close.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) {
        match self.try_rest() {
            Ok(rest) => assert_eq!(String::from_utf8_lossy(&rest), "", "sent before it closed"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }

    /// Bytes that are there: some, or none when the server has closed.
    pub(crate) fn try_some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 << 10];
        let read = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(read)
    }

    /// Exactly so many bytes.
    pub(crate) fn try_take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Takes up to and with `end`. As lines of a section it is what precedes an empty line, which may come at once.
    fn until(&mut self, end: &[u8], section: bool) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        loop {
            let position = self.buffer.windows(end.len()).position(|window| window == end);
            let Some(position) = position else {
                if self.fill()? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            let line = self.try_take(position + end.len())?;
            let last = !section || line == end;
            taken.extend(line);
            if last {
                return Ok(taken);
            }
        }
    }
}

fn fields(section: &[u8]) -> io::Result<Vec<(String, String)>> {
    let text = str::from_utf8(section).map_err(invalid)?;
    let lines = text.split("\r\n").filter(|line| !line.is_empty());
    let field = |line: &str| {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("a field: {line:?}")))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    lines.map(field).collect()
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
