//! The end of a worker's service: to the heir, if somebody serves in its place, or to its clients' next connections.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};

use crate::accept::{Acceptor, Intake, accept, adopt};
use crate::handover::Heir;
use crate::orders::Orders;
use crate::together;

/// How long a draining worker waits for what is under way before it says to clients that their connections end, and how
/// long it says so before it closes what is idle. Clients that ask within learn of it from the response; only those that
/// ask at the very moment of the close are lost.
const LAME_DUCK: Duration = Duration::from_millis(300);

/// The tasks that take connections.
pub(crate) struct Taking {
    acceptor: Acceptor,
    intake: watch::Sender<Intake>,
    tasks: JoinSet<()>,
}

impl Taking {
    /// Takes connections from now on.
    pub(crate) fn start(acceptor: Acceptor, listener: TcpListener, orders: Arc<Orders>) -> Self {
        let (intake, open) = watch::channel(Intake::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(acceptor.clone(), listener, open.clone()));
        tasks.spawn(adopt(acceptor.clone(), orders, open));
        Self { acceptor, intake, tasks }
    }

    /// Lets everybody go, and returns when everybody is gone, or `within` is over. Where the heir dies, that begins anew: what
    /// comes back from it has waited for it, and was not served meanwhile. The supervisor reckons in the same way.
    pub(crate) async fn end(mut self, heir: Option<Heir>, within: Duration) -> Result<(), Elapsed> {
        // A short deadline leaves most of itself to what is under way.
        let lame_duck = LAME_DUCK.min(within / 4);
        let mut deadline = Instant::now() + within;
        if let Some(heir) = heir {
            if timeout_at(deadline, self.bequeath(heir, lame_duck)).await? {
                return Ok(());
            }
            if self.acceptor.connections.is_bereft() {
                deadline = Instant::now() + within;
            }
        }
        timeout_at(deadline, self.close(lame_duck)).await
    }

    /// Hands over every connection as soon as nothing is under way on it. False when the heir is gone before all are.
    async fn bequeath(&mut self, heir: Heir, lame_duck: Duration) -> bool {
        let Acceptor { app, connections, .. } = self.acceptor.clone();
        // Who waits in the queue is the heir's already.
        self.intake.send_replace(Intake::Left);
        together::end();
        connections.hand_over(heir);
        let patience = async {
            sleep(lame_duck).await;
            // Who is never idle cannot be handed over, but can be told to come again.
            app.start_draining();
            sleep(lame_duck).await;
            connections.cut_silent();
            pending::<()>().await;
        };
        tokio::select! {
            () = self.everybody_gone() => true,
            () = connections.left_alone() => false,
            () = patience => false,
        }
    }

    /// Tells clients to come again elsewhere: with their responses first, then by closing.
    async fn close(&mut self, lame_duck: Duration) {
        let Acceptor { app, connections, .. } = self.acceptor.clone();
        app.start_draining();
        connections.close_http2();
        sleep(lame_duck).await;
        self.intake.send_if_modified(|intake| {
            let open = *intake == Intake::Open;
            if open {
                *intake = Intake::Last;
            }
            open
        });
        connections.close();
        tokio::select! {
            () = self.everybody_gone() => return,
            () = sleep(lame_duck) => connections.cut_silent(),
        }
        self.everybody_gone().await;
    }

    /// Returns when nobody comes any more, nobody is here, and no guest works on. Cancel safe.
    async fn everybody_gone(&mut self) {
        while self.tasks.join_next().await.is_some() {}
        let Acceptor { app, connections, .. } = &self.acceptor;
        connections.fewer_than(1).await;
        app.start_draining();
        app.idle().await;
    }
}
