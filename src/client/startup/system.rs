//! The init systems: how they are recognised, where their files are, what they want to be told.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::perform::Step;
use super::{Service, Verb};

/// What starts a machine's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Systemd,
    /// The one that each user has.
    SystemdUser,
    Upstart,
    SystemV,
    OpenRc,
    Launchd,
    Rcd,
    RcdOpenBsd,
    Smf,
}

/// Names that callers may give, pm2's own first for each.
const NAMES: [(&str, System); 20] = [
    ("systemd", System::Systemd),
    ("ubuntu", System::Systemd),
    ("centos", System::Systemd),
    ("arch", System::Systemd),
    ("oracle", System::Systemd),
    ("systemd-user", System::SystemdUser),
    ("upstart", System::Upstart),
    ("ubuntu14", System::Upstart),
    ("ubuntu12", System::Upstart),
    ("systemv", System::SystemV),
    ("amazon", System::SystemV),
    ("centos6", System::SystemV),
    ("openrc", System::OpenRc),
    ("launchd", System::Launchd),
    ("darwin", System::Launchd),
    ("macos", System::Launchd),
    ("rcd", System::Rcd),
    ("freebsd", System::Rcd),
    ("rcd-openbsd", System::RcdOpenBsd),
    ("openbsd", System::RcdOpenBsd),
];

/// pm2's three words for the one that is left.
const SMF_NAMES: [&str; 3] = ["smf", "sunos", "solaris"];

/// By which program each is recognised, in pm2's order.
const PROGRAMS: [(&str, System); 8] = [
    ("systemctl", System::Systemd),
    ("update-rc.d", System::Upstart),
    ("chkconfig", System::SystemV),
    ("rc-update", System::OpenRc),
    ("launchctl", System::Launchd),
    ("sysrc", System::Rcd),
    ("rcctl", System::RcdOpenBsd),
    ("svcadm", System::Smf),
];

