//! The daemon's end of the socket to the keeper; and to the next keeper, should this one die.
//!
//! A keeper that dies takes no application with it, and nothing that it held: the mirror knows what that was. Once the system
//! says that it has ended, so that nothing more can come of what it was asked, another one is started in its place. Whoever
//! uses the link may go on sending meanwhile.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::estate::{Estate, EstateError};
use super::mirror::{Held, Mirror};
use super::shared::watch;
use crate::host::foreign::Foreign;
use crate::host::handles::{self, Pidfd};
use crate::host::passing::{self, Receiver};
use crate::host::process;
use crate::host::sockets::{self, Accepted, Passed};
use crate::host::tree::Identity;
use crate::keeper::proto::{
    Channel, Ended, ProtoError, Received, Report, Request, Running, Spawn, VERSION,
};

/// A keeper that has closed its channel has this long to end; it gives us as long before it kills us.
const KEEPER_END_MAX: Duration = Duration::from_secs(2);
/// Before the second attempt in a row to start a keeper that does not come up; doubled for each further one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Why the keeper cannot be talked to any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It went before it had given us everything, and the rest went with it.
    #[error("talk to the keeper: it has gone")]
    Closed,
    /// It lives and has closed the channel: it wants another daemon.
    #[error("talk to the keeper: it has closed the channel")]
    Dismissed,
    /// The socket or what came over it.
    #[error(transparent)]
    Proto(#[from] ProtoError),
    /// The socket cannot be waited for.
    #[error("wait for the keeper")]
    Wait(#[from] io::Error),
}

/// What is heard from the keeper, or about it.
#[derive(Debug)]
pub(crate) enum News {
    /// It says so.
    Report(Report),
    /// It gives a descriptor that it stores.
    Given {
        /// The key.
        key: String,
        /// The descriptor.
        fd: Held,
    },
    /// It was killed before it began this run, and nobody will.
    NeverSpawned {
        /// The run.
        run: u64,
    },
    /// Another one has taken over.
    Keeper {
        /// Its number: the same where it has become another executable.
        now: i32,
        /// That of the one before.
        before: i32,
    },
    /// Another one could not be started yet.
    Trouble(EstateError),
}

/// Requests go out at once or are kept until they can; reports are waited for.
#[derive(Debug)]
pub(crate) struct Link {
    state: State,
    mirror: Mirror,
    estate: Estate,
    /// To tell its end, once we know who it is.
    keeper: Option<Pidfd>,
    keeper_pid: i32,
    /// All that it stores has been given to us.
    is_complete: bool,
    /// Keepers in a row that did not come up.
    failures: u32,
}

#[derive(Debug)]
enum State {
    /// There is a keeper.
    Up(AsyncFd<Channel>),
    /// It is ending, or has ended.
    Ending {
        process: AsyncFd<Pidfd>,
        until: Instant,
    },
    /// There is none; another one is started then.
    Alone { until: Instant },
}

impl Link {
    /// Takes over the socket the keeper gave us.
    pub(crate) fn new(socket: OwnedFd, estate: Estate) -> Result<Self, LinkError> {
        let mut link = Self {
            state: State::Up(open(socket)?),
            mirror: Mirror::default(),
            estate,
            keeper: None,
            keeper_pid: 0,
            is_complete: false,
            failures: 0,
        };
        link.send(Request::Hello { version: VERSION })?;
        Ok(link)
    }

    /// Sends without waiting. A lost keeper shows in `receive`, so only a request that can never be sent is an error.
    pub(crate) fn send(&mut self, request: Request) -> Result<(), ProtoError> {
        self.mirror.said(&request);
        match &mut self.state {
            State::Up(channel) => channel.get_mut().send(request),
            State::Ending { .. } | State::Alone { .. } => Ok(()),
        }
    }

    /// Whether the socket has taken everything. What was said to a keeper that has gone has been taken note of.
    pub(crate) fn is_flushed(&self) -> bool {
        match &self.state {
            State::Up(channel) => channel.get_ref().unsent_bytes() == 0,
            State::Ending { .. } | State::Alone { .. } => true,
        }
    }

    /// Has a descriptor stored. The keeper has it as long as the daemon does not discard it.
    pub(crate) fn store(&mut self, key: String, fd: OwnedFd) -> io::Result<()> {
        let copy = fd.try_clone()?;
        // The keeper says if it has no room.
        let _refused = self.mirror.store.put(key.clone(), Rc::new(fd));
        self.send(Request::Store { key, fd: copy })
            .map_err(io::Error::other)
    }

    /// Accepts a connection for each of these keys, as long as some wait, and has them stored. Also says why there were not more.
    ///
    /// What is accepted is stored, also if we are killed in between; but for keepers that do not read, and while there is none.
    pub(crate) fn accept(
        &mut self,
        listener: BorrowedFd,
        keys: &[String],
    ) -> (Vec<Held>, Option<Errno>) {
        let shielded = self.accept_shielded(listener, keys);
        let done = shielded.unwrap_or_else(|| sockets::accept_all(listener, keys.len()));
        let mut accepted = Vec::with_capacity(done.connections.len());
        for (Passed { fd, is_passed }, key) in done.connections.into_iter().zip(keys) {
            if !is_passed && let Ok(fd) = fd.try_clone() {
                let key = key.clone();
                // A key that short is never too long.
                let _small = self.send(Request::Store { key, fd });
            }
            let fd = Rc::new(fd);
            // The keeper says if it has no room.
            let _refused = self.mirror.store.put(key.clone(), Rc::clone(&fd));
            accepted.push(fd);
        }
        (accepted, done.end)
    }

    fn accept_shielded(&mut self, listener: BorrowedFd, keys: &[String]) -> Option<Accepted> {
        let State::Up(channel) = &mut self.state else {
            return None;
        };
        let channel = channel.get_mut();
        // In the middle of something else nothing can be said.
        if !channel.flush().unwrap_or(false) {
            return None;
        }
        let frames = keys.iter().map(|key| Request::storing(key));
        let frames = frames.collect::<Result<Vec<_>, _>>().ok()?;
        let receivers: Vec<Receiver> = frames
            .iter()
            .map(|frame| Receiver {
                socket: channel.as_fd(),
                message: frame,
            })
            .collect();
        passing::accept_and_pass_shielded(listener, &receivers).ok()
    }

    /// Has a process started, and our ends of its descriptors stored with it.
    pub(crate) fn spawn(&mut self, mut spawn: Spawn, held: Vec<(String, Held)>) -> io::Result<()> {
        let copies = held
            .iter()
            .map(|(key, fd)| Ok((key.clone(), fd.try_clone()?)));
        spawn.keep = copies.collect::<io::Result<_>>()?;
        let (ours, theirs) = handles::witness()?;
        spawn.witness = Some(theirs);
        let run = spawn.run;
        self.send(Request::Spawn(Box::new(spawn)))
            .map_err(io::Error::other)?;
        self.mirror.ask(run, ours, held);
        Ok(())
    }

    /// Has the keeper look after a process that is nobody's any more.
    pub(crate) fn adopt(&mut self, run: u64, process: &Foreign) -> io::Result<Running> {
        let Identity { pid, start } = process.identity;
        let running = Running {
            run,
            pid,
            start,
            signal: 0,
        };
        self.mirror.adopt(running);
        let watch = process.as_fd().try_clone_to_owned()?;
        self.send(Request::Adopt {
            run,
            pid,
            start,
            watch,
        })
        .map_err(io::Error::other)?;
        Ok(running)
    }

    /// The process of a run; its start time is `u64::MAX` if it had gone when it was looked at.
    pub(crate) fn root(&self, run: u64) -> Option<Identity> {
        self.mirror.root(run)
    }

    /// How many runs have a process.
    pub(crate) fn running(&self) -> usize {
        self.mirror.running().len()
    }

    /// Appends what is heard of the keeper to `news`, at least once awake. Cancel-safe: it waits before it takes anything.
    pub(crate) async fn receive(&mut self, news: &mut VecDeque<News>) -> Result<(), LinkError> {
        loop {
            match &mut self.state {
                State::Up(_) => {
                    if !self.listen(news).await? {
                        return Ok(());
                    }
                    self.lose()?;
                    if !news.is_empty() {
                        return Ok(());
                    }
                }
                State::Ending { process, until } => {
                    match timeout_at(*until, process.readable()).await {
                        Ok(Ok(_)) => self.begin_anew(news),
                        Ok(Err(error)) => return Err(error.into()),
                        Err(_) => return Err(LinkError::Dismissed),
                    }
                }
                State::Alone { until } => {
                    sleep_until(*until).await;
                    self.begin_anew(news);
                }
            }
            if !news.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what the keeper says. True when it has gone; what it said before is in `news`.
    async fn listen(&mut self, news: &mut VecDeque<News>) -> Result<bool, LinkError> {
        let State::Up(channel) = &mut self.state else {
            return Ok(true);
        };
        let interest = if channel.get_ref().unsent_bytes() > 0 {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let mut guard = channel.ready_mut(interest).await?;
        if guard.ready().is_writable() {
            // An error means that it has gone: what it said before is read first.
            if !guard.get_inner_mut().flush().unwrap_or(false) {
                guard.clear_ready_matching(Ready::WRITABLE);
            }
        }
        if !guard.ready().is_readable() && !guard.ready().is_read_closed() {
            return Ok(false);
        }
        loop {
            match guard.get_inner_mut().receive()? {
                Received::Message(report) => {
                    self.mirror.heard(&report);
                    let heard = match report {
                        Report::Give { key, fd } => {
                            let fd = Rc::new(fd);
                            let _refused = self.mirror.store.put(key.clone(), Rc::clone(&fd));
                            News::Given { key, fd }
                        }
                        Report::Took { keeper, .. } => {
                            self.failures = 0;
                            let before = std::mem::replace(&mut self.keeper_pid, keeper);
                            let now = keeper;
                            News::Keeper { now, before }
                        }
                        report => News::Report(report),
                    };
                    if let News::Report(Report::Hello { keeper, .. }) = &heard {
                        self.keeper_pid = *keeper;
                        self.keeper = Pidfd::open(*keeper).ok();
                    }
                    self.is_complete |= matches!(heard, News::Report(Report::GiveEnd));
                    news.push_back(heard);
                }
                Received::Nothing => {
                    guard.clear_ready_matching(Ready::READABLE);
                    return Ok(false);
                }
                Received::Closed => return Ok(true),
            }
        }
    }

    /// The channel is of no use any more; what is in line on it, or unread at its other end, is destroyed with it.
    fn lose(&mut self) -> Result<(), LinkError> {
        let process = self.keeper.take().filter(|_| self.is_complete);
        let process = process.ok_or(LinkError::Closed)?;
        self.state = State::Ending {
            process: watch(process, Interest::READABLE)?,
            until: Instant::now() + KEEPER_END_MAX,
        };
        Ok(())
    }

    /// There is no keeper: starts one, and says what came of everything that was under way.
    fn begin_anew(&mut self, news: &mut VecDeque<News>) {
        // Keepers that we have started are our children.
        while process::reap().is_some() {}
        let fates = self.mirror.decide();
        for (run, pid) in fates.spawned {
            news.push_back(News::Report(Report::Spawned { run, pid }));
        }
        for run in fates.never {
            news.push_back(News::NeverSpawned { run });
        }
        let exponent = self.failures.min(8);
        self.failures += 1;
        match self.estate.start_keeper(&self.mirror) {
            Ok(heir) => match open(heir.channel) {
                Ok(mut channel) => {
                    for (run, signal) in self.mirror.signals() {
                        // It is sent if it can be; a keeper that has gone already is met again.
                        let _small = channel.get_mut().send(Request::Signal { run, signal });
                    }
                    let _small = channel.get_mut().send(Request::Hello { version: VERSION });
                    self.state = State::Up(channel);
                    self.keeper = Some(heir.process);
                    for (run, pid) in heir.gone {
                        let status = None;
                        let ended = Report::Exited(Ended { run, pid, status });
                        self.mirror.heard(&ended);
                        news.push_back(News::Report(ended));
                    }
                    return;
                }
                Err(error) => news.push_back(News::Trouble(io::Error::other(error).into())),
            },
            Err(error) => news.push_back(News::Trouble(error)),
        }
        let pause = RETRY_MAX.min(RETRY_FIRST * 2_u32.pow(exponent));
        self.state = State::Alone {
            until: Instant::now() + pause,
        };
    }

    /// Waits until everything has been sent. An error if there is nobody to send it to.
    pub(crate) async fn flush(&mut self) -> Result<(), LinkError> {
        let State::Up(channel) = &mut self.state else {
            return Err(LinkError::Closed);
        };
        loop {
            if channel.get_mut().flush()? {
                return Ok(());
            }
            let mut guard = channel.writable_mut().await?;
            guard.clear_ready();
        }
    }
}

fn open(socket: OwnedFd) -> Result<AsyncFd<Channel>, LinkError> {
    let channel = Channel::new(socket)?;
    Ok(watch(channel, Interest::READABLE | Interest::WRITABLE)?)
}
