use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;

use wasmcluster_core::channel::Channel;

use super::*;

/// Lets a command have its way with one end while the other is conversed with. Returns what reached the supervisor,
/// which says that it stops and leaves.
fn hear(command: impl FnOnce(StdUnixStream) + Send + 'static) -> Vec<ToSupervisor> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (ours, theirs) = StdUnixStream::pair().expect("sockets");
        ours.set_nonblocking(true).expect("a socket");
        let (sender, mut inputs) = channel(1);
        let conversation = tokio::spawn(converse(UnixStream::from_std(ours).expect("a runtime"), sender));
        let command = tokio::task::spawn_blocking(move || command(theirs));
        let mut asked = Vec::new();
        while let Some(ControlInput::Asked { request, answers }) = inputs.recv().await {
            asked.push(request);
            answers.send(FromSupervisor::Stopping);
        }
        conversation.await.expect("no panic");
        command.await.expect("no panic");
        asked
    })
}

fn asking(request: ToSupervisor) -> Channel<ToSupervisor, FromSupervisor> {
    let mut codec = Channel::new();
    codec.send(&request);
    codec
}

#[test]
fn a_request_gets_its_answer_and_the_connection_ends() {
    let asked = hear(|mut stream| {
        let mut codec = asking(ToSupervisor::Status);
        stream.write_all(codec.outgoing()).expect("open");
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).expect("an end");
        codec.read(&answers);
        assert_eq!(codec.receive().expect("valid"), Some(FromSupervisor::Stopping));
        assert_eq!(codec.receive().expect("valid"), None);
    });
    assert_eq!(asked, [ToSupervisor::Status]);
}

#[test]
fn a_command_that_leaves_is_forgotten() {
    assert_eq!(hear(drop), []);
    let asked = hear(|mut stream| {
        stream.write_all(asking(ToSupervisor::Stop { fast: false }).outgoing()).expect("open");
    });
    assert_eq!(asked, [ToSupervisor::Stop { fast: false }]);
}

#[test]
fn a_connection_is_for_one_request() {
    let asked = hear(|mut stream| {
        let mut codec = asking(ToSupervisor::Status);
        codec.send(&ToSupervisor::Stop { fast: true });
        stream.write_all(codec.outgoing()).expect("open");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(asked, [ToSupervisor::Status]);
}

#[test]
fn garbage_ends_the_connection_and_asks_nothing() {
    let wrong_direction = {
        let mut codec: Channel<FromSupervisor, ToSupervisor> = Channel::new();
        codec.send(&FromSupervisor::Stopping);
        codec.outgoing().to_vec()
    };
    let mut all = vec![b"GET / HTTP/1.1\r\n\r\n".to_vec(), u32::MAX.to_le_bytes().to_vec(), wrong_direction];
    all.push(b"\x02\0\0\0{}\x02\0\0\0{}".to_vec());
    for bytes in all {
        let asked = hear(move |mut stream| {
            let _ = stream.write_all(&bytes);
            // Its end, by whichever name: there is more in its queue than anybody read.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        assert_eq!(asked, []);
    }
}
