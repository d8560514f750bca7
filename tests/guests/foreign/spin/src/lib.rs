//! What somebody writes for Spin, with Spin's own library: nothing here knows of another host.

use spin_sdk::http::{Method, Request, Response, send};
use spin_sdk::key_value::Store;
use spin_sdk::{http_component, variables};

#[http_component]
async fn handle(request: Request) -> anyhow::Result<Response> {
    println!("{} {}", request.method(), request.path());
    let body = match request.path() {
        "/" => b"hello from Spin\n".to_vec(),
        "/greeting" => format!("{}\n", variables::get("greeting")?).into_bytes(),
        "/echo" => request.into_body(),
        "/outside" => {
            let outside = Request::builder().method(Method::Get).uri("http://outside.example/").build();
            let response: Response = send(outside).await?;
            response.into_body()
        }
        "/store" => {
            let store = Store::open_default()?;
            store.set("seen", b"once")?;
            b"stored\n".to_vec()
        }
        _ => return Ok(Response::builder().status(404).body("no such page\n").build()),
    };
    Ok(Response::builder().status(200).header("content-type", "text/plain").body(body).build())
}
