//! How a keeper comes to be: alone on its home, detached, with its log, its pid file and someone to tell when it is up. Or as
//! the one that follows a keeper: then the home is locked already, and there is a record of what is to be taken over.

use super::handover::{self, HANDOVER_VARIABLE, Handover};
use super::manager::{self, Manager};
use crate::host::files::{FileLock, note, open_to_write};
use crate::host::paths::{Home, STATE_FILES};
use crate::host::spawn::Plan;
use crate::host::{HostError, process};
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Names a descriptor on which our client waits for the ready line.
const READY_VARIABLE: &str = "PM2_READY_FD";

/// The same for a client that starts us as pm2 starts its own daemon, through Node's channel.
const CHANNEL_VARIABLE: &str = "NODE_CHANNEL_FD";

/// Names a descriptor whose end is our end.
const TIE_VARIABLE: &str = "PM2_TIE_FD";

/// Names the daemon's end of the socketpair.
const KEEPER_VARIABLE: &str = "PM2_KEEPER_FD";

/// Names the daemon's share of the home's lock.
const LOCK_VARIABLE: &str = "PM2_LOCK_FD";

/// Meant for who reads them at our start, and wrong for everyone later.
pub const PRIVATE_VARIABLES: [&str; 7] = [
    READY_VARIABLE,
    CHANNEL_VARIABLE,
    TIE_VARIABLE,
    KEEPER_VARIABLE,
    LOCK_VARIABLE,
    HANDOVER_VARIABLE,
    "NODE_CHANNEL_SERIALIZATION_MODE",
];

/// How much of the log's end is searched for a reason.
const REASON_BYTES: u64 = 2048;

/// What a keeper holds from its start to its end.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) home: Home,
    /// Shared with the daemon, so that no second one starts while either lives.
    pub(super) lock: FileLock,
    pub(super) ready: Ready,
    /// Its end is ours: no-daemon mode.
    pub(super) tie: Option<OwnedFd>,
    /// Who watches us.
    pub(super) manager: Manager,
}

/// Why there is no keeper.
#[derive(Debug)]
pub(super) enum NotLaunched {
    /// Another keeper has the home. It will serve the client as well.
    Locked,
    /// The home, the log or the like cannot be used.
    Failed(String),
}

/// Takes the home's lock, detaches unless tied, and redirects everything. On failure the client has been told why.
///
/// Where a keeper was before, this one stands where that one stood; the record says what else there is to take over.
pub(super) fn launch(root: &Path) -> Result<(Launched, Option<Handover>), NotLaunched> {
    if let Some(number) = number(HANDOVER_VARIABLE) {
        return succeed(root, number).map(|(launched, left)| (launched, Some(left)));
    }
    let (mut ready, tie) = inherit();
    let launched = begin(root, tie.is_some()).map(|(home, lock)| (home, lock, tie));
    match launched {
        Ok((home, lock, tie)) => {
            let launched = Launched {
                home,
                lock,
                ready,
                tie,
                manager: Manager::new(|name| std::env::var_os(name)),
            };
            Ok((launched, None))
        }
        Err(NotLaunched::Locked) => {
            ready.fail("locked");
            Err(NotLaunched::Locked)
        }
        Err(NotLaunched::Failed(reason)) => {
            ready.fail(&reason);
            Err(NotLaunched::Failed(reason))
        }
    }
}

/// The first keeper of a home.
fn begin(root: &Path, tied: bool) -> Result<(Home, FileLock), NotLaunched> {
    let home = home_at(root)?;
    home.create_root()?;
    let lock = FileLock::take(&home.lock)?.ok_or(NotLaunched::Locked)?;
    home.create()?;
    if !tied {
        process::detach().map_err(|error| file_error("fork for", &home.root, error))?;
    }
    settle_in(&home)?;
    Ok((home, lock))
}

/// One that follows another: the home is locked, and whoever started this one waits for nothing.
fn succeed(root: &Path, record: i32) -> Result<(Launched, Handover), NotLaunched> {
    let failed = |error: std::io::Error| {
        NotLaunched::Failed(format!(
            "failed to take over from the keeper before: {error}"
        ))
    };
    let lost = || failed(std::io::ErrorKind::NotFound.into());
    let file = process::inherited(record).ok_or_else(lost)?;
    let left = handover::read(file).map_err(failed)?;
    let lock = process::inherited(left.lock).ok_or_else(lost)?;
    let tie = left
        .tie
        .map(|number| process::inherited(number).ok_or_else(lost));
    let tie = tie.transpose()?;
    let home = home_at(root)?;
    settle_in(&home)?;
    let launched = Launched {
        home,
        lock: FileLock::share(lock),
        ready: Ready::default(),
        tie,
        manager: Manager::new(|name| std::env::var_os(name)),
    };
    launched.manager.succeed();
    Ok((launched, left))
}

