//! A client's socket, with the bytes that were read from it to see what it speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::connections::Activity;
use crate::together::{Held, SMALL};

/// How long what nobody will read is read on, so that the client gets its response.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client that has said all it will is worked for without a byte that it could take. It may wait for its answer, or
/// have left: then its guest is in somebody's way.
const LAST_WORD: Duration = Duration::from_millis(500);

/// A socket that says what happens on it, and that gives what was read ahead before what is to come.
pub(crate) struct Stream {
    ahead: Bytes,
    /// Stands before the socket, to go first.
    held: Held,
    /// What was held back and could not be sent.
    refused: Bytes,
    socket: TcpStream,
    /// Whether small responses may wait for each other.
    together: bool,
    activity: Activity,
    blocked: bool,
    /// When the client has said all it will, or was sent something after that.
    ended: Option<Instant>,
    /// Armed while it is worked for all the same.
    last_word: Option<Pin<Box<Sleep>>>,
    /// Armed when the socket was shut down with something still to come from the client.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// `together` is for a protocol that writes a response at a time: small ones may wait for those of others.
    pub(crate) fn new(ahead: Bytes, socket: TcpStream, activity: Activity, together: bool) -> Self {
        Self {
            ahead,
            held: Held::nothing_of(&socket),
            refused: Bytes::new(),
            socket,
            together,
            activity,
            blocked: false,
            ended: None,
            last_word: None,
            lingering: None,
        }
    }

    /// The socket, and what was read from it and is still to be given. For a stream that was polled after
    /// [`together::end`](crate::together::end).
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.socket, self.ahead)
    }

    /// Reads and drops what still comes, until the client has seen the end, or for as long as that may take.
    ///
    /// A socket that is closed with something unread is reset, and a reset may overtake the response on its way.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sink = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut sink);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        let lingering = self.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        lingering.as_mut().poll(cx).map(Ok)
    }

    /// Ready once a client that has said all it will need not be worked for any more.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.activity.ended();
        let since = *self.ended.get_or_insert_with(Instant::now);
        if self.blocked {
            // The end of an answer waits to be taken, which has a limit of its own.
            return Poll::Pending;
        }
        if !self.activity.owes_an_answer() {
            return Poll::Ready(());
        }
        let until = since + LAST_WORD;
        let timer = self.last_word.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }

    /// Ready once everything before it was sent, but for what is held back.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(refused) = self.held.refused() {
            self.refused = refused;
        }
        while self.refused.has_remaining() {
            let written = Pin::new(&mut self.socket).poll_write(cx, &self.refused);
            let length = ready!(self.wrote(cx, written))?;
            self.refused.advance(length);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once everything before it was sent.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.send();
        self.poll_refused(cx)
    }

    /// Passes on what a write came to. The flag keeps the common case, a write that goes through, free.
    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() != self.blocked {
            self.blocked = written.is_pending();
            self.activity.blocked(self.blocked);
        }
        if self.ended.is_some() && matches!(written, Poll::Ready(Ok(_))) {
            // It would be refused if nobody was there. Whoever writes the last of it has to look for the end again.
            self.ended = Some(Instant::now());
            cx.waker().wake_by_ref();
        }
        written
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.has_remaining() {
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..length]);
            this.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before {
            // A client may say all it will in one breath, and wait. hyper takes its end for a goodbye and drops what it has
            // asked for, so it hears of that after the answer.
            ready!(this.poll_last_word(cx));
        }
        if read.is_ready() {
            this.activity.received();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_sent(cx))?;
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length <= SMALL && this.together && this.ended.is_none() && this.held.hold(slices, cx.waker()) {
            return Poll::Ready(Ok(length));
        }
        let written = if slices.len() > 1 && length <= SMALL {
            let mut joined = [0; SMALL];
            let mut end = 0;
            for slice in slices {
                joined[end..end + slice.len()].copy_from_slice(slice);
                end += slice.len();
            }
            Pin::new(&mut this.socket).poll_write(cx, &joined[..end])
        } else {
            Pin::new(&mut this.socket).poll_write_vectored(cx, slices)
        };
        this.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is held back is on its way.
        self.get_mut().poll_refused(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_sent(cx))?;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        if this.activity.left_unread() { this.poll_linger(cx) } else { Poll::Ready(Ok(())) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read, Write};

    use super::*;
    use crate::together;

    /// A stream, another handle of its socket, and its client.
    fn streams() -> (Stream, std::net::TcpStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (socket, _) = listener.accept().expect("it connected");
        socket.set_nonblocking(true).expect("open");
        let other = socket.try_clone().expect("a descriptor");
        let socket = TcpStream::from_std(socket).expect("a runtime");
        (Stream::new(Bytes::new(), socket, Activity::of_nobody(), true), other, client)
    }

    async fn write(stream: &mut Stream, bytes: &[u8]) {
        together::expect_more();
        let written = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await;
        assert_eq!(written.expect("open"), bytes.len());
    }

    /// Writes until no more goes in; says how much did.
    fn fill(socket: &mut std::net::TcpStream) -> usize {
        let mut length = 0;
        for piece in [&[b'.'; 1 << 16][..], b"."] {
            loop {
                match socket.write(piece) {
                    Ok(written) => length += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        length
    }

    fn flush(stream: &mut Stream) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_flush(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test]
    async fn what_is_held_back_comes_before_what_is_written_next() {
        let (mut stream, _, mut client) = streams();
        let mut large = vec![b'2'; 10 * SMALL];
        write(&mut stream, b"1").await;
        assert!(flush(&mut stream).is_ready());
        write(&mut stream, &large).await;
        write(&mut stream, b"3").await;
        drop(stream);
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("open");
        large.insert(0, b'1');
        large.push(b'3');
        assert!(all == large);
    }

    #[tokio::test]
    async fn what_was_held_back_and_cannot_be_sent_waits_for_the_client() {
        let (mut stream, mut other, mut client) = streams();
        write(&mut stream, b"the answer").await;
        let length = fill(&mut other);
        assert!(flush(&mut stream).is_ready(), "it is on its way");
        together::send_now();
        assert!(flush(&mut stream).is_pending());
        assert!(stream.blocked);

        let reader = std::thread::spawn(move || {
            let mut all = vec![0; length + b"the answer".len()];
            client.read_exact(&mut all).map(|()| all)
        });
        poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx)).await.expect("open");
        assert!(!stream.blocked);
        let all = reader.join().expect("no panic").expect("open");
        assert_eq!(&all[length..], b"the answer");
    }

    #[tokio::test]
    async fn what_is_held_back_is_there_before_the_end() {
        let (mut stream, _, mut client) = streams();
        write(&mut stream, b"the end").await;
        poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.expect("open");
        let mut all = String::new();
        client.read_to_string(&mut all).expect("open");
        assert_eq!(all, "the end");
    }
}
