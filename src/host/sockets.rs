//! Listening sockets for applications: bound here, accepted from here or there, shared by several programs.

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    UnixAddr, bind, getsockname, setsockopt, socket, sockopt,
};
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::ptr;

/// How a TCP port is shared with other sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Not at all.
    Alone,
    /// Nobody may be there; others can join afterwards.
    First,
    /// With those who are there and can be joined.
    Join,
}

/// A listening TCP socket and its address.
///
/// Without a host it takes connections of both families, or of IPv4 where there is no IPv6. Non-blocking, as everything here:
/// the flag belongs to the open file, so it is the same for every program that gets a copy.
pub fn listen_tcp(
    host: Option<&str>,
    port: u16,
    v6_only: bool,
    backlog: u32,
    sharing: Sharing,
) -> Result<(OwnedFd, SocketAddr), Errno> {
    let Some(host) = host else {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let tried = listen_at(both, false, backlog, sharing);
        return tried.or_else(|_| {
            let old = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            listen_at(old, false, backlog, sharing)
        });
    };
    listen_at(address(host, port)?, v6_only, backlog, sharing)
}

fn listen_at(
    address: SocketAddr,
    v6_only: bool,
    backlog: u32,
    sharing: Sharing,
) -> Result<(OwnedFd, SocketAddr), Errno> {
    let fd = socket(
        family(address),
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if sharing == Sharing::Join {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind_to(&fd, address, v6_only)?;
    if sharing == Sharing::First {
        // Set after binding: so it cannot slip in beside a stranger who has set it too, and yet can be joined.
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    listen(&fd, backlog)?;
    let name = name_of(&fd)?;
    Ok((fd, name))
}

/// A listening Unix socket. A path that begins with NUL is a name without a file. What is at the path already is in the way.
pub fn listen_unix(
    path: &str,
    backlog: u32,
    readable_all: bool,
    writable_all: bool,
) -> Result<OwnedFd, Errno> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    if let Some(name) = path.strip_prefix('\0') {
        bind(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        listen(&fd, backlog)?;
        return Ok(fd);
    }
    let path = Path::new(path);
    match UnixAddr::new(path) {
        Ok(address) => bind(fd.as_raw_fd(), &address)?,
        Err(Errno::ENAMETOOLONG) => bind_long(&fd, path)?,
        Err(errno) => return Err(errno),
    }
    if readable_all || writable_all {
        let read = if readable_all { 0o444 } else { 0 };
        let write = if writable_all { 0o222 } else { 0 };
        let allowed = std::fs::metadata(path).and_then(|found| {
            let mut mode = found.permissions();
            mode.set_mode(mode.mode() | read | write);
            std::fs::set_permissions(path, mode)
        });
        allowed.map_err(|error| errno_of(&error))?;
    }
    listen(&fd, backlog)?;
    Ok(fd)
}

/// A path longer than an address, by way of its folder's descriptor.
fn bind_long(fd: &OwnedFd, path: &Path) -> Result<(), Errno> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EINVAL);
    };
    let folder = File::open(folder).map_err(|error| errno_of(&error))?;
    let mut short = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    short.extend_from_slice(name.as_bytes());
    let short = std::ffi::OsStr::from_bytes(&short);
    bind(fd.as_raw_fd(), &UnixAddr::new(Path::new(short))?)
}

