//! What a trap of a guest looks like to whoever wrote the guest.

use rustc_demangle::demangle;
use wasmcluster_core::message::Frame;
use wasmtime::{FrameInfo, WasmBacktrace};

/// Characters of a name that are shown.
const NAME: usize = 256;

/// What happened, in one line that begins with `what`.
pub(crate) fn cause(what: &str, error: &wasmtime::Error) -> String {
    let cause = error.root_cause().to_string();
    let cause = cause.lines().next().unwrap_or_default();
    format!("{what}: {}", cause.strip_prefix("wasm trap: ").unwrap_or(cause))
}

/// Where it happened, innermost first. The engine keeps twenty frames at most.
pub(crate) fn backtrace(error: &wasmtime::Error) -> Vec<Frame> {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    frames.iter().map(frame).collect()
}

fn frame(frame: &FrameInfo) -> Frame {
    Frame {
        // Without the hash, which says nothing to a person.
        function: frame.func_name().map(|name| presentable(&format!("{:#}", demangle(name)))),
        index: frame.func_index(),
        module: frame.module().name().map(presentable),
        offset: frame.module_offset().map(|offset| offset as u64),
    }
}

/// A name for the log. A guest chose it, and must not choose what else stands there.
fn presentable(name: &str) -> String {
    let mut shown = String::new();
    for (count, character) in name.chars().enumerate() {
        if count == NAME {
            shown.push('…');
            break;
        }
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_end_and_no_line_of_their_own() {
        assert_eq!(presentable("core::panic<é>"), "core::panic<é>");
        assert_eq!(presentable("\u{1b}[31m\nslot 7"), r"\u{1b}[31m\nslot 7");
        assert_eq!(presentable(&"é".repeat(NAME)).chars().count(), NAME);
        assert_eq!(presentable(&"é".repeat(NAME + 1)).chars().count(), NAME + 1);
    }
}
