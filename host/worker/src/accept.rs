//! Taking connections from the slot's queue.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use wasmcluster_core::message::ReportKind;

use crate::app::App;
use crate::connection::{self, Protocols};
use crate::connections::Connections;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The slot's queue, and where its connections go.
pub(crate) struct Acceptor {
    pub(crate) app: &'static App,
    pub(crate) connections: Arc<Connections>,
    pub(crate) protocols: Arc<Protocols>,
    pub(crate) listener: TcpListener,
    pub(crate) max_connections: usize,
}

/// Accepts until told to stop, and then what is still in the queue.
pub(crate) async fn accept(acceptor: Acceptor, stop: Arc<Notify>) {
    let Acceptor { app, connections, protocols, listener, max_connections } = acceptor;
    let enter = |socket| {
        let guard = connections.enter();
        tokio::spawn(connection::serve(app, Arc::clone(&protocols), guard, socket));
    };
    let serve = async {
        loop {
            // The rest waits in the kernel's queue, where a client sees a slow server and not a broken one.
            connections.fewer_than(max_connections).await;
            match listener.accept().await {
                Ok((socket, _)) => enter(socket),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    let hint = "raise `ulimit -n`, or lower `--max-connections`".to_owned();
                    app.reports.say(
                        ReportKind::Worker,
                        format!("cannot accept a connection: {error}"),
                        Some(hint),
                    );
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = stop.notified() => {}
    }
    while let Some(Ok((socket, _))) = listener.accept().now_or_never() {
        enter(socket);
    }
}

/// The client gave up between its connect and our accept.
fn is_the_clients(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::Interrupted
    )
}