/// A bound UDP socket and its address. Without a host: all addresses of the family.
pub fn bind_udp(
    host: Option<&str>,
    is_v6: bool,
    port: u16,
    v6_only: bool,
    reuse: bool,
) -> Result<(OwnedFd, SocketAddr), Errno> {
    let address = match host {
        Some(host) => address(host, port)?,
        None if is_v6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        None => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
    };
    let fd = socket(
        family(address),
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    if reuse {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind_to(&fd, address, v6_only)?;
    let name = name_of(&fd)?;
    Ok((fd, name))
}

/// The next waiting connection, non-blocking; `EAGAIN` if there is none.
pub fn accept(listener: BorrowedFd) -> Result<OwnedFd, Errno> {
    loop {
        // SAFETY: null pointers mean that nobody wants to know the peer's address.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                ptr::null_mut(),
                ptr::null_mut(),
                libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            )
        };
        match Errno::result(fd) {
            // SAFETY: a new descriptor that nobody else owns.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            // Whoever it was has gone again.
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct Passed {
    /// It.
    pub fd: OwnedFd,
    /// Whether somebody else has it as well.
    pub is_passed: bool,
}

/// What came of accepting several.
#[derive(Debug)]
pub struct Accepted {
    /// In the order in which they were made.
    pub connections: Vec<Passed>,
    /// Why there are not more of them. `EAGAIN`: no more wait.
    pub end: Option<Errno>,
}

impl Accepted {
    /// With room for as many.
    #[must_use]
    pub fn with_room(max: usize) -> Self {
        Self {
            connections: Vec::with_capacity(max),
            end: None,
        }
    }

    /// Accepts up to `max` connections, which is no more than there is room for; `pass` gets each at once, and its number, and says
    /// whether it passed it on. Allocates nothing and takes no lock itself.
    pub fn fill(
        &mut self,
        listener: BorrowedFd,
        max: usize,
        pass: impl Fn(usize, BorrowedFd) -> bool,
    ) {
        for number in 0..max {
            match accept(listener) {
                Ok(fd) => {
                    let is_passed = pass(number, fd.as_fd());
                    self.connections.push(Passed { fd, is_passed });
                }
                Err(errno) => {
                    self.end = Some(errno);
                    break;
                }
            }
        }
    }
}

/// The next `max` waiting connections, or fewer if fewer wait.
#[must_use]
pub fn accept_all(listener: BorrowedFd, max: usize) -> Accepted {
    let mut accepted = Accepted::with_room(max);
    accepted.fill(listener, max, |_, _| false);
    accepted
}

/// How many connections wait at a listening TCP socket.
pub fn waiting_connections(listener: BorrowedFd) -> Result<u32, Errno> {
    // SAFETY: all members are numbers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes into `info`, which has that many.
    let result = unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    // Of a listening socket, this member is the length of its accept queue.
    Ok(info.tcpi_unacked)
}

/// Has the kernel give the connections of one address always to the same one of the `sockets` that share the listener's port.
///
/// They are numbered in the order in which they were bound; when one is closed, the last takes its number, and this is to be called
/// again. A program of the kernel's packet filter does it, which any user may attach to a socket of his own.
#[cfg(target_os = "linux")]
pub fn steer_by_source(listener: BorrowedFd, sockets: u32) -> Result<(), Errno> {
    const fn step(code: u32, k: u32) -> libc::sock_filter {
        jump(code, k, 0, 0)
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "all codes are of sixteen bits"
    )]
    const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
        let code = code as u16;
        libc::sock_filter { code, jt, jf, k }
    }
    /// From here on offsets count from the IP header.
    const IP: u32 = libc::SKF_NET_OFF.cast_unsigned();
    const BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const TO_X: u32 = libc::BPF_MISC | libc::BPF_TAX;
    const XOR: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X;
    const BY: u32 = libc::BPF_ALU | libc::BPF_K;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    /// The golden ratio as a fraction of 2³²: spreads neighbours over the upper bits.
    const SPREAD: u32 = 0x9E37_79B1;

    let mut program = [
        step(BYTE, IP),
        step(BY | libc::BPF_RSH, 4),
        jump(EQUAL, 6, 2, 0),
        // Version 4: the source is at 12.
        step(WORD, IP + 12),
        step(libc::BPF_JMP | libc::BPF_JA, 10),
        // Version 6: four words from 8 on.
        step(WORD, IP + 8),
        step(TO_X, 0),
        step(WORD, IP + 12),
        step(XOR, 0),
        step(TO_X, 0),
        step(WORD, IP + 16),
        step(XOR, 0),
        step(TO_X, 0),
        step(WORD, IP + 20),
        step(XOR, 0),
        step(BY | libc::BPF_MUL, SPREAD),
        step(BY | libc::BPF_RSH, 16),
        step(BY | libc::BPF_MOD, sockets.max(1)),
        step(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let attached = libc::sock_fprog {
        len: length,
        filter: program.as_mut_ptr(),
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    // SAFETY: the kernel reads the two members of `attached` and the `len` instructions it points to, which live until it returns.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const attached).cast(),
            size,
        )
    };
    Errno::result(result).map(drop)
}

/// Elsewhere nothing chooses by the client.
#[cfg(not(target_os = "linux"))]
pub fn steer_by_source(_listener: BorrowedFd, _sockets: u32) -> Result<(), Errno> {
    Err(Errno::ENOTSUP)
}

fn listen(fd: &OwnedFd, backlog: u32) -> Result<(), Errno> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: takes a descriptor, which is open, and a number.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Errno> {
    let Some((host, zone)) = host.split_once('%') else {
        let host: IpAddr = host.parse().map_err(|_| Errno::EINVAL)?;
        return Ok(SocketAddr::new(host, port));
    };
    let host: Ipv6Addr = host.parse().map_err(|_| Errno::EINVAL)?;
    let zone = zone_number(zone).ok_or(Errno::EINVAL)?;
    Ok(std::net::SocketAddrV6::new(host, port, 0, zone).into())
}

/// The number of a network interface, given by name or number.
fn zone_number(zone: &str) -> Option<u32> {
    let path = format!("/sys/class/net/{zone}/ifindex");
    zone.parse()
        .ok()
        .or_else(|| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}

fn bind_to(fd: &OwnedFd, address: SocketAddr, v6_only: bool) -> Result<(), Errno> {
    let raw = fd.as_raw_fd();
    match address {
        SocketAddr::V4(address) => bind(raw, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => {
            setsockopt(fd, sockopt::Ipv6V6Only, &v6_only)?;
            bind(raw, &SockaddrIn6::from(address))
        }
    }
}

fn name_of(fd: &OwnedFd) -> Result<SocketAddr, Errno> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if let Some(name) = name.as_sockaddr_in() {
        return Ok(SocketAddr::from((name.ip(), name.port())));
    }
    let name = name.as_sockaddr_in6().ok_or(Errno::EAFNOSUPPORT)?;
    debug_assert!(name.family() == Some(AddressFamily::Inet6));
    Ok(SocketAddr::from((name.ip(), name.port())))
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The file that a Unix socket is bound to.
#[must_use]
pub fn path(socket: BorrowedFd) -> Option<std::path::PathBuf> {
    let name = nix::sys::socket::getsockname::<nix::sys::socket::UnixAddr>(socket.as_raw_fd());
    name.ok()?.path().map(std::path::Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::until;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn first(port: u16) -> Result<(OwnedFd, SocketAddr), Errno> {
        listen_tcp(Some("127.0.0.1"), port, false, 511, Sharing::First)
    }

    // Protects: one more socket for our own slots is welcome, a stranger's port is not ours to share, nor ours a stranger's.
    #[test]
    fn a_port_is_shared_among_ourselves_and_with_nobody_else() {
        let (_one, name) = first(0).unwrap();
        let port = name.port();
        let join = || listen_tcp(Some("127.0.0.1"), port, false, 511, Sharing::Join);
        let (_two, joined) = join().unwrap();
        let (_three, _) = join().unwrap();
        assert_eq!(joined.port(), port);
        assert_eq!(first(port).err(), Some(Errno::EADDRINUSE));
        let stranger = TcpListener::bind(("127.0.0.1", port));
        assert_eq!(stranger.unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap().port();
        assert_eq!(first(taken).err(), Some(Errno::EADDRINUSE));
    }

    #[test]
    fn waiting_connections_are_counted_and_accepted() {
        let (fd, name) = first(0).unwrap();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(name).unwrap()).collect();
        // A client is connected a moment before the listener knows.
        until(|| waiting_connections(fd.as_fd()) == Ok(3));
        for _ in &clients {
            accept(fd.as_fd()).unwrap();
        }
        assert_eq!(waiting_connections(fd.as_fd()), Ok(0));
        assert_eq!(accept(fd.as_fd()).err(), Some(Errno::EAGAIN));
    }

    // Protects: `sticky`. One client always comes to the same socket, and different ones are spread over all of them.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_port_that_is_steered_knows_its_clients_by_their_addresses() {
        let both = |sharing, port| listen_tcp(None, port, false, 511, sharing).unwrap();
        let (one, name) = both(Sharing::First, 0);
        let port = name.port();
        let sockets = [
            one,
            both(Sharing::Join, port).0,
            both(Sharing::Join, port).0,
        ];
        steer_by_source(sockets[0].as_fd(), 3).unwrap();
        let mut reached = [false; 3];
        for client in 1..=24 {
            let address = Ipv4Addr::new(127, 0, 0, client);
            let before: Vec<u32> = lengths(&sockets);
            for _ in 0..4 {
                let fd = socket(
                    AddressFamily::Inet,
                    SockType::Stream,
                    SockFlag::empty(),
                    None,
                );
                let fd = fd.unwrap();
                bind(
                    fd.as_raw_fd(),
                    &SockaddrIn::from(std::net::SocketAddrV4::new(address, 0)),
                )
                .unwrap();
                let server = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
                nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrIn::from(server)).unwrap();
            }
            let mut by = Vec::new();
            until(|| {
                let grown: Vec<u32> = lengths(&sockets);
                by = grown.iter().zip(&before).map(|(a, b)| a - b).collect();
                by.iter().sum::<u32>() == 4
            });
            let at = by.iter().position(|more| *more == 4);
            reached[at.expect("all four at one socket")] = true;
        }
        assert_eq!(reached, [true; 3]);
        if name.is_ipv6() {
            let _client = TcpStream::connect(("::1", port)).unwrap();
        }
    }

    fn lengths(sockets: &[OwnedFd]) -> Vec<u32> {
        let length = |fd: &OwnedFd| waiting_connections(fd.as_fd()).unwrap();
        sockets.iter().map(length).collect()
    }

    #[test]
    fn without_a_host_both_families_are_served() {
        let (_fd, name) = listen_tcp(None, 0, false, 511, Sharing::First).unwrap();
        TcpStream::connect(("127.0.0.1", name.port())).unwrap();
        if name.is_ipv6() {
            TcpStream::connect(("::1", name.port())).unwrap();
        }
    }

    #[test]
    fn unix_sockets_have_the_asked_mode_and_any_length_of_path() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(90));
        std::fs::create_dir(&long).unwrap();
        let path = long.join("server.sock");
        let text = path.to_str().unwrap();
        let _fd = listen_unix(text, 511, true, true).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o666, 0o666);
        assert_eq!(
            listen_unix(text, 511, false, false).err(),
            Some(Errno::EADDRINUSE)
        );
    }
}
