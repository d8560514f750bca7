//! What a store holds: the host's side of one instance.

use std::sync::Arc;

use http::{HeaderName, Method};
use wasmcluster_core::limit::Limit;
use wasmcluster_core::message::ReportKind;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::IoView;

use crate::budget::Budget;
use crate::grants::Grants;
use crate::last_words::LastWords;
use crate::reached::reached;

/// Store data of every instance, made anew for every instance.
pub(crate) struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    /// Made at the first use: most requests never touch it, and it seeds two random generators.
    wasi: Option<Box<WasiCtx>>,
    /// What its guest has printed, where that is kept.
    last_words: Option<LastWords>,
    /// What its memories were granted, all of them, in bytes.
    memory: u64,
    /// What was too much is counted and said once: a guest may try again a million times.
    said: bool,
    /// Whether the body of the next response is read from the moment it is made.
    reads_early: bool,
    /// Whether the request is one for a head alone: a response to it may declare a length without having a body.
    head_only: bool,
}

impl State {
    pub(crate) fn new(grants: &Arc<Grants>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(grants.limits().resources).unwrap_or(usize::MAX));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(usize::try_from(grants.limits().field_size).unwrap_or(usize::MAX));
        Self {
            table,
            http,
            hooks: Hooks { grants: Arc::clone(grants), budget: None },
            wasi: None,
            last_words: None,
            memory: 0,
            said: false,
            reads_early: false,
            head_only: false,
        }
    }

    /// Prepares for the next request.
    pub(crate) fn begin(&mut self, method: &Method) {
        self.hooks.budget = None;
        if let Some(words) = &self.last_words {
            words.forget();
        }
        self.said = false;
        self.reads_early = true;
        self.head_only = method == Method::HEAD;
    }

    /// What it has printed of this request, where somebody wants to know.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.last_words.as_ref()?.text()
    }

    /// Whether nobody will read the body of the response.
    pub(crate) fn head_only(&self) -> bool {
        self.head_only
    }

    /// Whether a response that is being made is the first one.
    pub(crate) fn reads_early(&mut self) -> bool {
        std::mem::take(&mut self.reads_early)
    }

    pub(crate) fn config(&self) -> &WasiConfigVariables {
        self.hooks.grants.config()
    }

    /// Variables of the configuration, in the order given.
    pub(crate) fn config_vars(&self) -> &[(String, String)] {
        self.hooks.grants.config_vars()
    }

    /// The last one of this name, which counts.
    pub(crate) fn config_var(&self, key: &str) -> Option<&str> {
        self.config_vars().iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Writes a line into the log, or several.
    pub(crate) fn log(&self, text: &str) {
        self.hooks.grants.log(text);
    }
}

impl State {
    /// It wanted more in a list of header fields than there may be.
    pub(crate) fn too_many_fields(&mut self) {
        let most = self.hooks.grants.limits().field_size;
        self.too_much(
            Limit::MaxFieldSize,
            format!("the guest wanted more than {most} bytes of header fields"),
        );
    }

    fn too_much(&mut self, limit: Limit, message: String) {
        if !std::mem::replace(&mut self.said, true) {
            reached(limit);
            let hint = format!("raise `--{limit}` if that is to be expected");
            self.hooks.grants.reports().say(ReportKind::Limit, message, Some(hint));
        }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let most = self.hooks.grants.limits().memory_size;
        // A component has as many memories as it likes.
        let all = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if all > most {
            self.too_much(Limit::MaxMemorySize, format!("the guest wanted more than {most} bytes of memory"));
            return Ok(false);
        }
        let granted = maximum.is_none_or(|maximum| desired <= maximum);
        if granted {
            // Where the kernel then does not have it, it counts all the same: a failure that is reported need not be one of what
            // was granted last.
            self.memory = all;
        }
        Ok(granted)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let most = self.hooks.grants.limits().table_elements;
        if desired as u64 > u64::from(most) {
            let message = format!("the guest wanted more than {most} elements in a table");
            self.too_much(Limit::MaxTableElements, message);
            return Ok(false);
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| {
            let (ctx, last_words) = self.hooks.grants.wasi();
            self.last_words = last_words;
            Box::new(ctx)
        });
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
    /// What may still be sent while the present request is served, once something was.
    budget: Option<Arc<Budget>>,
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
        let (limits, reports) = (self.grants.limits(), self.grants.reports());
        let budget = Arc::clone(self.budget.get_or_insert_with(|| Budget::new(limits, reports)));
        Box::new(async move {
            let response = outbound.send(request, options.unwrap_or_default(), &budget).await?;
            Ok((response, Box::new(async { Ok(()) }) as Box<_>))
        })
    }
}

type Answer = (http::Response<WasiBody>, Box<dyn Future<Output = wasmtime_wasi_http::Result<()>> + Send>);
