use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;

use wasmcluster_core::channel::Channel;
use wasmcluster_core::record::{Record, Stamp};

use super::*;
use crate::channel::send_with;

/// Lets a command have its way with one end while the other is conversed with. Returns what reached the supervisor,
/// which says that it stops and leaves.
fn hear(command: impl FnOnce(StdUnixStream) + Send + 'static) -> Vec<ToSupervisor> {
    hear_with(command).into_iter().map(|(request, _)| request).collect()
}

/// As [`hear`], with the descriptors that came beside the requests.
fn hear_with(command: impl FnOnce(StdUnixStream) + Send + 'static) -> Vec<(ToSupervisor, Option<OwnedFd>)> {
    run(async {
        let (ours, theirs) = StdUnixStream::pair().expect("sockets");
        ours.set_nonblocking(true).expect("a socket");
        let (sender, mut inputs) = channel(1);
        let Places { asking, waiting } = Places::new();
        let place = asking.acquire_owned().await.expect("never closed");
        let ours = UnixStream::from_std(ours).expect("a runtime");
        let conversation = tokio::spawn(converse(ours, sender, place, waiting));
        let command = tokio::task::spawn_blocking(move || command(theirs));
        let mut asked = Vec::new();
        while let Some(ControlInput::Asked { request, descriptor, mut answers }) = inputs.recv().await {
            asked.push((request, descriptor));
            answers.send(FromSupervisor::Stopping);
        }
        conversation.await.expect("no panic");
        command.await.expect("no panic");
        asked
    })
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
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

#[test]
fn a_file_comes_with_its_push() {
    let asked = hear_with(|stream| {
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        std::fs::File::from(write).write_all(b"component").expect("room");
        let codec = asking(ToSupervisor::Push { name: "app".into() });
        let sent = send_with(&stream, codec.outgoing(), read).expect("room");
        assert_eq!(sent, codec.outgoing().len());
    });
    let [(ToSupervisor::Push { name }, Some(file))] = &asked[..] else { panic!("{asked:?}") };
    let mut content = String::new();
    std::fs::File::from(file.try_clone().expect("open")).read_to_string(&mut content).expect("readable");
    assert_eq!((name.as_str(), content.as_str()), ("app", "component"));
}

#[test]
fn who_reads_too_slowly_misses_records_and_is_told_how_many_and_how_it_ended() {
    run(async {
        let (mut answers, mut answered) = Answers::new(0);
        let record = Stamped { at: Stamp(1), record: Record::Stopping { fast: false } };
        for _ in 0..ANSWERS + 7 {
            answers.send_record(&record);
        }
        for _ in 0..2 {
            assert!(matches!(next(&mut answered).await, Some(FromSupervisor::Record(_))));
        }
        answers.send_record(&record);
        for _ in 2..ANSWERS {
            assert!(matches!(next(&mut answered).await, Some(FromSupervisor::Record(_))));
        }
        assert_eq!(next(&mut answered).await, Some(FromSupervisor::Missed(7)));
        assert!(matches!(next(&mut answered).await, Some(FromSupervisor::Record(_))));
        for _ in 0..ANSWERS {
            answers.send_record(&record);
        }
        answers.end(FromSupervisor::Stopping);
        for _ in 0..ANSWERS {
            assert!(matches!(next(&mut answered).await, Some(FromSupervisor::Record(_))));
        }
        assert_eq!(next(&mut answered).await, Some(FromSupervisor::Stopping));
        assert_eq!(next(&mut answered).await, None);
    });
}

/// However many wait for something, another one can ask.
#[test]
fn who_waits_takes_no_place_from_who_asks() {
    run(async {
        let Places { asking: places, waiting } = Places::new();
        let (sender, mut inputs) = channel(1);
        let mut commands = Vec::new();
        let mut held = Vec::new();
        for _ in 0..=WAITING {
            let (ours, mut theirs) = StdUnixStream::pair().expect("sockets");
            ours.set_nonblocking(true).expect("a socket");
            let place = Arc::clone(&places).acquire_owned().await.expect("never closed");
            let ours = UnixStream::from_std(ours).expect("a runtime");
            let conversation = tokio::spawn(converse(ours, sender.clone(), place, Arc::clone(&waiting)));
            theirs.write_all(asking(ToSupervisor::Reload).outgoing()).expect("open");
            commands.push(theirs);
            tokio::select! {
                asked = inputs.recv() => held.push(asked),
                // The last one finds no place to wait in, and is let go.
                done = conversation => done.expect("no panic"),
            }
        }
        assert_eq!(held.len(), WAITING as usize);
        assert_eq!(places.available_permits(), CONNECTIONS as usize);
    });
}

/// The next answer.
async fn next(answered: &mut Answered) -> Option<FromSupervisor> {
    match answered.next().await? {
        Last::Answer(answer) => Some(answer),
        Last::Released(_) => panic!("nobody else goes on with it"),
    }
}
