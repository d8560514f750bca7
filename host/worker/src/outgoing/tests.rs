use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use futures::FutureExt;
use futures::task::noop_waker_ref;
use http::HeaderValue;

use super::*;

/// How often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Both ends of one whose length is not known.
fn ends() -> (Outgoing, Writing, Incoming) {
    let queue = Shared(Arc::default());
    let outgoing = Outgoing { queue: queue.clone(), written_to: true };
    (outgoing, Writing(queue.clone()), Incoming(queue))
}

fn write(writing: &mut Writing, bytes: &'static str) {
    writing.write(Bytes::from_static(bytes.as_bytes())).expect("there is room");
}

/// What the connection would be sent next: bytes or trailers, and nothing at the end.
fn next(incoming: &mut Incoming) -> Poll<Option<Result<String, Error>>> {
    Pin::new(incoming).poll_frame(&mut Context::from_waker(noop_waker_ref())).map_ok(|frame| {
        match frame.into_data() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(frame) => format!("{:?}", frame.into_trailers().expect("one or the other")),
        }
    })
}

#[track_caller]
fn expect(incoming: &mut Incoming, bytes: &str) {
    assert!(matches!(next(incoming), Poll::Ready(Some(Ok(next))) if next == bytes), "{bytes}");
}

#[test]
fn what_was_written_comes_in_order_and_then_the_end() {
    let (outgoing, mut writing, mut incoming) = ends();
    assert!(next(&mut incoming).is_pending());
    write(&mut writing, "one");
    write(&mut writing, "two");
    outgoing.queue.end(End::Complete);
    expect(&mut incoming, "one");
    expect(&mut incoming, "two");
    assert!(matches!(next(&mut incoming), Poll::Ready(None)));
    assert!(matches!(next(&mut incoming), Poll::Ready(None)), "an end stays one");
}

#[test]
fn trailers_come_after_everything_and_once() {
    let (outgoing, mut writing, mut incoming) = ends();
    write(&mut writing, "body");
    let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
    outgoing.queue.end(End::Trailers(trailers.clone()));
    expect(&mut incoming, "body");
    expect(&mut incoming, &format!("{trailers:?}"));
    assert!(matches!(next(&mut incoming), Poll::Ready(None)));
}

#[test]
fn the_first_word_about_the_end_counts() {
    let (outgoing, writing, mut incoming) = ends();
    outgoing.queue.end(End::Broken);
    drop((outgoing, writing));
    assert!(matches!(next(&mut incoming), Poll::Ready(Some(Err(Error::HttpProtocolError)))));
}

#[test]
fn a_guest_that_leaves_without_a_word_has_ended_it() {
    let (outgoing, writing, mut incoming) = ends();
    let mut waiting = Box::pin(poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop((outgoing, writing));
    assert!(matches!(waiting.now_or_never(), Some(None)));
}

#[test]
fn who_writes_waits_for_who_reads() {
    let (_outgoing, mut writing, mut incoming) = ends();
    assert_eq!(writing.check_write().expect("open"), MOST_BYTES);
    for _ in 0..MOST_WRITES {
        write(&mut writing, "more");
    }
    assert_eq!(writing.check_write().expect("open"), 0);
    assert!(writing.ready().now_or_never().is_none());
    assert!(writing.write(Bytes::from_static(b"too much")).is_err(), "nobody was allowed to");
    expect(&mut incoming, "more");
    assert!(writing.ready().now_or_never().is_some());
    assert_eq!(writing.check_write().expect("open"), MOST_BYTES);
}

#[test]
fn each_end_wakes_the_other() {
    let (_outgoing, mut writing, mut incoming) = ends();
    let woken = Arc::new(Woken::default());
    let count = || woken.0.load(Ordering::Relaxed);
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut incoming).poll_frame(&mut cx).is_pending());
    write(&mut writing, "read me");
    assert_eq!(count(), 1);
    write(&mut writing, "and me");
    assert!(writing.poll_ready(&cx).is_pending());
    expect(&mut incoming, "read me");
    assert_eq!(count(), 2);
    write(&mut writing, "full again");
    assert!(writing.poll_ready(&cx).is_pending());
    drop(incoming);
    assert_eq!(count(), 3);
}

#[test]
fn nothing_is_kept_for_a_client_that_is_gone() {
    let (_outgoing, mut writing, incoming) = ends();
    write(&mut writing, "unread");
    drop(incoming);
    assert!(writing.0.lock().writes.is_empty());
    assert!(matches!(writing.check_write(), Err(StreamError::Closed)));
    assert!(matches!(writing.write(Bytes::from_static(b"more")), Err(StreamError::Closed)));
    assert!(matches!(writing.flush(), Err(StreamError::Closed)));
}

#[test]
fn more_than_was_declared_is_an_error_at_once_and_less_at_the_end() {
    let (_outgoing, mut writing, _incoming) = ends();
    writing.0.lock().length = Some(4);
    assert_eq!(writing.0.lock().wrong_length(), Some(0));
    write(&mut writing, "four");
    assert_eq!(writing.0.lock().wrong_length(), None);
    assert!(matches!(writing.write(Bytes::from_static(b"!")), Err(StreamError::LastOperationFailed(_))));
    assert_eq!(writing.0.lock().wrong_length(), Some(5));
}

#[test]
fn one_length_in_digits_is_a_length() {
    let headers = |values: &[&'static str]| -> HeaderMap {
        values.iter().map(|value| (CONTENT_LENGTH, HeaderValue::from_static(value))).collect()
    };
    assert_eq!(declared(&headers(&[])), Ok(None));
    assert_eq!(declared(&headers(&["12"])), Ok(Some(12)));
    for wrong in [["+1"].as_slice(), &["-1"], &[""], &["1, 1"], &["1", "1"], &["99999999999999999999"]] {
        assert_eq!(declared(&headers(wrong)), Err(()), "{wrong:?}");
    }
}
