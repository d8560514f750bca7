//! A network device whose far end is a file: the kernel's packets are read from it, and what is written to it has
//! arrived.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_short};

/// What the device is called in its namespace.
pub(super) const NAME: &str = "delayed";

/// As many packets as the kernel keeps until they are read. More than tests have under way; what is too much is dropped.
const QUEUE: c_int = 10_000;

/// A device in the namespace of this thread, up, which is `local` and leads to `peer`. It is gone when the file is closed.
pub(super) fn open(local: Ipv4Addr, peer: Ipv4Addr) -> io::Result<File> {
    let tun =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    configure(&tun, NAME, libc::TUNSETIFF, flags(libc::IFF_TUN | libc::IFF_NO_PI))?;
    // Devices are configured through a socket, whichever.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    configure(&socket, NAME, libc::SIOCSIFADDR as libc::Ioctl, address(local))?;
    configure(&socket, NAME, libc::SIOCSIFDSTADDR as libc::Ioctl, address(peer))?;
    configure(&socket, NAME, libc::SIOCSIFFLAGS as libc::Ioctl, flags(libc::IFF_UP | libc::IFF_RUNNING))?;
    // Root of a user namespace alone is refused this, and has the 500 that the kernel begins with.
    let _ = configure(&socket, NAME, libc::SIOCSIFTXQLEN as libc::Ioctl, Setting { ifru_metric: QUEUE });
    Ok(tun)
}

/// Has the loopback of this thread's namespace up, with an address of its own besides.
pub(super) fn loopback(besides: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    configure(&socket, "lo", libc::SIOCSIFFLAGS as libc::Ioctl, flags(libc::IFF_UP | libc::IFF_RUNNING))?;
    configure(&socket, "lo:1", libc::SIOCSIFADDR as libc::Ioctl, address(besides))
}

/// One property of a device; which one, the request says.
type Setting = libc::__c_anonymous_ifr_ifru;

fn flags(flags: c_int) -> Setting {
    Setting { ifru_flags: c_short::try_from(flags).expect("flags that fit") }
}

fn address(addr: Ipv4Addr) -> Setting {
    // A sockaddr_in, as bytes: the port, which means nothing here, and the address.
    let mut data: [c_char; 14] = [0; 14];
    for (byte, octet) in data[2..].iter_mut().zip(addr.octets()) {
        *byte = octet.cast_signed() as c_char;
    }
    let sa_family = libc::sa_family_t::try_from(libc::AF_INET).expect("a family that fits");
    Setting { ifru_addr: libc::sockaddr { sa_family, sa_data: data } }
}

/// Sets one property of a device.
#[expect(unsafe_code, reason = "no safe crate makes a TUN device without bringing a runtime of its own")]
fn configure(file: &impl AsFd, name: &str, request: libc::Ioctl, setting: Setting) -> io::Result<()> {
    let mut named = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: setting };
    for (byte, letter) in named.ifr_name.iter_mut().zip(name.bytes()) {
        *byte = letter.cast_signed() as c_char;
    }
    // SAFETY: all requests of this module take a pointer to an ifreq, of which they read the name and their own field of
    // the union, and write at most the name. It lives until the call returns, and the descriptor is borrowed as long.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request, &raw mut named) };
    Errno::result(result)?;
    Ok(())
}
