//! Taking connections: from the slot's queue, and from workers that drain.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wasmcluster_core::message::ReportKind;

use crate::app::App;
use crate::connection::{self, Client, Protocols};
use crate::connections::Connections;
use crate::handover::Passage;
use crate::orders::Orders;

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
    /// Serves a client, in a task of its own.
    pub(crate) fn enter(&self, client: Client) {
        let guard = self.connections.enter(client.idle);
        tokio::spawn(connection::serve(self.app, Arc::clone(&self.protocols), guard, client));
    }
}

/// Accepts from the slot's queue for as long as the intake is open.
pub(crate) async fn accept(acceptor: Acceptor, listener: TcpListener, mut intake: watch::Receiver<Intake>) {
    let serve = async {
        loop {
            // The rest waits in the kernel's queue, where a client sees a slow server and not a broken one.
            acceptor.connections.fewer_than(acceptor.max_connections).await;
            match listener.accept().await {
                Ok((socket, _)) => acceptor.enter(Client::new(socket)),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    let hint = "raise `ulimit -n`, or lower `--max-connections`".to_owned();
                    acceptor.app.reports.say(
                        ReportKind::Worker,
                        format!("cannot accept a connection: {error}"),
                        Some(hint),
                    );
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    let intake = tokio::select! {
        () = serve => return,
        intake = ended(&mut intake) => intake,
    };
    while intake == Intake::Last
        && let Some(Ok((socket, _))) = listener.accept().now_or_never()
    {
        acceptor.enter(Client::new(socket));
    }
}

/// Returns once the intake is not open.
async fn ended(intake: &mut watch::Receiver<Intake>) -> Intake {
    // Without anybody to say so, nothing is left to take connections for.
    intake.wait_for(|intake| *intake != Intake::Open).await.map_or(Intake::Left, |intake| *intake)
}

/// Takes over the connections of workers that drain, above any cap: who was served must not be left. Once the intake is not
/// open, takes only what was handed over by then.
pub(crate) async fn adopt(acceptor: Acceptor, orders: Arc<Orders>, mut intake: watch::Receiver<Intake>) {
    let mut passages = JoinSet::new();
    loop {
        tokio::select! {
            passage = orders.passage() => {
                let (acceptor, intake) = (acceptor.clone(), intake.clone());
                passages.spawn(async move {
                    if let Err(error) = pass(&acceptor, passage, intake).await {
                        acceptor.app.reports.say(
                            ReportKind::Worker,
                            format!("cannot take over connections: {error}"),
                            None,
                        );
                    }
                });
            }
            Some(_) = passages.join_next() => {}
            _ = ended(&mut intake) => break,
        }
    }
    while passages.join_next().await.is_some() {}
}

/// Takes over the connections of one worker.
async fn pass(acceptor: &Acceptor, passage: OwnedFd, mut intake: watch::Receiver<Intake>) -> io::Result<()> {
    let mut passage = Passage::new(passage)?;
    let mut open = true;
    loop {
        tokio::select! {
            client = passage.next() => match client? {
                Some(client) => acceptor.enter(client),
                None => return Ok(()),
            },
            _ = ended(&mut intake), if open => {
                open = false;
                passage.close();
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
