//! One daemon's life: which executable, its channel, what it has been given, and until when it must do something.

use super::launch::{self, Launched};
use super::proto::{Channel, DaemonLeft, Report};
use super::store::Store;
use crate::host::foreign::Foreign;
use crate::host::handles::{self, Pidfd};
use crate::host::spawn::{self, Gifts, OpenFiles, Plan};
use crate::host::tree::Identity;
use crate::host::{process, signal};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Our own executable, even when its file has been removed or replaced.
const OURSELVES: &CStr = c"/proc/self/exe";

/// How long a replacement may take to become ready before the old executable is started again.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);

/// The daemon, or when there will be one.
#[derive(Debug)]
pub(super) enum Daemon {
    /// None yet or no more; the next one starts then.
    Due(Instant),
    /// A process that has not been reaped.
    Up(Box<Serving>),
}

/// A daemon that lives, or has ended without being reaped.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) pid: i32,
    /// One that has started its keeper is not our child.
    pub(super) foreign: Option<Foreign>,
    /// `None` when the daemon has closed it, or does not speak our language.
    pub(super) channel: Option<Channel>,
    pub(super) since: Instant,
    /// Both its sockets are bound.
    pub(super) is_ready: bool,
    /// When it is killed unless something happens before: a trial's readiness, an announced exit.
    pub(super) deadline: Option<Instant>,
    /// What the log holds from here on is this daemon's.
    pub(super) log_start: u64,
    giving: Giving,
}

/// How far the stored descriptors have been given.
#[derive(Debug)]
enum Giving {
    /// Next comes the one after this key.
    After(Option<String>),
    /// All of them.
    Done,
}

/// Starts a daemon. The error is a text for the log.
pub(super) fn start(
    launched: &Launched,
    program: &Program,
    open_files: Option<OpenFiles>,
) -> Result<Serving, String> {
    let (ours, theirs) = handles::stream_pair().map_err(|error| error.to_string())?;
    let ready = launched.ready.for_daemon();
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| error.to_string());
    let plan = Plan {
        program: program.path().to_owned(),
        argv: vec![
            c"pm2".to_owned(),
            c"__daemon".to_owned(),
            text(launched.home.root.as_os_str().as_bytes())?,
        ],
        env: launch::environment(
            &launched.home,
            &launch::daemon_descriptors(ready.map(|(variable, _)| variable)),
            program.env(),
        ),
        ..Plan::default()
    };
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let fds = [
        None,
        Some(stdout.as_fd()),
        Some(stderr.as_fd()),
        Some(theirs.as_fd()),
        ready.map(|(_, fd)| fd),
        // The home stays locked while a daemon lives, even if its keeper does not.
        Some(launched.lock.as_fd()),
        launched.tie.as_ref().map(AsFd::as_fd),
    ];
    let gifts = Gifts {
        fds: &fds,
        open_files,
        ..Gifts::default()
    };
    let log_start = launch::log_end(&launched.home);
    let pid = spawn::spawn(&plan, &gifts).map_err(|failure| {
        let error = io::Error::from_raw_os_error(failure.errno);
        format!("{:?}: {error}", failure.stage)
    })?;
    launch::note_heir(launched, pid);
    let since = Instant::now();
    Ok(Serving {
        pid,
        foreign: None,
        channel: Some(Channel::new(ours).map_err(|error| error.to_string())?),
        since,
        is_ready: false,
        deadline: program.is_on_trial().then(|| since + TRIAL_LIMIT),
        log_start,
        giving: Giving::After(None),
    })
}

impl Serving {
    /// Takes over a daemon that has everything that is stored.
    pub(super) fn take_over(left: DaemonLeft) -> io::Result<Self> {
        let own = |number| process::inherited(number).ok_or(io::ErrorKind::NotFound);
        let identity = Identity {
            pid: left.pid,
            start: left.start,
        };
        let watch = left.watch.map(own).transpose()?;
        Ok(Self {
            pid: left.pid,
            foreign: watch.map(|fd| Foreign::of(identity, Pidfd::of(fd))),
            channel: Some(Channel::new(own(left.channel)?).map_err(io::Error::other)?),
            since: Instant::now(),
            is_ready: left.is_ready,
            deadline: None,
            log_start: left.log_start,
            giving: Giving::Done,
        })
    }

