//! Frames over a socketpair: what is half read, half written, and the descriptors that ride along. Never blocks.

use super::frame::{Frame, HEADER, Message, PAYLOAD_MAX, Reader};
use crate::host::handles::{self, FDS_MAX};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Bytes read at a time; on the stack, so that an idle channel holds nothing.
const READ_CHUNK: usize = 4096;

/// A buffer that grew past this for one large frame is given back when it is empty.
const KEEP_CAPACITY: usize = 16 << 10;

/// One end of the socketpair, with what is half read and half written. Never blocks.
///
/// The keeper polls it; the daemon registers it by its descriptor (`AsRawFd`), receives when it is readable until
/// [`Received::Nothing`], and flushes when it is writable.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    unparsed: Vec<u8>,
    /// How much of `unparsed` has been taken as frames.
    parsed: usize,
    /// Descriptors that have arrived and whose frames have not been taken.
    arrived: VecDeque<OwnedFd>,
    unsent: VecDeque<Frame>,
    unsent_bytes: usize,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<M> {
    /// One message; there may be more.
    Message(M),
    /// Nothing more for now.
    Nothing,
    /// The peer has gone, and everything it sent has been taken.
    Closed,
}

impl Channel {
    /// Takes over a connected stream socket and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        handles::set_nonblocking(socket.as_fd(), true)?;
        Ok(Self {
            socket,
            unparsed: Vec::new(),
            parsed: 0,
            arrived: VecDeque::new(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
        })
    }

    /// Puts a message in line and sends what the socket takes at once.
    ///
    /// An error of the socket is not reported here but by the next `flush` or `receive`. The line is not bounded: who
    /// sends much looks at [`Self::unsent_bytes`] and stops asking for more.
    pub fn send<M: Message>(&mut self, message: M) -> Result<(), ProtoError> {
        let mut frame = Frame::new();
        message.encode(&mut frame);
        let length = frame.finish()?;
        self.unsent_bytes += length;
        self.unsent.push_back(frame);
        // A failure stays with the socket and is met again by whoever polls it.
        let _later = self.flush();
        Ok(())
    }

