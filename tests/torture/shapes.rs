//! Bytes that are refused, or are one request at the most.

/// For bodies without a proper end. A handler of 0.3 that does not ask how its body ended may answer all the same; this one
/// passes on how it did.
const ECHO: &str = "POST /echo HTTP/1.1\r\nhost: a\r\n";

/// Each head, with a request behind it that must never be answered.
fn followed(requests: &[&str]) -> Vec<Vec<u8>> {
    let next = "GET /inspect HTTP/1.1\r\nhost: smuggled\r\nconnection: close\r\n\r\n";
    requests.iter().map(|request| [request, next].concat().into_bytes()).collect()
}

fn posts(framings: &[&str], body: &str) -> Vec<Vec<u8>> {
    let post =
        |framing: &&str| format!("POST /discard HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}").into_bytes();
    framings.iter().map(post).collect()
}

pub(super) fn foreign() -> Vec<Vec<u8>> {
    vec![
        [&[0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1, 3, 3][..], &[0; 160]].concat(),
        b"GET /\r\n\r\n".to_vec(),
        vec![0; 4096],
        (0..=255).collect(),
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(),
        b"GET / HTTP/2.0\r\nhost: a\r\n\r\n".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
        b"G@T@ / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
    ]
}

pub(super) fn heads() -> Vec<Vec<u8>> {
    let lines: [&[u8]; 10] = [
        b"x-a : b",
        b"x-a: b\r\n folded",
        b"x-a: b\r\n\tfolded",
        b"x\0a: b",
        b"x-a: b\0c",
        b"x-a: \x7f",
        b": b",
        b"no colon",
        b"x\xffa: b",
        b"Host: b",
    ];
    lines.iter().map(|line| [b"GET / HTTP/1.1\r\nhost: a\r\n", *line, b"\r\n\r\n"].concat()).collect()
}

pub(super) fn lengths() -> Vec<Vec<u8>> {
    let lengths = [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length:",
        "content-length: 99999999999999999999999",
    ];
    posts(&lengths, "hello")
}

pub(super) fn codings() -> Vec<Vec<u8>> {
    let codings = [
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: \x0bchunked",
    ];
    posts(&codings, "0\r\n\r\n")
}

pub(super) fn smuggled() -> Vec<Vec<u8>> {
    const POST: &str = "POST /discard HTTP/1.1\r\nhost: a\r\n";
    let framings = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "transfer-encoding:\r\n chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "transfer-encoding: gzip, chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5;a=\"\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0\n\n",
    ];
    let posts = framings.map(|framing| [POST, framing].concat());
    followed(&posts.each_ref().map(String::as_str))
}

pub(super) fn chunks() -> Vec<Vec<u8>> {
    let chunks = [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "-5\r\nhello\r\n0\r\n\r\n",
    ];
    let head = [ECHO, "transfer-encoding: chunked\r\n\r\n"].concat();
    chunks.iter().map(|chunks| [&head, *chunks].concat().into_bytes()).collect()
}

pub(super) fn large_heads() -> Vec<Vec<u8>> {
    let many: String = (0..20_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = "a".repeat(1_000_000);
    vec![
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n").into_bytes(),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").into_bytes(),
        long.into_bytes(),
    ]
}

pub(super) fn large_bodies() -> Vec<Vec<u8>> {
    let chunk = format!("{:x}\r\n{}\r\n", 128 << 10, "x".repeat(128 << 10));
    let mut bodies = posts(&["transfer-encoding: chunked"], &chunk.repeat(12));
    bodies.extend(posts(&["content-length: 2000000", "content-length: 9223372036854775807"], "hello"));
    bodies
}

pub(super) fn half_bodies() -> Vec<Vec<u8>> {
    let halves = [
        "content-length: 10\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "expect: 100-continue\r\ncontent-length: 10\r\n\r\n",
    ];
    halves.iter().map(|half| [ECHO, half].concat().into_bytes()).collect()
}

pub(super) fn half_heads() -> Vec<Vec<u8>> {
    ["", "G", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP"].map(|half| half.as_bytes().to_vec()).into()
}
