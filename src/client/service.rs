//! The daemon as a service of the machine: what its manager is told while it comes up.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use super::Client;
use crate::host::notify::{Notifier, SOCKET_VARIABLE, WATCHDOG_PID_VARIABLE, WATCHDOG_VARIABLE};

/// How long the manager has to take in what it was told. It is busy at boot, but never that busy.
const HEARD_LIMIT: Duration = Duration::from_secs(5);

/// By how much the manager is asked to be more patient: apps may take their time to become ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// The manager (systemd) that started this process and waits to hear that the service is up.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    address: OsString,
    /// What the main process is to do, if it is watched.
    watchdog: Option<OsString>,
}

impl ServiceManager {
    /// The manager that the environment names, if any.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let address = std::env::var_os(SOCKET_VARIABLE).filter(|value| !value.is_empty())?;
        let own = std::process::id().to_string();
        // Absent, it means everybody.
        let is_meant = std::env::var_os(WATCHDOG_PID_VARIABLE).is_none_or(|pid| pid == *own);
        let watchdog = std::env::var_os(WATCHDOG_VARIABLE).filter(|_| is_meant);
        Some(Self { address, watchdog })
    }

    /// What the keeper needs to know to be the service's main process.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        let watchdog = self.watchdog.iter();
        std::iter::once((SOCKET_VARIABLE, &self.address))
            .chain(watchdog.map(|limit| (WATCHDOG_VARIABLE, limit)))
    }

    /// Whether the manager would believe that a daemon which it has not started is the service. systemd believes only root; without a main
    /// process it would take the service for over, and end that daemon with everything in it.
    #[must_use]
    pub fn may_adopt() -> bool {
        nix::unistd::geteuid().is_root()
    }

    /// Asks for more time, again and again. Never ends by itself.
    pub async fn ask_for_patience(&self) {
        let text = format!("EXTEND_TIMEOUT_USEC={}", PATIENCE.as_micros());
        loop {
            // Only a wish.
            let _unheard = self.tell(&text);
            tokio::time::sleep(PATIENCE / 4).await;
        }
    }

    /// Says that the service is up, and which process it is from now on; `is_ours` when that one knows this manager.
    pub fn ready(&self, client: &Client, is_ours: bool) -> io::Result<()> {
        let pid = std::fs::read_to_string(&client.home().pid_file)?;
        let mut text = format!("MAINPID={}\nREADY=1", pid.trim());
        if !is_ours {
            // Nobody there would ever give the signs of life it waits for.
            text.push_str("\nWATCHDOG_USEC=0");
        }
        let Some(notifier) = Notifier::new(&self.address)? else {
            return Ok(());
        };
        notifier.send(&text)?;
        notifier.wait_until_heard(HEARD_LIMIT)
    }

    fn tell(&self, text: &str) -> io::Result<()> {
        Notifier::new(&self.address)?.map_or(Ok(()), |notifier| notifier.send(text))
    }
}
