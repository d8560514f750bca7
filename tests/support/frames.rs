//! HTTP/2 frame by frame, for what a well-behaved client would not do, and to see what is said when.

use std::net::SocketAddr;

use super::RawClient;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame, as it is sent.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The last stream that a GOAWAY promises to answer.
    pub(crate) fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// A request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    // GET, http, and two literals: the path and the authority.
    let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(b"\x41\x09localhost");
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)
}

/// A connection that answers nothing by itself, pings least of all.
#[derive(Debug)]
pub(crate) struct FrameClient {
    client: RawClient,
    /// Received and not yet looked at.
    buffer: Vec<u8>,
}

impl FrameClient {
    /// Connects, and says that it speaks HTTP/2.
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let mut client = RawClient::connect(addr);
        client.send(PREFACE);
        let mut client = Self { client, buffer: Vec::new() };
        client.send(SETTINGS, 0, 0, &[]);
        client
    }

    #[track_caller]
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&frame(kind, flags, stream, payload));
    }

    /// Sends a request without a body.
    #[track_caller]
    pub(crate) fn send_get(&mut self, stream: u32, path: &str) {
        self.send_bytes(&get(stream, path));
    }

    /// Sends frames that were made before, all at once.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, frames: &[u8]) {
        self.client.send(frames);
    }

    /// The next frame; none when the server has closed.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let (kind, flags) = (head[3], head[4]);
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                if self.buffer.len() >= 9 + length {
                    let payload = self.buffer.drain(..9 + length).skip(9).collect();
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            let some = self.client.try_some().unwrap_or_else(|error| panic!("no frame: {error}"));
            if some.is_empty() {
                return None;
            }
            self.buffer.extend(some);
        }
    }

    /// The next frame of a kind; others are passed over.
    #[track_caller]
    pub(crate) fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let Some(frame) = self.next() else { panic!("closed before a frame of kind {kind}") };
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Everything that still comes, as a client that answers pings.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next() {
            if frame.kind == PING && frame.flags & ACK == 0 {
                self.send(PING, ACK, 0, &frame.payload);
            }
            frames.push(frame);
        }
        frames
    }
}
