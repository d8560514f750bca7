//! Taking connections: from the slot's queue, from workers that drain, and from queues that others leave to themselves.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::{FromWorker, ReportKind};

use crate::app::App;
use crate::connection::{self, Client, Protocols};
use crate::connections::{Connections, Guard};
use crate::handover::{Arrival, Passage};
use crate::orders::{Orders, Theft};
use crate::reached::reached;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Where connections go, whichever way they come.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) app: &'static App,
    pub(crate) connections: Arc<Connections>,
    pub(crate) protocols: Arc<Protocols>,
    pub(crate) max_connections: usize,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    Open,
    /// No. What is in the slot's queue is somebody else's.
    Left,
    /// Only what is in the slot's queue already.
    Last,
}

impl Acceptor {
    /// Serves a client that has just connected, in a task of its own, unless there are too many of its address.
    fn admit(&self, socket: TcpStream, address: SocketAddr) {
        let most = self.app.serving.max_connections_per_address;
        match self.connections.enter(false, address.ip(), most) {
            Some(guard) => self.serve(guard, Client::new(socket)),
            None => {
                reached(Limit::MaxConnectionsPerAddress);
                self.app.reports.say(
                    ReportKind::Limit,
                    format!("`{}` has more than {most} connections, and one was closed", address.ip()),
                    Some("raise `--max-connections-per-address` if it stands for many".into()),
                );
            }
        }
    }

    /// Serves a client that was served before, whatever there is already.
    fn adopt(&self, client: Client) {
        // One that is gone has no address, and will be found out.
        let Ok(address) = client.socket.peer_addr() else { return };
        if let Some(guard) = self.connections.enter(client.idle, address.ip(), u32::MAX) {
            self.serve(guard, client);
        }
    }

    fn serve(&self, guard: Guard, client: Client) {
        tokio::spawn(connection::serve(self.app, Arc::clone(&self.protocols), guard, client));
    }

    /// The next connection, once there is a place for its request. What waits in the kernel's queue until then can be taken
    /// by a neighbour; what was accepted cannot.
    async fn next(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let places = self.app.places;
        let mut turn = pin!(None);
        poll_fn(|cx| {
            loop {
                if let Some(turn) = turn.as_mut().as_pin_mut() {
                    // Behind the requests of connections that were accepted before. They never close it.
                    let _place = ready!(Future::poll(turn, cx));
                } else if places.available_permits() == 0 {
                    turn.set(Some(places.acquire()));
                    continue;
                }
                turn.set(None);
                return listener.poll_accept(cx);
            }
        })
        .await
    }

    /// Accepts without an end.
    async fn accept(&self, listener: &TcpListener) -> Infallible {
        // Connections whose requests have not had the time to take a place.
        let mut fresh = 0;
        loop {
            // The rest waits in the kernel's queue, where a client sees a slow server and not a broken one.
            if self.connections.fewer_than(self.max_connections).now_or_never().is_none() {
                reached(Limit::MaxConnections);
                self.connections.fewer_than(self.max_connections).await;
            }
            match self.next(listener).await {
                Ok((socket, address)) => {
                    self.admit(socket, address);
                    fresh += 1;
                    if fresh >= self.app.places.available_permits() {
                        tokio::task::yield_now().await;
                        fresh = 0;
                    }
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    let hint = "raise `ulimit -n`, or lower `--max-connections`".to_owned();
                    self.app.reports.say(
                        ReportKind::Worker,
                        format!("cannot accept a connection: {error}"),
                        Some(hint),
                    );
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Takes what was ordered, as far as there are places for it. What is left will be asked for again.
    fn take(&self, Theft { listener, most }: Theft) {
        let listener = std::net::TcpListener::from(listener);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.app.places.available_permits());
        for _ in 0..most {
            if self.connections.fewer_than(self.max_connections).now_or_never().is_none() {
                return;
            }
            match listener.accept() {
                Ok((socket, address)) => {
                    let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                    if let Ok(socket) = socket {
                        self.admit(socket, address);
                    }
                }
                Err(error) if is_the_clients(&error) => {}
                // Somebody else was faster.
                Err(_) => return,
            }
        }
    }
}

/// Accepts from the slot's queue for as long as the intake is open.
pub(crate) async fn accept(acceptor: Acceptor, listener: TcpListener, mut intake: watch::Receiver<Intake>) {
    let intake = tokio::select! {
        never = acceptor.accept(&listener) => match never {},
        intake = ended(&mut intake) => intake,
    };
    while intake == Intake::Last
        && let Some(Ok((socket, address))) = listener.accept().now_or_never()
    {
        acceptor.admit(socket, address);
    }
}

/// Takes from the queues of other slots as ordered, without an end. Cancel safe: what was begun is done.
pub(crate) async fn steal(acceptor: &Acceptor, orders: &Orders) -> Infallible {
    loop {
        acceptor.take(orders.theft().await);
        acceptor.app.reports.send(FromWorker::Stole).await;
    }
}

/// Returns once the intake is not open.
async fn ended(intake: &mut watch::Receiver<Intake>) -> Intake {
    // Without anybody to say so, nothing is left to take connections for.
    intake.wait_for(|intake| *intake != Intake::Open).await.map_or(Intake::Left, |intake| *intake)
}

/// Takes over the connections of workers that drain, above any cap: who was served must not be left. Once the intake is not
/// open, they go to the heir, and without one those that were handed over by then are the last.
pub(crate) async fn adopt(acceptor: Acceptor, orders: Arc<Orders>, mut intake: watch::Receiver<Intake>) {
    let mut passages = JoinSet::new();
    let mut open = true;
    loop {
        let next = match orders.passage().now_or_never() {
            None if !open && passages.is_empty() => return,
            None => tokio::select! {
                passage = orders.passage() => Some(passage),
                Some(_) = passages.join_next() => None,
                _ = ended(&mut intake), if open => {
                    open = false;
                    None
                }
            },
            given => given,
        };
        if let Some(passage) = next {
            passages.spawn(take_over(acceptor.clone(), Arc::clone(&orders), passage, intake.clone()));
        }
    }
}

/// Takes over the connections of one worker.
async fn take_over(
    acceptor: Acceptor,
    orders: Arc<Orders>,
    mut passage: Passage,
    mut intake: watch::Receiver<Intake>,
) {
    let mut open = true;
    loop {
        tokio::select! {
            arrival = passage.next() => match arrival {
                Ok(Some(Arrival::Client(client))) => acceptor.adopt(client),
                Ok(Some(Arrival::Passage(passage))) => orders.adopt(*passage),
                Ok(None) => return,
                Err(error) => {
                    let message = format!("cannot take over connections: {error}");
                    return acceptor.app.reports.say(ReportKind::Worker, message, None);
                }
            },
            _ = ended(&mut intake), if open => {
                open = false;
                match acceptor.connections.heir() {
                    Some(heir) if heir.take_passage(&passage).await.is_ok() => return,
                    _ => passage.close(),
                }
            }
        }
    }
}

/// The client gave up between its connect and our accept.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
