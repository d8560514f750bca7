//! Instances of the component: made, lent to one request at a time, and kept where reuse is allowed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use wasmcluster_core::message::Shape;

use crate::grants::Grants;
use crate::state::State;

/// One instance in a store of its own.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) exports: Exports,
    served: u32,
    /// When it was last put back; `None` while it never was.
    idle_since: Option<Instant>,
}

/// The handler that the component exports.
pub(crate) enum Exports {
    P2(Proxy),
    P3(Service),
}

/// The linked component, and the instances of it that wait for a request.
pub(crate) struct Instances {
    engine: Engine,
    handler: Handler,
    grants: Arc<Grants>,
    max_served: u32,
    idle_timeout: Duration,
    idle: Mutex<Vec<Instance>>,
}

/// A linked component, with the place of its handler known.
pub(crate) enum Handler {
    P2(ProxyPre<State>),
    P3(ServicePre<State>),
}

impl Handler {
    /// # Errors
    /// Fails when the component does not export the handler that `shape` says.
    pub(crate) fn find(linked: InstancePre<State>, shape: Shape) -> wasmtime::Result<Self> {
        Ok(match shape {
            Shape::P2 => Self::P2(ProxyPre::new(linked)?),
            Shape::P3 => Self::P3(ServicePre::new(linked)?),
        })
    }
}

impl Instances {
    /// `max_served` is how many requests one instance may serve; 1 keeps none.
    pub(crate) fn new(
        engine: Engine,
        handler: Handler,
        grants: Arc<Grants>,
        (max_served, idle_timeout): (u32, Duration),
    ) -> Self {
        Self { engine, handler, grants, max_served, idle_timeout, idle: Mutex::default() }
    }

    /// An instance for one request: one that waits, the most recently used first, or a fresh one.
    ///
    /// # Errors
    /// Fails when the component traps while starting, or the pool is empty.
    pub(crate) async fn take(&self) -> wasmtime::Result<Instance> {
        if self.max_served > 1
            && let Some(mut instance) = self.lock().pop()
        {
            instance.store.set_epoch_deadline(1);
            return Ok(instance);
        }
        self.make().await
    }

    async fn make(&self) -> wasmtime::Result<Instance> {
        let mut store = Store::new(&self.engine, State::new(&self.grants));
        store.limiter(|state| state.limits());
        // Not the stock yield: it wakes itself before the runtime looks at sockets and timers, and three guests that
        // compute would keep a fourth request waiting for half a second.
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        let exports = match &self.handler {
            Handler::P2(proxy) => Exports::P2(proxy.instantiate_async(&mut store).await?),
            Handler::P3(service) => Exports::P3(service.instantiate_async(&mut store).await?),
        };
        Ok(Instance { store, exports, served: 0, idle_since: None })
    }

    /// Takes back an instance whose request ended well.
    pub(crate) fn put_back(&self, mut instance: Instance) {
        instance.served += 1;
        if instance.served < self.max_served {
            instance.idle_since = Some(Instant::now());
            self.lock().push(instance);
        }
    }

    /// Lets instances go that waited too long. Never returns where instances are kept.
    pub(crate) async fn expire(&self) {
        if self.max_served == 1 {
            return;
        }
        loop {
            tokio::time::sleep((self.idle_timeout / 2).max(Duration::from_millis(10))).await;
            // The vector is a stack, so the instance that waits longest is the first.
            let expired: Vec<Instance> = {
                let mut idle = self.lock();
                let fresh = idle.partition_point(|instance| {
                    instance.idle_since.is_some_and(|since| since.elapsed() >= self.idle_timeout)
                });
                idle.drain(..fresh).collect()
            };
            drop(expired);
        }
    }

    /// Lets all instances go that wait, and with them the last line that each may have begun to print.
    pub(crate) fn clear(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        drop(waiting);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