fn home_at(root: &Path) -> Result<Home, NotLaunched> {
    let root = std::path::absolute(root).map_err(|error| NotLaunched::Failed(error.to_string()))?;
    Ok(Home::new(&root, &|name| std::env::var_os(name))?)
}

/// Makes this process what a keeper is.
fn settle_in(home: &Home) -> Result<(), NotLaunched> {
    process::lead_session();
    let null =
        File::open("/dev/null").map_err(|e| file_error("open", Path::new("/dev/null"), e))?;
    let no_input = process::redirect_input(null.as_fd());
    no_input.map_err(|error| file_error("use", Path::new("/dev/null"), error))?;
    open_log(home)?;
    std::env::set_current_dir("/").map_err(|error| file_error("enter", Path::new("/"), error))?;
    process::adopt_orphans().map_err(|error| file_error("adopt orphans for", &home.root, error))?;
    let pid = std::process::id().to_string();
    // One that follows under the same number does not empty the file, be it for a moment.
    if !fs::read_to_string(&home.pid_file).is_ok_and(|there| there == pid) {
        note(&home.pid_file, &pid).map_err(|error| file_error("write", &home.pid_file, error))?;
    }
    if let Ok(title) = CString::new(home.title.as_bytes()) {
        process::set_name(&title);
    }
    Ok(())
}

/// Writes down who goes on if we are killed. systemd looks there (`PIDFile=` of our unit) before it takes the end of the main process for
/// that of the service, and ends every app.
pub(super) fn note_heir(launched: &Launched, daemon: i32) {
    let file = &launched.home.heir_file;
    if launched.manager.is_there()
        && let Err(error) = note(file, &daemon.to_string())
    {
        log(&format!("failed to write {}: {error}", file.display()));
    }
}

/// Opens the log anew, for us and for daemons to come; after a rotation the old file is let go.
pub(super) fn open_log(home: &Home) -> Result<(), HostError> {
    let failed = |error| file_error("open", &home.log_file, error);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = open_to_write(&home.log_file, &mut options, OFlag::empty());
    process::redirect_output(file.map_err(failed)?.as_fd()).map_err(failed)
}

/// Writes one line as the daemon would. Losing it when the disk is full is better than ending.
pub(super) fn log(text: &str) {
    let line = format!("{}: PM2 error: {text}\n", process::local_time());
    let _full = std::io::stderr().write_all(line.as_bytes());
}

/// Where the log ends now.
pub(super) fn log_end(home: &Home) -> u64 {
    fs::metadata(&home.log_file).map_or(0, |file| file.len())
}

/// The last line of the log after `from`, if there is one.
pub(super) fn last_words(home: &Home, from: u64) -> Option<String> {
    let mut file = File::open(&home.log_file).ok()?;
    let end = file.metadata().ok()?.len();
    let start = from.max(end.saturating_sub(REASON_BYTES));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut text = Vec::new();
    file.take(REASON_BYTES).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let told = text.lines().rev().map(str::trim);
    // How to get a trace of a panic is not why it happened.
    let reason = told
        .filter(|line| !line.starts_with("note: run with"))
        .find(|line| !line.is_empty());
    reason.map(str::to_owned)
}

/// Removes what nobody needs to learn from: everything has ended in order.
pub(super) fn remove_state(home: &Home) {
    for name in STATE_FILES {
        let _gone = fs::remove_file(home.state.join(name));
    }
    let _not_ours_alone = fs::remove_dir(&home.state);
}

/// Says that we end, and removes the pid files, unless they are somebody else's by now.
pub(super) fn leave(launched: &Launched) {
    launched.manager.end();
    let home = &launched.home;
    let own = std::process::id().to_string();
    if fs::read_to_string(&home.pid_file).is_ok_and(|pid| pid.trim() == own) {
        home.remove_pid_files();
    }
}

/// Who waits for us to be up. The daemon writes the good news, we the bad; whoever is first, there is one line.
#[derive(Debug, Default)]
pub(super) struct Ready {
    waiting: Option<(&'static str, OwnedFd)>,
}

impl Ready {
    /// What the first daemon must inherit to write the line, and the variable that names it.
    pub(super) fn for_daemon(&self) -> Option<(&'static str, BorrowedFd<'_>)> {
        self.waiting
            .as_ref()
            .map(|(variable, fd)| (*variable, fd.as_fd()))
    }

    /// The line has been written.
    pub(super) fn told(&mut self) {
        self.waiting = None;
    }

