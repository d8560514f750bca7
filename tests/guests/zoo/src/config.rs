//! `wasi:config`, which neither `wasip2` nor `wasip3` has.

use crate::Answer;

// As in `wit/deps/config-0.2.0-rc.1/store.wit` of this repository, without what is not called.
wit_bindgen::generate!({
    inline: r#"
        package wasi:config@0.2.0-rc.1;

        interface store {
            variant error {
                upstream(string),
                io(string),
            }
            get: func(key: string) -> result<option<string>, error>;
        }

        world imports {
            import store;
        }
    "#,
    generate_all,
});

pub(crate) fn lookup(key: &str) -> Answer {
    match wasi::config::store::get(key) {
        Ok(Some(value)) => Answer::ok(value + "\n"),
        Ok(None) => Answer::not_found("not set\n"),
        Err(error) => Answer::failed(error),
    }
}
