//! What a client is told of a guest that fails: with `--dev` why, and otherwise nothing.

use crate::support::{RawClient, Response, Server, Starting, handler_with, program};

/// A guest whose functions have names that a browser could take for something else.
fn traps() -> Vec<u8> {
    handler_with(
        r#"(func $innermost (@name "<script>alert('1')</script>&\"") unreachable)
           (func $handle (param i32 i32) (call $innermost))"#,
    )
}

fn serve(args: &[&str]) -> Starting {
    let program = program(["serve", "app.wasm", "--addr", "127.0.0.1:0", "--instances", "1"]);
    Starting::of(program.file("app.wasm", traps()).args(args))
}

fn ask(client: &mut RawClient, method: &str, path: &str, accept: &str) -> Response {
    client.send_head(method, path, &[("accept", accept)]);
    client.try_response(method).unwrap()
}

#[test]
fn a_terminal_gets_what_the_log_has() {
    let server = serve(&["--dev"]).start();
    let answer = server.get("/").expect_status(500);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    server.wait_for_stderr("at handle (");
    let log = server.stderr();
    let lines = log.lines().skip_while(|line| !line.contains("the guest trapped: "));
    let logged = lines.take(3).map(|line| line.split_once("): ").map_or(line, |(_, line)| line));
    let logged: Vec<_> = logged.collect();
    assert_eq!(answer.text().lines().collect::<Vec<_>>(), logged);
    assert!(logged[1].starts_with("    at <script>alert('1')</script>&\" (m+0x"), "{log}");
    let id = answer.header("x-request-id").unwrap();
    assert!(logged[0].ends_with(&format!("(request {id})")), "{log}");
}

#[test]
fn a_browser_gets_a_page_in_which_nothing_of_the_guest_is_more_than_text() {
    let server = serve(&["--dev"]).start();
    let mut client = server.connect();
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    let answer = ask(&mut client, "GET", "/", accept).expect_status(500);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let policy = answer.header("content-security-policy").unwrap();
    assert_eq!(policy, "sandbox; script-src 'none'; img-src 'none'; connect-src 'none'");
    let page = answer.text();
    assert!(page.starts_with("<!doctype html>\n"), "{page}");
    assert!(page.contains("<h1>the guest trapped: wasm `unreachable` instruction executed</h1>"), "{page}");
    let first = "<li>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot; (m+0x";
    assert!(page.contains(first) && page.contains("\n<li>handle (m+0x"), "{page}");
    assert!(!page.contains("<script"), "{page}");
    // Over a connection that is kept, and with its length alone.
    let head = ask(&mut client, "HEAD", "/", accept).expect_status(500);
    assert!(head.body.is_empty() && head.header("content-length").is_some_and(|length| length != "0"));
}

#[test]
fn what_it_printed_about_it_is_shown_and_nothing_else() {
    Server::of_both_zoos(&["--dev"], |server| {
        let text = server.get("/panic").expect_status(500);
        let lines: Vec<_> = text.text().lines().collect();
        assert!(lines[0].starts_with("the guest trapped: "), "{lines:?}");
        let printed = lines
            .iter()
            .position(|line| line.starts_with("    | ") && line.ends_with("the zoo panicked on purpose"));
        let trace = lines.iter().position(|line| line.starts_with("    at "));
        assert!(printed.is_some() && printed < trace, "{lines:?}");
        let mut client = server.connect();
        let page = ask(&mut client, "GET", "/panic", "text/html");
        assert!(
            page.text().contains("the zoo panicked on purpose\n") && page.text().contains("<pre>"),
            "{page:?}"
        );
        // Each has its own.
        assert!(!server.get("/trap").expect_status(500).text().contains("    | "));
    });
}

#[test]
fn other_failures_say_what_to_do() {
    let server = Server::of("zoo-p2").instances(1).args(["--dev", "--timeout", "100ms"]).start();
    let slow = server.get("/spin").expect_status(504);
    let lines: Vec<_> = slow.text().lines().collect();
    assert!(lines[0].starts_with("the guest took longer than 100ms (request "), "{lines:?}");
    assert_eq!(lines[1..], ["hint: raise `--timeout` if that is to be expected"]);
    // What a client does wrong is no news of the guest.
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\n\r\n");
    let refused = client.try_response("GET").unwrap().expect_status(400);
    assert_eq!(refused.text(), "no host header\n");
}

#[test]
fn without_it_nobody_is_told_anything() {
    let server = serve(&[]).start();
    let mut client = server.connect();
    for accept in ["*/*", "text/html"] {
        let answer = ask(&mut client, "GET", "/", accept).expect_status(500);
        assert_eq!(answer.text(), "the handler failed\n");
        let id = answer.header("x-request-id").unwrap();
        let date = answer.header("date").unwrap();
        let expected = format!(
            "HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n\
             x-request-id: {id}\r\ncontent-length: 19\r\ndate: {date}\r\n"
        );
        assert_eq!(answer.head.trim_end(), expected.trim_end());
    }
}

#[test]
fn who_listens_to_everybody_is_warned() {
    let server = Server::of("hello-p2").addr("0.0.0.0:0").arg("--dev").start();
    server.wait_for_stderr("warning: whoever reaches 0.0.0.0:0 is told what goes wrong inside the guest");
    server.wait_for_stderr("hint: `--dev` is for addresses of this machine");
    let server = Server::of("hello-p2").arg("--dev").start();
    assert!(!server.stderr().contains("warning"), "{}", server.explain());
}