    /// Says why there will be no daemon. Nobody waiting, or gone, is no error.
    pub(super) fn fail(&mut self, reason: &str) {
        if let Some((_, fd)) = self.waiting.take() {
            let line = format!("{{\"online\":false,\"reason\":\"{}\"}}\n", escape(reason));
            let _gone = File::from(fd).write_all(line.as_bytes());
        }
    }
}

/// The environment of a daemon: `given`, or ours if that is empty, without what was meant for us, and with what is meant for
/// it, under these names.
pub(super) fn environment(
    home: &Home,
    descriptors: &[(&str, i32)],
    given: &[CString],
) -> Vec<CString> {
    let ours: Vec<(OsString, OsString)> = if given.is_empty() {
        std::env::vars_os().collect()
    } else {
        given
            .iter()
            .filter_map(|entry| {
                let bytes = entry.as_bytes();
                let equals = bytes.iter().position(|byte| *byte == b'=')?;
                let text = |bytes| OsStr::from_bytes(bytes).to_owned();
                Some((text(&bytes[..equals]), text(&bytes[equals + 1..])))
            })
            .collect()
    };
    let ours = ours.into_iter().filter(|(name, _)| {
        let mut others = PRIVATE_VARIABLES.iter().chain(&manager::VARIABLES);
        name != "PM2_HOME" && others.all(|other| name != other)
    });
    let root = ("PM2_HOME".into(), home.root.clone().into_os_string());
    let added = descriptors
        .iter()
        .map(|(name, number)| (name.into(), number.to_string().into()));
    // Also when the environment is a caller's: whoever watches us watches who comes after us.
    let watched = manager::VARIABLES
        .iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let entries = ours
        .chain([root])
        .chain(added)
        .chain(watched)
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    entries
        .filter_map(|entry| CString::new(entry).ok())
        .collect()
}

/// How the keeper that follows one is started: from its own executable or another one, with the environment given, or ours if
/// that is empty. It finds the record at this descriptor.
#[must_use]
pub fn next_keeper(home: &Home, program: &CStr, env: &[CString], record: i32) -> Plan {
    let root = CString::new(home.root.as_os_str().as_bytes()).unwrap_or_default();
    Plan {
        program: program.to_owned(),
        argv: vec![c"pm2".to_owned(), c"__keeper".to_owned(), root],
        env: environment(home, &[(HANDOVER_VARIABLE, record)], env),
        ..Plan::default()
    }
}

/// The numbers of what a daemon inherits.
pub(super) fn daemon_descriptors(ready: Option<&'static str>) -> Vec<(&'static str, i32)> {
    let always = [(KEEPER_VARIABLE, 3), (LOCK_VARIABLE, 5), (TIE_VARIABLE, 6)];
    let ready = ready.map(|variable| (variable, 4));
    always.into_iter().chain(ready).collect()
}

/// What a daemon has from its keeper.
#[derive(Debug)]
pub struct Inheritance {
    /// Its end of the channel.
    pub channel: OwnedFd,
    /// A share of the home's lock, so that no second keeper starts while the daemon lives.
    pub lock: OwnedFd,
    /// In no-daemon mode, what the keeper is tied to: for the next keeper.
    pub tie: Option<OwnedFd>,
}

/// What this process has from a keeper, if one started it as a daemon.
///
/// Contract: once, at the start of the process.
#[must_use]
pub fn inheritance() -> Option<Inheritance> {
    let one = |variable| process::inherited(number(variable)?);
    Some(Inheritance {
        channel: one(KEEPER_VARIABLE)?,
        lock: one(LOCK_VARIABLE)?,
        tie: one(TIE_VARIABLE),
    })
}

/// Owns the descriptors our variables name and closes all others.
fn inherit() -> (Ready, Option<OwnedFd>) {
    let tie_number = number(TIE_VARIABLE);
    // A client of ours that happens to be a child of Node has a channel too, but that one belongs to its parent.
    let variable = if number(READY_VARIABLE).is_some() {
        READY_VARIABLE
    } else {
        CHANNEL_VARIABLE
    };
    let ready_number = number(variable).filter(|number| Some(*number) != tie_number);
    // A copy of a standard stream gets the first free number, so those with a number of their own are taken first.
    let mut numbers = [tie_number, ready_number];
    numbers.sort_by_key(|number| std::cmp::Reverse(*number));
    let mut owned = numbers.map(|number| (number, number.and_then(process::inherited)));
    let mut take = |wanted: Option<i32>| {
        owned
            .iter_mut()
            .find(|(number, _)| *number == wanted)
            .and_then(|(_, fd)| fd.take())
    };
    let (tie, waiting) = (take(tie_number), take(ready_number));
    let kept: Vec<&OwnedFd> = tie.iter().chain(&waiting).collect();
    process::close_all_but(&kept);
    (
        Ready {
            waiting: waiting.map(|fd| (variable, fd)),
        },
        tie,
    )
}

fn number(variable: &str) -> Option<i32> {
    std::env::var_os(variable)
        .as_deref()
        .and_then(OsStr::to_str)?
        .parse()
        .ok()
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> HostError {
    HostError::File {
        action,
        path: path.to_path_buf(),
        source,
    }
}

impl From<HostError> for NotLaunched {
    fn from(error: HostError) -> Self {
        use std::error::Error;
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Self::Failed(format!("failed to {error}{cause}"))
    }
}

/// JSON string content.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            control if control < ' ' => escaped.push(' '),
            plain => escaped.push(plain),
        }
    }
    escaped
}
