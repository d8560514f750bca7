//! A server under test, from its start to its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::launch::{self, EXEC_AT};
use crate::peer::Peer;
use crate::response::{self, Read, header, split_head};
use crate::{Result, clock, procfs};

/// How long a server may take to become ready; the first start compiles.
const STARTING: Duration = Duration::from_secs(60);
/// How long processes that were killed may take to be gone.
const ENDING: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach a server that is starting.
const ATTEMPT: Duration = Duration::from_micros(20);

/// The processes of one server. Dropping it ends them.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    roots: Vec<Child>,
    /// What their processes are told apart by: those with children supervise.
    supervisors: Vec<i32>,
    workers: Vec<i32>,
}

impl Server {
    /// Starts a server and waits until all of it is ready.
    pub(crate) fn start(peer: &dyn Peer, instances: u32, cpu: Option<usize>) -> Result<Self> {
        let (mut server, lines) = Self::spawn(peer, instances, cpu)?;
        for lines in &lines {
            wait_for(lines, peer.ready_line()).map_err(|error| format!("{}: {error}", peer.name()))?;
        }
        for root in &server.roots {
            let root = i32::try_from(root.id())?;
            let children = procfs::descendants(root)?;
            if children.is_empty() {
                server.workers.push(root);
            } else {
                server.supervisors.push(root);
                server.workers.extend(children);
            }
        }
        if server.workers.len() != instances as usize {
            return Err(format!(
                "{} has {} workers instead of {instances}",
                peer.name(),
                server.workers.len()
            )
            .into());
        }
        Ok(server)
    }

    /// The time from exec to the end of the first response.
    pub(crate) fn cold_start(peer: &dyn Peer) -> Result<Duration> {
        let (server, lines) = Self::spawn(peer, 1, None)?;
        let deadline = Instant::now() + STARTING;
        while get(server.addr, "/").is_err() {
            if Instant::now() > deadline {
                return Err(format!("{} does not answer", peer.name()).into());
            }
            thread::sleep(ATTEMPT);
        }
        let answered = clock::monotonic()?;
        let line = wait_for(&lines[0], EXEC_AT)?;
        let started = Duration::from_nanos(line.trim_start_matches(EXEC_AT).parse()?);
        Ok(answered.saturating_sub(started))
    }

    fn spawn(
        peer: &dyn Peer,
        instances: u32,
        cpu: Option<usize>,
    ) -> Result<(Self, Vec<mpsc::Receiver<String>>)> {
        let addr = free_address()?;
        let mut server = Self { addr, roots: Vec::new(), supervisors: Vec::new(), workers: Vec::new() };
        let mut lines = Vec::new();
        for command in peer.commands(addr, instances)? {
            let mut command = launch::command(&command, cpu)?;
            let ours = |name: &str| name.starts_with("WASMCLUSTER_") || name == "PORT";
            for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
                command.env_remove(name);
            }
            // It makes every error of a Rust program walk the stack.
            command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
            // Where no configuration file is found.
            command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::piped());
            let mut root = command.spawn()?;
            lines.extend(root.stderr.take().map(read_lines));
            server.roots.push(root);
        }
        Ok((server, lines))
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = i32> {
        self.supervisors.iter().chain(&self.workers).copied()
    }

    /// Mean memory of a worker in bytes.
    pub(crate) fn worker_pss(&self) -> Result<u64> {
        mean_pss(&self.workers)
    }

    /// Memory of the supervisor in bytes, if there is one.
    pub(crate) fn supervisor_pss(&self) -> Result<Option<u64>> {
        if self.supervisors.is_empty() { Ok(None) } else { mean_pss(&self.supervisors).map(Some) }
    }
}

fn mean_pss(processes: &[i32]) -> Result<u64> {
    let sum: u64 = processes.iter().map(|process| procfs::pss(*process)).sum::<Result<_>>()?;
    Ok(sum / (processes.len() as u64).max(1))
}

impl Drop for Server {
    fn drop(&mut self) {
        let deadline = Instant::now() + ENDING;
        for root in &mut self.roots {
            // Fails only for one that has ended already.
            let _ = root.kill();
            let _ = root.wait();
        }
        // Workers end with their supervisor, but not at the same instant: the next to be measured wants the CPU alone.
        while self.workers.iter().any(|worker| procfs::runs(*worker)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Asks once, and reads to the end.
fn ask(addr: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(STARTING))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Head and body of an answer with status 200.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let answer = ask(addr, path)?;
    let (head, body) = split_head(&answer).ok_or("no response")?;
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!("answered {}", head.escape_ascii()).into());
    }
    Ok((head.to_vec(), body.to_vec()))
}

/// What a server answers.
pub(crate) fn body(server: &Server) -> Result<String> {
    let answer = ask(server.addr, "/")?;
    match response::read(&answer, None) {
        Ok(Read::Whole(body)) => {
            let body = String::from_utf8(body.into_owned());
            Ok(body.map_err(|_| "answers with what is no text, which cannot be compared")?)
        }
        Ok(Read::Partial) => Err("answers with a part of a response".into()),
        Err(wrong) => Err(format!("answers with {}: {}", wrong.name(), answer.escape_ascii()).into()),
    }
}

/// Fails unless a server answers as all are meant to: with `body`, and, given a content type, with that and the headers
/// that bare hyper sends.
pub(crate) fn check_shape(server: &Server, content_type: Option<&str>, body: &str) -> Result<()> {
    let (head, found) = get(server.addr, "/")?;
    let fits = match content_type {
        Some(content_type) => {
            let mut names: Vec<String> = head
                .split(|byte| *byte == b'\n')
                .skip(1)
                .filter_map(|line| {
                    Some(String::from_utf8_lossy(line.split(|byte| *byte == b':').next()?).to_lowercase())
                })
                .collect();
            names.sort();
            found == body.as_bytes()
                && header(&head, "content-type").eq([content_type.as_bytes()])
                && names == ["connection", "content-length", "content-type", "date"]
        }
        // It may have come in chunks.
        None => found.windows(body.len()).any(|part| part == body.as_bytes()),
    };
    if fits {
        return Ok(());
    }
    Err(format!("answers in another shape: {}\n{}", head.escape_ascii(), found.escape_ascii()).into())
}

/// An address that nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Reads what a server says until it ends, so that it never has to wait for somebody to read it.
fn read_lines(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // When nobody listens, it is read all the same.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn wait_for(lines: &mpsc::Receiver<String>, wanted: &str) -> Result<String> {
    let deadline = Instant::now() + STARTING;
    let mut said = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(wanted) => return Ok(line),
            Ok(line) if line.starts_with(EXEC_AT) => {}
            Ok(line) => said = said + "\n" + &line,
            Err(_) => return Err(format!("did not become ready{said}").into()),
        }
    }
}
