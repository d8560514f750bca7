//! Instances of the component: made, lent to one request at a time, and kept where reuse is allowed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::InstancePre;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, Store, ensure};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use wasmcluster_core::message::Shape;

use crate::epoch;
use crate::gaps::Gaps;
use crate::grants::Grants;
use crate::state::State;

/// One instance in a store of its own.
pub(crate) struct Instance<E> {
    pub(crate) store: Store<State>,
    /// Where its handler is.
    pub(crate) exports: E,
    served: u32,
    /// The sweep before which it was last put back.
    idle_since: u32,
}

/// The instances of the component, by what it exports.
pub(crate) enum Instances {
    P2(Pool<ProxyPre<State>>),
    P3(Pool<ServicePre<State>>),
}

/// The linked component, and the instances of it that wait for a request.
pub(crate) struct Pool<H: Handler> {
    engine: Engine,
    handler: H,
    grants: Arc<Grants>,
    reuse: Reuse,
    /// Where memory is reset by what was written.
    gaps: Option<Gaps>,
    /// How often instances have been looked through: the clock that they are timed by, and free to read.
    sweeps: AtomicU32,
    idle: Mutex<Vec<Instance<H::Exports>>>,
}

/// How long instances are kept.
#[derive(Clone, Copy)]
pub(crate) struct Reuse {
    /// How many requests one instance may serve; 1 keeps none.
    pub(crate) max_served: u32,
    pub(crate) idle_timeout: Duration,
}

/// A linked component, with the place of its handler known.
pub(crate) trait Handler: Send + Sync {
    type Exports: Send;

    /// # Errors
    /// Fails when the component traps while starting, or the pool is empty.
    fn instantiate(
        &self,
        store: &mut Store<State>,
    ) -> impl Future<Output = wasmtime::Result<Self::Exports>> + Send;
}

impl Handler for ProxyPre<State> {
    type Exports = Proxy;

    async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Proxy> {
        self.instantiate_async(store).await
    }
}

impl Handler for ServicePre<State> {
    type Exports = Service;

    async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Service> {
        self.instantiate_async(store).await
    }
}

/// Whether the component exports the handler that its shape says, as far as can be seen without an instance.
///
/// # Errors
/// Fails when it does not.
pub(crate) fn has_handler(linked: InstancePre<State>, shape: Shape) -> wasmtime::Result<()> {
    let (interface, expected) = match shape {
        Shape::P2 => ("wasi:http/incoming-handler@0.2.", (2, 0)),
        Shape::P3 => ("wasi:http/handler@0.3.", (1, 1)),
    };
    let engine = linked.engine();
    let exports = linked.component().component_type();
    let handler = exports.exports(engine).find_map(|(name, export)| match export.ty {
        ComponentItem::ComponentInstance(instance) if name.starts_with(interface) => {
            instance.get_export(engine, "handle").map(|export| export.ty)
        }
        _ => None,
    });
    if let Some(ComponentItem::ComponentFunc(handler)) = handler {
        let found = (handler.params().len(), handler.results().len());
        ensure!(
            found == expected,
            "its `handle` takes {} parameters and returns {} values, and not {} and {}",
            found.0,
            found.1,
            expected.0,
            expected.1
        );
    }
    match shape {
        Shape::P2 => ProxyPre::new(linked).map(drop),
        Shape::P3 => ServicePre::new(linked).map(drop),
    }
}

impl Instances {
    /// # Errors
    /// Fails when the component does not export the handler that `shape` says.
    pub(crate) fn new(
        engine: Engine,
        linked: InstancePre<State>,
        shape: Shape,
        grants: Arc<Grants>,
        reuse: Reuse,
        gaps: Option<Gaps>,
    ) -> wasmtime::Result<Self> {
        Ok(match shape {
            Shape::P2 => Self::P2(Pool::new(engine, ProxyPre::new(linked)?, grants, reuse, gaps)),
            Shape::P3 => Self::P3(Pool::new(engine, ServicePre::new(linked)?, grants, reuse, gaps)),
        })
    }

    /// Makes one instance, to see that it can be made.
    ///
    /// # Errors
    /// Fails when the component traps while starting.
    pub(crate) async fn prove(&self) -> wasmtime::Result<()> {
        match self {
            Self::P2(pool) => pool.take().await.map(drop),
            Self::P3(pool) => pool.take().await.map(drop),
        }
    }

