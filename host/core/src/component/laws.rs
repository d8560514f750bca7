//! What holds for whatever somebody pushes.

use super::{MOST_PRODUCERS, imports, inspect};

/// It is a component that can be asked, or what is wrong with it is said in one line, with what to do.
pub fn any_bytes_are_told(bytes: &[u8]) {
    let told = inspect("app.wasm", bytes).and_then(|found| {
        assert!(found.producers.len() <= MOST_PRODUCERS, "{:?}", found.producers);
        imports("app.wasm", &found.imports)
    });
    if let Err(rejection) = told {
        assert!(rejection.message.starts_with("`app.wasm` "), "{}", rejection.message);
        assert!(rejection.hint.is_some(), "{}", rejection.message);
    }
}
