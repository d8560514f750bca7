//! The projects that a handler can begin as: those of `guest-examples`.

use super::Language;

/// One of them.
pub(super) struct Template {
    /// In what a handler is written, for a person.
    pub(super) what: &'static str,
    /// The commands that make ready for the first build.
    pub(super) setup: &'static [&'static str],
    /// Those of every build.
    pub(super) build: &'static [&'static str],
    /// The component that they make.
    pub(super) component: &'static str,
    /// Where each file goes, and what is in it.
    pub(super) files: &'static [(&'static str, &'static str)],
}

macro_rules! files {
    ($directory:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_str!(concat!("../../../guest-examples/", $directory, "/", $file)))),+]
    };
}

const TARGET: &[&str] = &["rustup target add wasm32-wasip2"];
const CARGO: &[&str] = &["cargo build --release --target wasm32-wasip2"];

const NPM: &[&str] = &["npm run build"];

pub(super) fn template(language: Language) -> Template {
    match language {
        Language::Rust => Template {
            what: "Rust, for wasi:http 0.2",
            setup: TARGET,
            build: CARGO,
            component: "target/wasm32-wasip2/release/starter.wasm",
            files: files!["rust/starter":
                ".gitignore", "Cargo.lock", "Cargo.toml", "README.md", "src/main.rs", "wasmcluster.toml"],
        },
        Language::RustP3 => Template {
            what: "Rust, for wasi:http 0.3",
            setup: TARGET,
            build: CARGO,
            component: "target/wasm32-wasip2/release/handler.wasm",
            files: files!["rust/starter-p3":
                ".gitignore", "Cargo.lock", "Cargo.toml", "README.md", "src/lib.rs", "wasmcluster.toml"],
        },
        Language::Js => Template {
            what: "JavaScript",
            setup: &["npm install"],
            build: NPM,
            component: "app.wasm",
            files: files!["js/starter":
                ".gitignore", "README.md", "package-lock.json", "package.json", "src/app.js", "src/component.js",
                "src/wasi-http.js", "test/app.test.js", "wasmcluster.toml",
                "wit/deps/clocks.wit", "wit/deps/http.wit", "wit/deps/io.wit", "wit/world.wit"],
        },
        Language::Ts => Template {
            what: "TypeScript, with Hono",
            setup: &["npm install"],
            build: NPM,
            component: "app.wasm",
            files: files!["ts/starter":
                ".gitignore", "README.md", "package-lock.json", "package.json", "src/app.ts", "src/component.ts",
                "src/wasi-http.d.ts", "src/wasi-http.js", "test/app.test.js", "tsconfig.json", "wasmcluster.toml",
                "wit/deps/clocks.wit", "wit/deps/http.wit", "wit/deps/io.wit", "wit/world.wit"],
        },
        Language::Go => Template {
            what: "Go, with net/http",
            setup: &[],
            build: &[
                "GOARCH=wasm GOOS=wasip1 go build -trimpath -buildmode=c-shared -ldflags='-s -w' -o core.wasm .",
                "wasmcluster componentize core.wasm --wit wasihttp/wit -o app.wasm",
            ],
            component: "app.wasm",
            files: files!["go/starter":
                ".gitignore", "README.md", "go.mod", "main.go", "main_test.go", "wasihttp/abi.go",
                "wasihttp/doc.go", "wasihttp/errors.go", "wasihttp/fields.go", "wasihttp/loop.go",
                "wasihttp/native.go", "wasihttp/server.go", "wasihttp/streams.go", "wasihttp/transport.go",
                "wasihttp/wit/deps/clocks.wit", "wasihttp/wit/deps/http.wit", "wasihttp/wit/deps/io.wit",
                "wasihttp/wit/world.wit", "wasmcluster.toml"],
        },
        Language::Python => Template {
            what: "Python",
            setup: &["python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt"],
            build: &[".venv/bin/componentize-py -d wit -w handler componentize app -o app.wasm"],
            component: "app.wasm",
            files: files!["python/starter":
                ".gitignore", "README.md", "app.py", "handler.py", "requirements.txt", "test_handler.py",
                "wasi_http.py", "wasmcluster.toml", "wit/deps/clocks.wit", "wit/deps/http.wit", "wit/deps/io.wit", "wit/world.wit"],
        },
    }
}
