//! Somebody who is asked for the addresses of names, and answers what a test wants.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// A name server on the loopback, at the port where they are. It ends with the process, and knows nobody else.
#[derive(Debug)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>);

/// Identification, flags, and how many questions, answers, authorities and others there are.
const HEADER: usize = 12;

/// Kinds of records.
const A: u16 = 1;
const AAAA: u16 = 28;

impl Names {
    pub(super) fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?;
        let known = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let names = Self(Arc::clone(&known));
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                if let Some(answer) = answer(&question[..length], &known.lock().unwrap()) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(names)
    }

    /// Has a name lead to these addresses from now on.
    pub(crate) fn lead(&self, name: &str, addresses: &[IpAddr]) {
        self.0.lock().unwrap().insert(name.to_owned(), addresses.to_owned());
    }
}

/// As RFC 1035 has it. None is for what is no question.
fn answer(question: &[u8], known: &BTreeMap<String, Vec<IpAddr>>) -> Option<Vec<u8>> {
    const RESPONSE: [u8; 2] = [0x81, 0x80];
    const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
    let mut rest = question.get(HEADER..)?;
    let mut labels = Vec::new();
    loop {
        let (&length, after) = rest.split_first()?;
        rest = after.get(usize::from(length)..)?;
        if length == 0 {
            break;
        }
        labels.push(str::from_utf8(&after[..usize::from(length)]).ok()?.to_ascii_lowercase());
    }
    let kind = u16::from_be_bytes(*rest.first_chunk()?);
    let asked = &question[HEADER..question.len() - rest.len() + 4];
    let addresses = known.get(&labels.join("."));
    let records: Vec<_> =
        addresses.into_iter().flatten().filter_map(|address| record(*address, kind)).collect();
    let flags = if addresses.is_some() { RESPONSE } else { NO_SUCH_NAME };
    let counts = [1, u16::try_from(records.len()).ok()?, 0, 0].map(u16::to_be_bytes);
    Some([&question[..2], &flags, &counts.concat(), asked, &records.concat()].concat())
}

/// One address of the name that was asked for, not to be kept by anybody, if it is of this kind.
fn record(address: IpAddr, kind: u16) -> Option<Vec<u8>> {
    const NAME: [u8; 2] = [0xc0, HEADER as u8];
    const INTERNET: u16 = 1;
    let (own, data) = match address {
        IpAddr::V4(address) => (A, address.octets().to_vec()),
        IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
    };
    let length = u16::try_from(data.len()).ok()?;
    let fixed = [&own.to_be_bytes()[..], &INTERNET.to_be_bytes(), &[0; 4], &length.to_be_bytes()].concat();
    (own == kind).then(|| [&NAME[..], &fixed, &data].concat())
}