    /// Lets instances go that waited too long. Never returns where instances are kept.
    pub(crate) async fn expire(&self) {
        match self {
            Self::P2(pool) => pool.expire().await,
            Self::P3(pool) => pool.expire().await,
        }
    }

    /// Looks at the memory of the next guest that ends, if that makes the next ones faster.
    pub(crate) fn look_again(&self) {
        let gaps = match self {
            Self::P2(pool) => &pool.gaps,
            Self::P3(pool) => &pool.gaps,
        };
        if let Some(gaps) = gaps {
            gaps.look_again();
        }
    }

    /// Lets all instances go that wait, and with them the last line that each may have begun to print.
    pub(crate) fn clear(&self) {
        match self {
            Self::P2(pool) => pool.clear(),
            Self::P3(pool) => pool.clear(),
        }
    }
}

impl<H: Handler> Pool<H> {
    fn new(engine: Engine, handler: H, grants: Arc<Grants>, reuse: Reuse, gaps: Option<Gaps>) -> Self {
        let (sweeps, idle) = (AtomicU32::new(0), Mutex::default());
        Self { engine, handler, grants, reuse, gaps, sweeps, idle }
    }

    /// An instance for one request: one that waits, the most recently used first, or a fresh one.
    ///
    /// # Errors
    /// Fails when the component traps while starting, or the pool is empty.
    pub(crate) async fn take(&self) -> wasmtime::Result<Instance<H::Exports>> {
        if self.reuse.max_served > 1
            && let Some(mut instance) = self.lock().pop()
        {
            instance.store.set_epoch_deadline(1);
            return Ok(instance);
        }
        let mut store = Store::new(&self.engine, State::new(&self.grants));
        store.limiter(|state| state);
        let limits = self.grants.limits();
        store.set_hostcall_fuel(usize::try_from(limits.hostcall_size).unwrap_or(usize::MAX));
        let resources = usize::try_from(limits.resources).unwrap_or(usize::MAX);
        // Streams and what the guest defines itself have handles, too. Those of the host's resources run out of a table first,
        // which says so in words.
        store.set_max_component_handles(resources.saturating_mul(2));
        if let Some(streams) = store.concurrent_resource_table() {
            streams.set_max_capacity(resources);
        }
        store.epoch_deadline_callback(|_| Ok(epoch::deadline()));
        store.set_epoch_deadline(1);
        match self.handler.instantiate(&mut store).await {
            Ok(exports) => Ok(Instance { store, exports, served: 0, idle_since: 0 }),
            Err(error) => Err(self.dump(&mut store, error)),
        }
    }

    /// Keeps the memory of a guest that failed with `error`, if that is wanted.
    pub(crate) fn dump(&self, store: &mut Store<State>, error: wasmtime::Error) -> wasmtime::Error {
        self.grants.next_dump().keep(store, &error, self.grants.reports());
        error
    }

    /// Takes back an instance whose guest has returned, and keeps it if it may serve another request.
    pub(crate) fn take_back(&self, mut instance: Instance<H::Exports>, is_usable: bool) {
        instance.served += 1;
        if is_usable && instance.served < self.reuse.max_served {
            instance.idle_since = self.sweeps.load(Ordering::Relaxed);
            self.lock().push(instance);
        } else if let Some(gaps) = &self.gaps {
            gaps.before_reset();
        }
    }

    async fn expire(&self) {
        if self.reuse.max_served == 1 {
            return;
        }
        loop {
            tokio::time::sleep((self.reuse.idle_timeout / 2).max(Duration::from_millis(10))).await;
            let sweep = self.sweeps.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            // Between this sweep and the third to last lies the whole timeout. The vector is a stack, so the instance
            // that waits longest is the first.
            let expired: Vec<_> = {
                let mut idle = self.lock();
                let fresh = idle.partition_point(|instance| sweep.wrapping_sub(instance.idle_since) >= 3);
                idle.drain(..fresh).collect()
            };
            drop(expired);
        }
    }

    fn clear(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        drop(waiting);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instance<H::Exports>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