    /// Sends what the socket takes; `true` when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while let Some(frame) = self.unsent.front_mut() {
            let mut fds = [self.socket.as_fd(); FDS_MAX];
            let count = frame.fds.len();
            for (slot, fd) in fds.iter_mut().zip(&frame.fds) {
                *slot = fd.as_fd();
            }
            match handles::send_with_fds(
                self.socket.as_fd(),
                &frame.bytes[frame.sent..],
                &fds[..count],
            ) {
                Ok(sent) => {
                    frame.fds.clear();
                    frame.sent += sent;
                    self.unsent_bytes -= sent;
                    if frame.sent == frame.bytes.len() {
                        self.unsent.pop_front();
                    }
                }
                Err(error) if is_full(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Bytes in line that the socket has not taken.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Whether nothing is half read and nothing waits to be sent: another process can go on with the socket.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.unsent.is_empty() && self.arrived.is_empty() && self.parsed == self.unparsed.len()
    }

    /// The next message, reading as needed.
    pub fn receive<M: Message>(&mut self) -> Result<Received<M>, ProtoError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Received::Message(message));
            }
            let mut chunk = [0; READ_CHUNK];
            match handles::receive_with_fds(self.socket.as_fd(), &mut chunk, &mut self.arrived) {
                Ok(0) => return Ok(Received::Closed),
                Ok(count) => self.unparsed.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                // The peer ended before it read everything of ours.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Received::Closed);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message that has already been read.
    fn take<M: Message>(&mut self) -> Result<Option<M>, ProtoError> {
        let rest = &self.unparsed[self.parsed..];
        let Some((header, body)) = rest.split_at_checked(HEADER) else {
            return Ok(self.tidy());
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (kind, fd_count) = (header[4], usize::from(header[5]));
        if length > PAYLOAD_MAX {
            return Err(ProtoError::TooLong(length));
        }
        let Some(payload) = body.get(..length) else {
            return Ok(self.tidy());
        };
        if fd_count > self.arrived.len() {
            return Err(ProtoError::Malformed(kind));
        }
        let fds = self.arrived.drain(..fd_count).collect();
        let mut reader = Reader { rest: payload, fds };
        let message = M::decode(kind, &mut reader).filter(|_| reader.rest.is_empty());
        self.parsed += HEADER + length;
        message.map(Some).ok_or(ProtoError::Malformed(kind))
    }

    /// Drops the taken frames and the memory of a large one; the answer is always "no message".
    fn tidy<M>(&mut self) -> Option<M> {
        self.unparsed.drain(..self.parsed);
        self.parsed = 0;
        if self.unparsed.is_empty() && self.unparsed.capacity() > KEEP_CAPACITY {
            self.unparsed = Vec::new();
        }
        None
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// `ETOOMANYREFS` means that the peer must first take descriptors out of its socket.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(nix::errno::Errno::ETOOMANYREFS as i32)
}

/// What makes a channel unusable. All but `Io` are mistakes of the peer.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// The socket failed.
    #[error("use the channel between keeper and daemon")]
    Io(#[from] io::Error),
    /// A frame longer than [`PAYLOAD_MAX`], ours or the peer's.
    #[error("pass a frame of {0} bytes between keeper and daemon: the limit is {PAYLOAD_MAX}")]
    TooLong(usize),
    /// Bytes that are no frame of this version.
    #[error("understand a frame of kind {0} between keeper and daemon")]
    Malformed(u8),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::spawn::{Plan, SpawnFailure, Stage};
    use crate::keeper::proto::{Ended, Report, Request, Roster, Running, Spawn};
    use std::fs::File;
    use std::os::unix::process::ExitStatusExt;

    fn pair() -> (Channel, Channel) {
        let (one, other) = handles::stream_pair().unwrap();
        (Channel::new(one).unwrap(), Channel::new(other).unwrap())
    }

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    /// What arrives of a message, as text; descriptors have other numbers then.
    fn pass<M: Message + std::fmt::Debug>(message: M) -> String {
        let (mut from, mut to) = pair();
        from.send(message).unwrap();
        let Received::Message(arrived) = to.receive::<M>().unwrap() else {
            panic!("nothing arrived")
        };
        assert!(matches!(to.receive::<M>().unwrap(), Received::Nothing));
        format!("{arrived:?}")
    }

    #[test]
    fn every_request_arrives_as_it_was_sent() {
        let plan = Plan {
            program: c"node".to_owned(),
            argv: vec![c"node".to_owned(), c"app.js".to_owned()],
            env: vec![c"A=1".to_owned()],
            cwd: c"/".to_owned(),
            uid: Some(1),
            gid: None,
            groups: Some(vec![4, 5]),
            umask: Some(0o22),
        };
        let spawn = Spawn {
            run: u64::MAX,
            plan: plan.clone(),
            fds: vec![None, Some(descriptor())],
            keep: vec![("k".to_owned(), descriptor())],
            witness: Some(descriptor()),
            roster: Some(Roster {
                file: descriptor(),
                slot: 77,
                pipes: [1, 2, 3],
            }),
        };
        let arrived = pass(Request::Spawn(Box::new(spawn)));
        assert!(arrived.contains(&format!("{plan:?}")), "{arrived}");
        assert!(arrived.contains("fds: [None, Some(OwnedFd"), "{arrived}");
        assert!(arrived.contains("witness: Some("), "{arrived}");
        assert!(arrived.contains("slot: 77, pipes: [1, 2, 3]"), "{arrived}");
        for request in [
            Request::Hello { version: 7 },
            Request::Ready,
            Request::Signal { run: 1, signal: 15 },
            Request::Discard {
                key: "proc/0/stdout".to_owned(),
            },
            Request::Replace {
                program: c"/x/pm2".to_owned(),
                env: vec![c"A=1".to_owned()],
            },
            Request::Settled { run: 3 },
            Request::Quit,
        ] {
            assert_eq!(format!("{request:?}"), pass(request));
        }
        let adopt = Request::Adopt {
            run: 9,
            pid: 8,
            start: 7,
            watch: descriptor(),
        };
        assert!(pass(adopt).contains("run: 9, pid: 8, start: 7"));
        assert!(
            pass(Request::Store {
                key: "k".to_owned(),
                fd: descriptor()
            })
            .contains("\"k\"")
        );
    }

    #[test]
    fn every_report_arrives_as_it_was_sent() {
        assert!(
            pass(Report::Give {
                key: "k".to_owned(),
                fd: descriptor()
            })
            .contains("\"k\"")
        );
        let ended = Ended {
            run: 3,
            pid: 4,
            status: Some(std::process::ExitStatus::from_raw(9)),
        };
        let failure = SpawnFailure {
            stage: Stage::Cwd,
            errno: 2,
        };
        for report in [
            Report::Hello {
                version: 1,
                keeper: 5,
                exits: vec![ended],
                running: vec![Running {
                    run: 6,
                    pid: 7,
                    start: 8,
                    signal: 15,
                }],
                not_replaced: Some("no".to_owned()),
            },
            Report::GiveEnd,
            Report::Spawned { run: 1, pid: 2 },
            Report::SpawnFailed { run: 1, failure },
            Report::Exited(ended),
            Report::Exited(Ended {
                status: None,
                ..ended
            }),
            Report::Signalled { run: 1, signal: 15 },
            Report::Took {
                version: 3,
                keeper: 4,
            },
            Report::Shutdown,
            Report::ReloadLogs,
            Report::StoreRefused {
                key: "k".to_owned(),
            },
        ] {
            assert_eq!(format!("{report:?}"), pass(report));
        }
    }

    #[test]
    fn a_frame_that_arrives_byte_by_byte_is_whole_at_its_last_byte() {
        let (mut from, mut to) = pair();
        let mut frame = Frame::new();
        Request::Store {
            key: "k".to_owned(),
            fd: descriptor(),
        }
        .encode(&mut frame);
        frame.finish().unwrap();
        let (last, before) = frame.bytes.split_last().unwrap();
        let mut fds = vec![frame.fds[0].as_fd()];
        for byte in before {
            handles::send_with_fds(from.as_fd(), &[*byte], &std::mem::take(&mut fds)).unwrap();
            assert!(matches!(
                to.receive::<Request>().unwrap(),
                Received::Nothing
            ));
        }
        handles::send_with_fds(from.as_fd(), &[*last], &[]).unwrap();
        assert!(matches!(
            to.receive::<Request>().unwrap(),
            Received::Message(Request::Store { .. })
        ));
        from.send(Request::Quit).unwrap();
        crate::host::testing::end(from.as_fd());
        assert!(matches!(
            to.receive::<Request>().unwrap(),
            Received::Message(Request::Quit)
        ));
        assert!(matches!(to.receive::<Request>().unwrap(), Received::Closed));
    }

    #[test]
    fn descriptors_stay_with_their_frames_when_many_are_in_line() {
        // Protects: more frames than the socket takes at once, each with a descriptor that can be told from the others.
        let (mut from, mut to) = pair();
        let sockets: Vec<_> = (0..500).map(|_| std::io::pipe().unwrap()).collect();
        for (index, (_, write)) in sockets.iter().enumerate() {
            let fd = write.try_clone().unwrap().into();
            from.send(Request::Store {
                key: index.to_string(),
                fd,
            })
            .unwrap();
        }
        let inode = |fd: BorrowedFd| nix::sys::stat::fstat(fd).unwrap().st_ino;
        let mut next = 0;
        while next < sockets.len() {
            from.flush().unwrap();
            while let Received::Message(request) = to.receive::<Request>().unwrap() {
                let Request::Store { key, fd } = request else {
                    panic!("{request:?}")
                };
                assert_eq!(key, next.to_string());
                assert_eq!(inode(fd.as_fd()), inode(sockets[next].1.as_fd()));
                next += 1;
            }
        }
        assert_eq!(from.unsent_bytes(), 0);
    }

    #[test]
    fn a_frame_past_the_limit_is_refused_by_both_ends() {
        let (mut from, mut to) = pair();
        let key = "k".repeat(PAYLOAD_MAX);
        assert!(matches!(
            from.send(Request::Discard { key }),
            Err(ProtoError::TooLong(_))
        ));
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&u32::try_from(PAYLOAD_MAX + 1).unwrap().to_le_bytes());
        handles::send_with_fds(from.as_fd(), &header, &[]).unwrap();
        assert!(matches!(
            to.receive::<Request>(),
            Err(ProtoError::TooLong(_))
        ));
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_never_a_promise_of_memory() {
        let none: &[u8] = &[];
        let cases: [(u8, &[u8]); 5] = [
            (0, none),
            (1, &[1, 2]),
            (2, &[0]),
            // A list of four thousand million arguments, of which none is there.
            (3, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]),
            (6, &[1, 0, 0, 0, b'k']),
        ];
        for (kind, payload) in cases {
            let (from, mut to) = pair();
            let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
            let frame = [&length[..], &[kind, 0], payload].concat();
            handles::send_with_fds(from.as_fd(), &frame, &[]).unwrap();
            let answer = to.receive::<Request>();
            assert!(
                matches!(answer, Err(ProtoError::Malformed(found)) if found == kind),
                "{answer:?}"
            );
        }
    }
}