    /// Ends the process.
    pub(super) fn kill(&self, number: i32) {
        let _gone = match &self.foreign {
            Some(foreign) => foreign.signal(number),
            None => signal::send(self.pid, number),
        };
    }

    /// Whether all that is stored has been given.
    pub(super) fn has_everything(&self) -> bool {
        matches!(self.giving, Giving::Done)
    }

    /// Puts a report in line. Nothing happens when the channel is gone: the daemon is on its way out.
    pub(super) fn report(&mut self, report: Report) {
        let sent = self.channel.as_mut().map(|channel| channel.send(report));
        if let Some(Err(error)) = sent {
            launch::log(&format!("failed to {error}"));
        }
    }

    /// The channel is of no use any more; the process must end within `limit`.
    pub(super) fn close(&mut self, limit: Duration) {
        self.channel = None;
        self.deadline = Some(Instant::now() + limit);
    }

    /// Gives stored descriptors as fast as they are taken, one in the line at a time: copies cost descriptors.
    pub(super) fn give(&mut self, store: &Store<OwnedFd>) {
        while let Some(channel) = self.channel.as_ref()
            && channel.unsent_bytes() == 0
            && let Giving::After(last) = &self.giving
        {
            let Some((key, fd)) = store.after(last.as_deref()) else {
                self.giving = Giving::Done;
                return self.report(Report::GiveEnd);
            };
            let key = key.to_owned();
            self.giving = Giving::After(Some(key.clone()));
            match fd.try_clone() {
                Ok(fd) => self.report(Report::Give { key, fd }),
                Err(error) => launch::log(&format!("failed to give {key}: {error}")),
            }
        }
    }
}

/// Which executable daemons are started from.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// What became ready last; `None` is ourselves.
    proven: Option<Executable>,
    /// What to use instead, and whether it has been started.
    trial: Option<(Executable, Trial)>,
}

/// What a daemon is started from.
#[derive(Debug)]
struct Executable {
    path: CString,
    /// Empty: ours.
    env: Vec<CString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// The present daemon has asked for it and lives.
    Wanted,
    /// Started, not ready yet.
    Running,
}

impl Program {
    /// What the next daemon is started from.
    fn path(&self) -> &CStr {
        self.next().map_or(OURSELVES, |program| &program.path)
    }

    /// The environment that replaces ours; empty if none does.
    fn env(&self) -> &[CString] {
        self.next().map_or(&[], |program| &program.env)
    }

    fn next(&self) -> Option<&Executable> {
        match &self.trial {
            Some((program, Trial::Running)) => Some(program),
            _ => self.proven.as_ref(),
        }
    }

    pub(super) fn is_on_trial(&self) -> bool {
        matches!(self.trial, Some((_, Trial::Running)))
    }

    /// The next daemon is this one.
    pub(super) fn replace(&mut self, path: CString, env: Vec<CString>) {
        self.trial = Some((Executable { path, env }, Trial::Wanted));
    }

    /// A daemon has become ready. True when it is of another executable than the one before.
    pub(super) fn settle(&mut self) -> bool {
        let is_new = self.is_on_trial();
        if is_new {
            self.proven = self.trial.take().map(|(program, _)| program);
        }
        is_new
    }

    /// What became ready last, if that is not ourselves: path and environment.
    pub(super) fn proven(&self) -> Option<(&CStr, &[CString])> {
        let proven = self.proven.as_ref()?;
        Some((&proven.path, &proven.env))
    }

    /// A daemon has ended. `true` when that is no crash but a change of executable, forwards or, after a trial that
    /// failed, back.
    pub(super) fn next_after_end(&mut self, was_ready: bool) -> bool {
        match &mut self.trial {
            Some((_, trial @ Trial::Wanted)) if was_ready => {
                *trial = Trial::Running;
                true
            }
            Some(_) => {
                self.trial = None;
                true
            }
            None => false,
        }
    }
}
