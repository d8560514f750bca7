//! HTTP load that knows how each of its requests ended.
//!
//! A load is a number of lanes. A lane has one request under way at a time: over a new connection each, over one that it
//! keeps, or as a stream of one that it shares. Nothing is sent a second time behind the test's back, with the one
//! exception that HTTP/2 makes and that is counted by itself: a server may say that it has not begun a request.
//!
//! A lane takes the next request when it has an answer to the last (closed loop), or when the next one is due (open
//! loop, [`Load::rate`]). Latency counts from when a request was due, so that a server which stalls is charged for all
//! the requests that it kept from being sent.

mod http1;
mod http2;
mod outcome;
mod response;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::outcome::Stage;
use self::response::Response;

pub(crate) use self::outcome::{Kind, Loss, Outcome};

/// Says by its body which response it is, with a tag to count it by; None when it is wrong.
type Judge = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

/// A load to be.
pub(crate) struct Load {
    addr: SocketAddr,
    lanes: Lanes,
    path: String,
    /// What is posted; nothing where the path is only asked for.
    upload: Option<Bytes>,
    requests: u64,
    rate: Option<u32>,
    patience: Duration,
    judge: Box<Judge>,
}

/// How requests share connections.
#[derive(Clone, Copy)]
enum Lanes {
    Fresh { lanes: usize },
    KeepAlive { connections: usize },
    H2c { connections: usize, streams: usize },
}

impl Load {
    /// A connection for each request, `lanes` at a time.
    pub(crate) fn fresh(addr: SocketAddr, lanes: usize) -> Self {
        Self::new(addr, Lanes::Fresh { lanes })
    }

    /// Connections with one request after another on each.
    pub(crate) fn keep_alive(addr: SocketAddr, connections: usize) -> Self {
        Self::new(addr, Lanes::KeepAlive { connections })
    }

    /// Connections of HTTP/2, without asking first, with `streams` requests at a time on each.
    pub(crate) fn h2c(addr: SocketAddr, connections: usize, streams: usize) -> Self {
        Self::new(addr, Lanes::H2c { connections, streams })
    }

    fn new(addr: SocketAddr, lanes: Lanes) -> Self {
        /// Enough for any test, and an end for those that forget to stop theirs.
        const MOST: u64 = 1_000_000;
        Self {
            addr,
            lanes,
            path: "/".into(),
            upload: None,
            requests: MOST,
            rate: None,
            patience: super::PATIENCE,
            judge: Box::new(|_| Some(String::new())),
        }
    }

    /// What is asked for.
    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Posts this with each request.
    pub(crate) fn upload(mut self, body: impl Into<Bytes>) -> Self {
        self.upload = Some(body.into());
        self
    }

    /// Ends by itself after so many.
    pub(crate) fn requests(mut self, requests: u64) -> Self {
        self.requests = requests;
        self
    }

    /// So many each second, whether or not those before have been answered; as long as there are lanes for them.
    pub(crate) fn rate(mut self, per_second: u32) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// How long a request may take from when it is sent, its connection included.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Looks at each body. What is returned is counted by [`Outcome::tags`]; None says that the body is wrong.
    pub(crate) fn judge(mut self, judge: impl Fn(&[u8]) -> Option<String> + Send + Sync + 'static) -> Self {
        self.judge = Box::new(judge);
        self
    }

    /// The lanes, before any has a connection.
    fn ways(&self) -> Vec<Way> {
        let addr = self.addr;
        match self.lanes {
            Lanes::Fresh { lanes } => (0..lanes).map(|_| Way::Http1(http1::Lane::fresh(addr))).collect(),
            Lanes::KeepAlive { connections } => {
                (0..connections).map(|_| Way::Http1(http1::Lane::keep_alive(addr))).collect()
            }
            Lanes::H2c { connections, streams } => {
                let shared = (0..connections).map(|_| http2::Lane::new(addr));
                shared.flat_map(|lane| std::iter::repeat_n(lane, streams)).map(Way::Http2).collect()
            }
        }
    }

