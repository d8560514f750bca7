//! What a store holds: the host's side of one instance.

use std::sync::Arc;

use http::{HeaderName, Method};
use wasmtime::component::ResourceTable;
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::IoView;

use crate::grants::Grants;

/// Store data of every instance, made anew for every instance.
pub(crate) struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    /// Made at the first use: most requests never touch it, and it seeds two random generators.
    wasi: Option<Box<WasiCtx>>,
    limits: StoreLimits,
    /// Whether the body of the next response is read from the moment it is made.
    reads_early: bool,
    /// Whether the request is one for a head alone: a response to it may declare a length without having a body.
    head_only: bool,
}

impl State {
    pub(crate) fn new(grants: &Arc<Grants>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(grants.max_resources());
        Self {
            table,
            http: WasiHttpCtx::new(),
            hooks: Hooks { grants: Arc::clone(grants), sent: 0 },
            wasi: None,
            limits: StoreLimitsBuilder::new().memory_size(grants.max_memory_size()).build(),
            reads_early: false,
            head_only: false,
        }
    }

    /// Prepares for the next request.
    pub(crate) fn begin(&mut self, method: &Method) {
        self.hooks.sent = 0;
        self.reads_early = true;
        self.head_only = method == Method::HEAD;
    }

    /// Whether nobody will read the body of the response.
    pub(crate) fn head_only(&self) -> bool {
        self.head_only
    }

    /// Whether a response that is being made is the first one.
    pub(crate) fn reads_early(&mut self) -> bool {
        std::mem::take(&mut self.reads_early)
    }

    pub(crate) fn limits(&mut self) -> &mut StoreLimits {
        &mut self.limits
    }

    pub(crate) fn config(&self) -> &WasiConfigVariables {
        self.hooks.grants.config()
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| Box::new(self.hooks.grants.wasi()));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

struct Hooks {
    grants: Arc<Grants>,
    /// Requests that were sent while the present one is served.
    sent: u32,
}

/// Headers that belong to a connection and not to a message: a guest neither sees nor sets them.
static FORBIDDEN: [HeaderName; 9] = DEFAULT_FORBIDDEN_HEADERS;

impl WasiHttpHooks for Hooks {
    // Both are overridden: the stock method makes an `Arc` for every header of every request.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        FORBIDDEN.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| FORBIDDEN.contains(name))
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = wasmtime_wasi_http::Result<()>> + Send>,
    ) -> Box<dyn Future<Output = wasmtime_wasi_http::Result<Answer>> + Send> {
        let outbound = self.grants.outbound();
        let most = self.grants.max_outbound_requests();
        self.sent = self.sent.saturating_add(1);
        let too_many = self.sent > most;
        Box::new(async move {
            if too_many {
                return Err(outbound.deny_more(most));
            }
            let response = outbound.send(request, options.unwrap_or_default()).await?;
            Ok((response, Box::new(async { Ok(()) }) as Box<_>))
        })
    }
}

type Answer = (http::Response<WasiBody>, Box<dyn Future<Output = wasmtime_wasi_http::Result<()>> + Send>);
