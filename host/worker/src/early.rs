//! Responses of 0.3 whose body is read from the moment the guest makes them.
//!
//! The stock host reads a body only once the guest has returned its response. A guest that writes as soon as it can, which
//! most do, finds nobody there: it gives up its turn and is entered again to hear that its bytes were taken, and once more
//! for the trailers. With a reader in place it writes all of a small body, returns, and is done.

use std::pin::Pin;

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use tokio::sync::oneshot;
use wasmtime::component::{Access, FutureReader, Linker, Resource, StreamReader};
use wasmtime::{AsContextMut, StoreContextMut};
use wasmtime_wasi_http::p3::Response;
use wasmtime_wasi_http::p3::bindings::http::types::{ErrorCode, Fields, HostResponseWithStore, Trailers};
use wasmtime_wasi_http::{Error, FieldMap, WasiBody, WasiHttp, WasiHttpView};

use crate::state::State;

type End = FutureReader<Result<Option<Resource<Trailers>>, ErrorCode>>;
type Sending = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
type New = (Resource<Response>, FutureReader<Result<(), ErrorCode>>);

/// Puts our way to make a response in the place of the stock one.
///
/// # Errors
/// Fails only if the stock one is not there, which would be a bug of ours.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.3.0")?.func_wrap(
        "[static]response.new",
        |store: StoreContextMut<'_, State>,
         (headers, body, end): (Resource<Fields>, Option<StreamReader<u8>>, End)| {
            Ok((new(store, headers, body, end)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn new(
    mut store: StoreContextMut<'_, State>,
    headers: Resource<Fields>,
    body: Option<StreamReader<u8>>,
    end: End,
) -> wasmtime::Result<New> {
    let access = Access::<_, WasiHttp>::new(store.as_context_mut(), State::http);
    let (made, sent) = HostResponseWithStore::new(access, headers, body, end)?;
    // One for each request: whoever makes responses without end must not have the beginnings of all their bodies kept.
    if !store.data_mut().reads_early() {
        return Ok((made, sent));
    }
    let made = store.data_mut().http().table.delete(made)?;
    // How sending it ends, the guest learns from whoever sends what is put in its place.
    let (tell, told) = oneshot::channel::<Sending>();
    let sending = async {
        match told.await {
            Ok(sending) => sending.await,
            Err(_) => Ok(()),
        }
    };
    let response = into_http(made, &mut store, sending)?;
    let http = store.data_mut().http();
    let (response, sending) = Response::from_http(http.hooks, response);
    let _ = tell.send(Box::pin(sending));
    Ok((http.table.push(response)?, sent))
}

/// Makes a response of a guest's one that can be sent. What one to HEAD declares is the length of what GET would get: it is not
/// compared with a body that nobody will read.
pub(crate) fn into_http(
    mut response: Response,
    mut store: impl AsContextMut<Data = State>,
    sending: impl Future<Output = wasmtime_wasi_http::Result<()>> + Send + 'static,
) -> wasmtime::Result<http::Response<WasiBody>> {
    let mut store = store.as_context_mut();
    if !store.data().head_only() {
        return response.into_http(store, sending);
    }
    let mut headers = HeaderMap::from(std::mem::take(&mut response.headers));
    let length = headers.remove(CONTENT_LENGTH);
    response.headers = FieldMap::new_immutable(store.data_mut().http().hooks, headers);
    let mut response = response.into_http(store, sending)?;
    response.headers_mut().extend(length.map(|length| (CONTENT_LENGTH, length)));
    Ok(response)
}