    /// Makes all requests.
    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        self.start().finish()
    }

    /// Starts on a thread of its own, in the network of this one.
    pub(crate) fn start(self) -> Running {
        let answered = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            start: Instant::now(),
            next: AtomicU64::new(0),
            stopped,
            answered: Arc::clone(&answered),
            load: self,
        });
        let run = move || super::block_on(shared.run());
        let thread = thread::Builder::new().name("load".into()).spawn(run).unwrap();
        Running { stop, answered, thread }
    }
}

/// A load under way. It stops when this is dropped.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Outcome>,
}

impl Running {
    /// How many requests were ok so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether all requests were made.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Begins no further request, and waits for those under way.
    #[track_caller]
    pub(crate) fn stop(self) -> Outcome {
        self.stop.send_replace(true);
        self.finish()
    }

    /// Waits until all requests were made.
    #[track_caller]
    pub(crate) fn finish(self) -> Outcome {
        self.thread.join().unwrap()
    }
}

/// What all lanes of a load have in common.
struct Shared {
    load: Load,
    start: Instant,
    /// The number of the next request.
    next: AtomicU64,
    stopped: watch::Receiver<bool>,
    answered: Arc<AtomicU64>,
}

impl Shared {
    async fn run(self: Arc<Self>) -> Outcome {
        let mut lanes = JoinSet::new();
        for way in self.load.ways() {
            lanes.spawn(Arc::clone(&self).drive(way));
        }
        let mut outcome = Outcome::default();
        while let Some(part) = lanes.join_next().await {
            outcome.merge(part.unwrap());
        }
        outcome
    }

    /// One lane, until there are no more requests.
    async fn drive(self: Arc<Self>, mut way: Way) -> Outcome {
        let Load { path, upload, patience, judge, .. } = &self.load;
        let mut outcome = Outcome::default();
        while let Some(due) = self.due().await {
            let mut trace = Trace::default();
            let end = match timeout(*patience, way.ask(path, upload.as_ref(), &mut trace)).await {
                Ok(end) => end,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {patience:?}"))),
            };
            outcome.retried += trace.retried;
            outcome.reconnected += trace.reconnected;
            outcome.connections += trace.connections;
            let (kind, seen) = match end.map(|response| (response.status, judge(&response.body), response)) {
                Ok((200..=299, Some(tag), _)) => {
                    outcome.succeeded(tag, due.elapsed());
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Ok((200..=299, None, response)) => (Kind::WrongBody, response.shown()),
                Ok((status, _, response)) => (Kind::Status(status), response.shown()),
                Err(error) => (Kind::of(&error, trace.stage), format!("{:?}: {error}", trace.stage)),
            };
            let (at, after) = (self.start.elapsed(), due.elapsed());
            outcome.failed(Loss { kind, at, after, local: trace.local, nth: trace.nth, seen });
        }
        outcome
    }

    /// When the next request is due, by then. None when there is none, or the load was told to stop.
    async fn due(&self) -> Option<Instant> {
        let mut stopped = self.stopped.clone();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.load.requests {
            return None;
        }
        let due = self.load.rate.map(|rate| self.start + Duration::from_secs(number) / rate);
        tokio::select! {
            biased;
            // Also when nobody is left to say so.
            _ = stopped.wait_for(|stopped| *stopped) => None,
            () = sleep_until(due.unwrap_or(self.start)) => Some(due.unwrap_or_else(Instant::now)),
        }
    }
}

/// How a lane gets its answers.
enum Way {
    Http1(http1::Lane),
    Http2(http2::Lane),
}

impl Way {
    /// One request. Whoever stops waiting for it finds in `trace` how far it came.
    async fn ask(&mut self, path: &str, upload: Option<&Bytes>, trace: &mut Trace) -> io::Result<Response> {
        match self {
            Self::Http1(lane) => lane.ask(path, upload, trace).await,
            Self::Http2(lane) => lane.ask(path, upload, trace).await,
        }
    }
}

/// What happens to one request.
#[derive(Default)]
struct Trace {
    stage: Stage,
    /// The client's end of its connection.
    local: Option<SocketAddr>,
    /// Which request of the connection it is.
    nth: u64,
    retried: u64,
    reconnected: u64,
    connections: u64,
}
