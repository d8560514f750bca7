//! `wasmcluster serve`: what a person sees who starts it, asks it and stops it.

use crate::support::{Connection, Server, block_on};

#[test]
fn without_a_file_the_demo_page_is_served() {
    let server = Server::demo().start();
    let page = server.get("/").expect_status(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{}", page.head);
    for words in [
        "slot that answered",
        "worker process",
        "generation",
        "requests so far",
        "wasmcluster serve app.wasm",
    ] {
        assert!(page.text().contains(words), "no `{words}` on the page");
    }
}

#[test]
fn http1_and_http2_are_spoken_on_one_port() {
    let server = Server::of("hello-p2").start();
    block_on(async {
        for mut connection in [Connection::http1(server.addr).await, Connection::http2(server.addr).await] {
            let answer = connection.get("/").await.unwrap();
            assert_eq!(answer.text(), "hello from wasm\n");
        }
    });
}
