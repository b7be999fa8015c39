//! What the daemon is told by its environment, and the pilot it makes of that.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::{Gid, Uid, chown, geteuid};
use tokio::sync::mpsc;

use super::child::ChildReport;
use super::dates::local_zone;
use super::journal::Journal;
use super::launch::Launcher;
use super::link::Link;
use super::pilot::{Dump, Parts, Pilot};
use super::records::Records;
use super::report::OWN_VERSION;
use super::server::Admission;
use super::shared::Shared;
use super::testament::Testament;
use crate::config::cron;
use crate::core::{Supervisor, SupervisorConfig};
use crate::host::install::PRELOAD;
use crate::host::paths::Home;
use crate::host::{HostError, files, process};
use crate::model::Signal;

/// Everything that is known before the daemon does anything.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The layout of `PM2_HOME`.
    pub(crate) home: Home,
    /// Who may connect.
    pub(crate) admission: Admission,
}

impl Setup {
    /// Reads the environment.
    pub(crate) fn new(home: Home) -> Self {
        let (user, group) = (number("PM2_SOCKET_USER"), number("PM2_SOCKET_GROUP"));
        // Compat: pm2 heeds the two only together.
        let both = user.is_some() && group.is_some();
        let admission = Admission {
            uid: geteuid().as_raw(),
            extra_uid: user.filter(|_| both),
            extra_gid: group.filter(|_| both),
        };
        Self { home, admission }
    }

    /// Lets `PM2_SOCKET_USER` and `PM2_SOCKET_GROUP` reach a socket.
    pub(crate) fn widen(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let Admission {
            extra_uid: Some(uid),
            extra_gid: Some(gid),
            ..
        } = self.admission
        else {
            return Ok(());
        };
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        // Whoever may use the socket must get there. Names cannot be listed, and what is in the home stays closed.
        if path.parent() == Some(&self.home.root) {
            let before = std::fs::metadata(&self.home.root)?.permissions().mode();
            let reachable = std::fs::Permissions::from_mode(before | 0o011);
            std::fs::set_permissions(&self.home.root, reachable)?;
        }
        Ok(())
    }

    /// What to say of a home that another user owns: that one decides what is read from it and run, with our rights.
    fn warning(&self) -> Option<String> {
        let owner = std::fs::metadata(&self.home.root).ok()?.uid();
        let (own, root) = (geteuid().as_raw(), self.home.root.display());
        (owner != own && owner != 0).then(|| {
            format!("{root} belongs to user {owner}, who can have anything run with the rights of user {own}")
        })
    }

    /// Puts the script that Node apps load first where it belongs, if it is not there: without it none of them would start.
    pub(crate) fn install_preload(&self) -> Result<(), HostError> {
        let preload = self.home.installed(OWN_VERSION).preload;
        if std::fs::read(&preload).is_ok_and(|text| text == PRELOAD.as_bytes()) {
            return Ok(());
        }
        if let Some(folder) = preload.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| HostError::Home {
                path: folder.to_path_buf(),
                source,
            })?;
        }
        files::replace(&preload, PRELOAD.as_bytes())
    }

    /// A pilot that goes on with this list.
    pub(crate) fn pilot(
        self,
        shared: &Rc<Shared>,
        link: Link,
        reports_in: mpsc::Sender<ChildReport>,
        (records, testament): (Records, Testament),
        supervisor: Supervisor,
    ) -> Pilot {
        let format = std::env::var("PM2_LOG_DATE_FORMAT").ok();
        let journal = Journal::new(shared, self.home.log_file.clone(), format.as_deref());
        if let Some(text) = self.warning() {
            journal.error(&text);
        }
        let options = std::env::var("PM2_NODE_OPTIONS").unwrap_or_default();
        let launcher = Launcher {
            preload: self.home.installed(OWN_VERSION).preload,
            node_options: options.split_whitespace().map(str::to_owned).collect(),
            uid: geteuid().as_raw(),
        };
        let dump = Dump {
            path: self.home.dump.clone(),
            backup: self.home.dump_backup.clone(),
        };
        Pilot::new(Parts {
            supervisor,
            shared: Rc::clone(shared),
            journal,
            link,
            launcher,
            dump,
            reports_in,
            records,
            testament,
            home: self.home,
        })
    }
}

/// How long things take, as the environment says.
pub(super) fn supervisor_config() -> SupervisorConfig {
    let usual = SupervisorConfig::default();
    let millis = |name| number(name).map(|ms: u64| Duration::from_millis(ms));
    let signal = std::env::var("PM2_KILL_SIGNAL").ok();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    SupervisorConfig {
        kill_timeout: millis("PM2_KILL_TIMEOUT").unwrap_or(usual.kill_timeout),
        kill_signal: signal
            .and_then(|text| Signal::parse(&text))
            .unwrap_or(usual.kill_signal),
        kill_by_message: std::env::var("PM2_KILL_USE_MESSAGE")
            .is_ok_and(|text| !text.is_empty() && text != "false"),
        listen_timeout: millis("PM2_GRACEFUL_LISTEN_TIMEOUT").unwrap_or(usual.listen_timeout),
        graceful_timeout: millis("PM2_GRACEFUL_TIMEOUT").unwrap_or(usual.graceful_timeout),
        backoff_reset: millis("EXP_BACKOFF_RESET_TIMER").unwrap_or(usual.backoff_reset),
        instance_var: std::env::var("PM2_PROCESS_INSTANCE_VAR")
            .ok()
            .filter(|name| !name.is_empty()),
        cpus: u32::try_from(cpus).unwrap_or(1),
        next_tick,
    }
}

/// The next moment of a cron pattern in local time.
fn next_tick(pattern: &str, after_ms: u64) -> Result<Option<u64>, String> {
    let after = i64::try_from(after_ms).ok();
    let after = after.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let after = after.unwrap_or_default().to_zoned(local_zone());
    let next = cron::next(pattern, &after)?;
    Ok(next.and_then(|next| u64::try_from(next.timestamp().as_millisecond()).ok()))
}

fn number<N: std::str::FromStr>(name: &str) -> Option<N> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// Where to say that we are ready: `PM2_READY_FD`, and `NODE_CHANNEL_FD` of a client that starts daemons as pm2 does.
///
/// Contract: once, at the start of the process.
pub(crate) fn ready_files() -> Vec<File> {
    let mut numbers: Vec<i32> = ["PM2_READY_FD", "NODE_CHANNEL_FD"]
        .into_iter()
        .filter_map(number)
        .collect();
    numbers.dedup();
    let inherited = numbers.into_iter().filter_map(process::inherited);
    inherited.map(|fd: OwnedFd| File::from(fd)).collect()
}
