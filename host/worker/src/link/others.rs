//! What components import that were written for other hosts: drafts of interfaces that we have, and interfaces that we have
//! not.

use wasmcluster_core::component::is_foreign;
use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower, ResourceType};

use crate::state::State;

/// `error` of `wasi:config`, in all of its drafts. Here nothing can go wrong.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum ConfigError {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// `error` of `fermyon:spin/variables`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum VariableError {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    Other(String),
}

/// `level` of `wasi:logging`.
#[expect(dead_code, reason = "guests make them")]
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Adds what we have under other names than the ones of today.
///
/// # Errors
/// Fails only if two interfaces have the same name, which would be a bug of ours.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for store in [
        "wasi:config/store@0.2.0-draft-2024-09-27",
        "wasi:config/store@0.2.0-draft",
        "wasi:config/runtime@0.2.0-draft",
    ] {
        let mut store = linker.instance(store)?;
        store.func_wrap("get", |store: StoreContextMut<'_, State>, (key,): (String,)| {
            Ok((Ok::<_, ConfigError>(store.data().config_var(&key).map(str::to_owned)),))
        })?;
        store.func_wrap("get-all", |store: StoreContextMut<'_, State>, (): ()| {
            Ok((Ok::<_, ConfigError>(store.data().config_vars().to_vec()),))
        })?;
    }
    linker.instance("fermyon:spin/variables@2.0.0")?.func_wrap(
        "get",
        |store: StoreContextMut<'_, State>, (name,): (String,)| {
            let value = store.data().config_var(&name).map(str::to_owned);
            Ok((value.ok_or(VariableError::Undefined(name)),))
        },
    )?;
    linker.instance("wasi:logging/logging@0.1.0-draft")?.func_wrap(
        "log",
        |store: StoreContextMut<'_, State>, (level, context, message): (Level, String, String)| {
            let level = level.name();
            let separator = if context.is_empty() { "" } else { " " };
            store.data().log(&format!("{level}{separator}{context}: {message}"));
            Ok(())
        },
    )?;
    Ok(())
}

/// Lets a component link that imports what only other hosts have. What it calls of that ends its request.
///
/// The engine can do that for everything that is missing, but takes what we have of another patch version for missing, too.
///
/// # Errors
/// Fails only on a name that the component has twice.
pub(super) fn refuse_at_call(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (interface, import) in component.component_type().imports(engine) {
        let (true, ComponentItem::ComponentInstance(exports)) = (is_foreign(interface), import.ty) else {
            continue;
        };
        let mut instance = linker.instance(interface)?;
        for (name, export) in exports.exports(engine) {
            let called = format!("it called `{interface}#{name}`, which this host does not have");
            match export.ty {
                ComponentItem::ComponentFunc(function) if function.async_() => {
                    instance.func_new_concurrent(name, move |_, _, _, _| {
                        let error = wasmtime::Error::msg(called.clone());
                        Box::pin(async move { Err(error) })
                    })?;
                }
                ComponentItem::ComponentFunc(_) => {
                    instance.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone())))?;
                }
                ComponentItem::Resource(_) => {
                    instance.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