impl System {
    /// The one that this machine's programs belong to.
    pub(super) fn detect(search_path: &OsStr) -> Option<Self> {
        let folders: Vec<&Path> = search_path
            .as_bytes()
            .split(|byte| *byte == b':')
            .map(|folder| Path::new(OsStr::from_bytes(folder)))
            .filter(|folder| folder.is_absolute())
            .collect();
        let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
        let found = PROGRAMS.iter().find(|(program, _)| is_there(program));
        found.map(|(_, system)| *system)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        if SMF_NAMES.contains(&name) {
            return Some(Self::Smf);
        }
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, system)| *system)
    }

    /// Every name that [`Self::named`] takes.
    pub(super) fn names() -> Vec<&'static str> {
        NAMES
            .iter()
            .map(|(name, _)| *name)
            .chain(SMF_NAMES)
            .collect()
    }

    pub(super) fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, system)| *system == self);
        found.map_or(SMF_NAMES[0], |(name, _)| name)
    }

    /// What pm2 calls its service there. Names of rc scripts are names of shell variables too.
    pub(super) fn default_service(self, user: &str) -> String {
        match self {
            Self::OpenRc => "pm2".to_owned(),
            Self::Launchd => format!("pm2.{user}"),
            Self::Rcd | Self::RcdOpenBsd | Self::Smf => {
                let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                format!("pm2_{}", user.chars().map(plain).collect::<String>())
            }
            Self::Systemd | Self::SystemdUser | Self::Upstart | Self::SystemV => {
                format!("pm2-{user}")
            }
        }
    }

    /// The mode of its file: some are read, some are run.
    pub(super) fn mode(self) -> u32 {
        match self {
            Self::Systemd | Self::SystemdUser | Self::Launchd | Self::Smf => 0o644,
            Self::Upstart | Self::SystemV | Self::OpenRc | Self::Rcd | Self::RcdOpenBsd => 0o755,
        }
    }

    /// The file of a service, as its machine calls it.
    pub(super) fn file(self, service: &Service) -> PathBuf {
        let Service { name, user, .. } = service;
        match self {
            Self::Systemd => PathBuf::from(format!("/etc/systemd/system/{name}.service")),
            Self::SystemdUser => user
                .folder
                .join(format!(".config/systemd/user/{name}.service")),
            Self::Upstart | Self::SystemV | Self::OpenRc => format!("/etc/init.d/{name}").into(),
            Self::Launchd => user
                .folder
                .join(format!("Library/LaunchAgents/{name}.plist")),
            Self::Rcd => format!("/usr/local/etc/rc.d/{name}").into(),
            Self::RcdOpenBsd => format!("/etc/rc.d/{name}").into(),
            // Read once, when it is imported; not in /tmp, where others could put something else.
            Self::Smf => format!("/var/svc/manifest/site/{name}.xml").into(),
        }
    }

    /// What is done on the machine that runs.
    pub(super) fn steps(self, service: &Service, verb: Verb) -> Vec<Step> {
        match verb {
            Verb::Startup => self.install_steps(service),
            Verb::Unstartup => self.remove_steps(service),
        }
    }

    /// What is done when the file is there.
    fn install_steps(self, service: &Service) -> Vec<Step> {
        let name = service.name.as_str();
        let file = self.file(service);
        let file = file.to_string_lossy();
        match self {
            Self::Systemd => vec![Step::run(["systemctl", "enable", name])],
            Self::SystemdUser => vec![
                Step::run(["systemctl", "--user", "enable", name]),
                // Or nothing of the user's is started before the first login.
                Step::tell(["loginctl", "enable-linger", &service.user.name]),
            ],
            Self::Upstart => vec![
                Step::Touch(lock(service)),
                Step::run(["update-rc.d", name, "defaults"]),
            ],
            Self::SystemV => vec![
                Step::Touch(lock(service)),
                Step::run(["chkconfig", "--add", name]),
                Step::run(["chkconfig", name, "on"]),
            ],
            Self::OpenRc => vec![Step::run(["rc-update", "add", name, "default"])],
            Self::Launchd => vec![Step::tell(["launchctl", "load", "-w", &file])],
            Self::Rcd => vec![Step::run(["sysrc", &format!("{name}_enable=YES")])],
            Self::RcdOpenBsd => vec![
                Step::run(["rcctl", "enable", name]),
                Step::tell(["rcctl", "start", name]),
            ],
            Self::Smf => vec![
                Step::tell(["svccfg", "import", &file]),
                Step::tell(["svcadm", "enable", name]),
            ],
        }
    }

    /// What is done to be rid of it.
    fn remove_steps(self, service: &Service) -> Vec<Step> {
        let name = service.name.as_str();
        let file = self.file(service);
        let script = file.to_string_lossy();
        let mut steps = match self {
            Self::Systemd => vec![
                Step::tell(["systemctl", "stop", name]),
                Step::run(["systemctl", "disable", name]),
            ],
            Self::SystemdUser => vec![
                Step::tell(["systemctl", "--user", "stop", name]),
                Step::run(["systemctl", "--user", "disable", name]),
            ],
            Self::Upstart => vec![
                Step::run(["update-rc.d", name, "disable"]),
                Step::run(["update-rc.d", "-f", name, "remove"]),
                Step::Remove(lock(service)),
            ],
            Self::SystemV => vec![
                Step::run(["chkconfig", name, "off"]),
                Step::run(["chkconfig", "--del", name]),
                Step::Remove(lock(service)),
            ],
            Self::OpenRc => vec![
                Step::tell([&*script, "stop"]),
                Step::run(["rc-update", "delete", name, "default"]),
            ],
            Self::Launchd => vec![Step::tell(["launchctl", "remove", name])],
            Self::Rcd => vec![
                Step::tell([&*script, "stop"]),
                Step::run(["sysrc", "-x", &format!("{name}_enable")]),
            ],
            Self::RcdOpenBsd => vec![
                Step::tell(["rcctl", "stop", name]),
                Step::run(["rcctl", "disable", name]),
            ],
            Self::Smf => vec![
                Step::tell(["svcadm", "disable", name]),
                Step::tell(["svccfg", "delete", "-f", name]),
            ],
        };
        steps.push(Step::Remove(file));
        steps
    }
}

/// Where pm2 of ten years ago put its script.
pub(super) const OLD_SCRIPT: &str = "/etc/init.d/pm2-init.sh";

/// What is done to be rid of that.
pub(super) fn old_steps() -> Vec<Step> {
    vec![
        Step::run(["update-rc.d", "pm2-init.sh", "disable"]),
        Step::run(["update-rc.d", "-f", "pm2-init.sh", "remove"]),
        Step::Remove(OLD_SCRIPT.into()),
    ]
}

/// By this file, old scripts of Red Hat know at shutdown that a service is to be stopped.
fn lock(service: &Service) -> PathBuf {
    Path::new("/var/lock/subsys").join(&service.name)
}
