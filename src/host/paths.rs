//! The layout of one `PM2_HOME`: every file name, every variable that moves one, and the folders themselves.

use super::HostError;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest path a Unix socket can be bound to: `sun_path` has 108 bytes, the last one is a NUL.
pub const SOCKET_PATH_MAX: usize = 107;

/// Where a home without `PM2_HOME`, `HOME` and a passwd entry is.
const LAST_RESORT: &str = "/etc/.pm2";

/// The files in the folder `state`: two of records that take turns, and the roster of processes.
pub const STATE_FILES: [&str; 3] = ["records.0", "records.1", "roster"];

/// The version of pm2 whose daemon we are a replacement for, as clients and process titles show it.
pub const COMPATIBLE_VERSION: &str = "7.0.4";

/// Looks a variable up in some environment: the process's own, or the one a caller sent. Empty values count as unset,
/// as in pm2.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The files of one home, after all overrides.
///
/// Relative overrides are taken relative to the home: client, keeper and daemon have different working directories and
/// must agree.
#[derive(Debug, Clone)]
pub struct Home {
    /// The home itself, absolute.
    pub root: PathBuf,
    /// Where the daemon answers calls.
    pub rpc: Address,
    /// Where the daemon publishes its bus.
    pub bus: Address,
    /// Holds the keeper's pid, decimal, no newline.
    pub pid_file: PathBuf,
    /// Standard output and error of keeper and daemon.
    pub log_file: PathBuf,
    /// Names the daemon, for a service manager alone: what it takes for the service's main process if the keeper is killed.
    pub heir_file: PathBuf,
    /// What a daemon learns from when those before it were killed: private, and of no use to another boot.
    pub state: PathBuf,
    /// Settings of modules; `{}` at first.
    pub module_conf: PathBuf,
    /// The saved process list.
    pub dump: PathBuf,
    /// The saved process list before the last save.
    pub dump_backup: PathBuf,
    /// Default folder of application logs.
    pub logs: PathBuf,
    /// Default folder of application pid files.
    pub pids: PathBuf,
    /// Installed modules.
    pub modules: PathBuf,
    /// Millisecond timestamp while a `reload` runs.
    pub reload_lock: PathBuf,
    /// Locked by the keeper as long as it lives.
    pub lock: PathBuf,
    /// `argv[0]` of the keeper: what `ps` shows, and what people look for.
    pub title: OsString,
}

impl Home {
    /// Finds the home folder: `PM2_HOME`, else `.pm2` in the user's folder, else `/etc/.pm2`. A relative `PM2_HOME` is
    /// relative to `cwd`.
    #[must_use]
    pub fn locate(variables: Variables, cwd: &Path) -> PathBuf {
        if let Some(home) = present(variables, "PM2_HOME") {
            return cwd.join(home);
        }
        let user_folder = present(variables, "HOME").map(PathBuf::from).or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::getuid());
            user.ok().flatten().map(|user| user.dir)
        });
        user_folder.map_or_else(
            || PathBuf::from(LAST_RESORT),
            |folder| cwd.join(folder).join(".pm2"),
        )
    }

    /// Names every file of the home at `root`, which must be absolute. Touches no file.
    pub fn new(root: &Path, variables: Variables) -> Result<Self, HostError> {
        let file = |variable: &str, name: &str| {
            present(variables, variable).map_or_else(|| root.join(name), |value| root.join(value))
        };
        let socket = |variable: &str, name: &str| match present(variables, variable) {
            Some(value) => Address::parse(&value, root),
            None => Address::unix(root.join(name)),
        };
        Ok(Self {
            root: root.to_path_buf(),
            rpc: socket("PM2_DAEMON_RPC_PORT", "rpc.sock")?,
            bus: socket("PM2_DAEMON_PUB_PORT", "pub.sock")?,
            pid_file: file("PM2_PID_FILE_PATH", "pm2.pid"),
            log_file: file("PM2_LOG_FILE_PATH", "pm2.log"),
            heir_file: root.join("daemon.pid"),
            state: root.join("state"),
            module_conf: file("PM2_MODULE_CONF_FILE", "module_conf.json"),
            dump: file("PM2_DUMP_FILE_PATH", "dump.pm2"),
            dump_backup: file("PM2_DUMP_BACKUP_FILE_PATH", "dump.pm2.bak"),
            logs: file("PM2_DEFAULT_LOG_PATH", "logs"),
            pids: file("PM2_DEFAULT_PID_PATH", "pids"),
            modules: file("PM2_DEFAULT_MODULE_PATH", "modules"),
            reload_lock: file("PM2_RELOAD_LOCKFILE", "reload.lock"),
            lock: root.join("pm2.lock"),
            title: present(variables, "PM2_DAEMON_TITLE").unwrap_or_else(|| {
                let mut title = OsString::from(format!("PM2 v{COMPATIBLE_VERSION}: God Daemon ("));
                title.push(root);
                title.push(")");
                title
            }),
        })
    }

    /// Makes the home folder itself, 0700, if it is missing: enough to take the lock.
    pub fn create_root(&self) -> Result<(), HostError> {
        create_folder(&self.root)
    }

    /// Removes the files that name keeper and daemon, those that are there.
    pub fn remove_pid_files(&self) {
        for file in [&self.pid_file, &self.heir_file] {
            let _gone = std::fs::remove_file(file);
        }
    }

    /// Makes what is missing of the folders (0700) and of `module_conf.json` (0600), and checks that the home can be
    /// written. What exists keeps its mode: it may have been opened up on purpose.
    pub fn create(&self) -> Result<(), HostError> {
        for folder in [&self.root, &self.logs, &self.pids, &self.modules] {
            create_folder(folder)?;
        }
        let flags = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
        nix::unistd::access(&self.root, flags).map_err(|errno| HostError::Home {
            path: self.root.clone(),
            source: errno.into(),
        })?;
        let conf = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.module_conf);
        match conf.and_then(|mut file| file.write_all(b"{}")) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(HostError::Home {
                path: self.module_conf.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket; the path fits the kernel's structure.
    Unix(PathBuf),
    /// A TCP address, host not yet resolved.
    Tcp {
        /// Name or number of the host, IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// A Unix socket path, refused when it is too long to be bound.
    pub fn unix(path: PathBuf) -> Result<Self, HostError> {
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(HostError::SocketPathTooLong {
                path,
                length,
                limit: SOCKET_PATH_MAX,
            });
        }
        Ok(Self::Unix(path))
    }

    /// Reads an address as the variables give it. A relative path is relative to `base`.
    ///
    /// Compat: a bare port means all interfaces in pm2 (axon's `listen('4242')`). Ours is loopback: the socket controls
    /// every process of the user.
    pub fn parse(value: &OsStr, base: &Path) -> Result<Self, HostError> {
        let invalid = || HostError::Address {
            value: value.to_string_lossy().into_owned(),
        };
        let bytes = value.as_bytes();
        if bytes.is_empty() {
            return Err(invalid());
        }
        if bytes.iter().all(u8::is_ascii_digit) {
            let port = value
                .to_str()
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(invalid)?;
            return Ok(Self::Tcp {
                host: Ipv4Addr::LOCALHOST.to_string(),
                port,
            });
        }
        if let Some(path) = bytes.strip_prefix(b"unix:") {
            let path = path.strip_prefix(b"//").unwrap_or(path);
            return Self::unix(base.join(OsStr::from_bytes(path)));
        }
        if let Some(rest) = bytes.strip_prefix(b"tcp://") {
            let rest = std::str::from_utf8(rest).map_err(|_| invalid())?;
            let (host, port) = rest
                .trim_end_matches('/')
                .rsplit_once(':')
                .ok_or_else(invalid)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = if host.is_empty() { "127.0.0.1" } else { host };
            return Ok(Self::Tcp {
                host: host.to_owned(),
                port: port.parse().map_err(|_| invalid())?,
            });
        }
        Self::unix(base.join(value))
    }

    /// The path of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp { .. } => None,
        }
    }

    /// The TCP addresses of the host, resolved now; blocks for a name that is not a number. Empty for Unix sockets.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Unix(_) => Ok(Vec::new()),
            Self::Tcp { host, port } => {
                std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port))
                    .map(Iterator::collect)
            }
        }
    }
}

/// As clients show it: the bare path, or `tcp://host:port`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

fn present(variables: Variables, name: &str) -> Option<OsString> {
    variables(name).filter(|value| !value.is_empty())
}

/// Makes a folder, and those above it, for its owner only.
pub(super) fn create_folder(path: &Path) -> Result<(), HostError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| HostError::Home {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn with<'a>(known: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| {
            known
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        }
    }

    #[test]
    fn a_home_is_the_given_one_else_that_of_the_user() {
        let cwd = Path::new("/here");
        let cases = [
            (&[("PM2_HOME", "/x/y"), ("HOME", "/home/u")][..], "/x/y"),
            (&[("PM2_HOME", "rel"), ("HOME", "/home/u")], "/here/rel"),
            (&[("PM2_HOME", ""), ("HOME", "/home/u")], "/home/u/.pm2"),
        ];
        for (known, expected) in cases {
            assert_eq!(
                Home::locate(&with(known), cwd),
                Path::new(expected),
                "{known:?}"
            );
        }
        assert!(Home::locate(&|_| None, cwd).ends_with(".pm2"));
    }

    #[test]
    fn every_file_can_be_moved_by_its_variable() {
        // Compat: the constant's name as it is if it contains PM2_, else with PM2_ in front (pm2 `constants.js`).
        let root = Path::new("/h");
        let plain = Home::new(root, &|_| None).unwrap();
        assert_eq!(plain.pid_file, Path::new("/h/pm2.pid"));
        assert_eq!(plain.rpc, Address::Unix("/h/rpc.sock".into()));
        assert_eq!(plain.title, "PM2 v7.0.4: God Daemon (/h)");
        let known = [
            ("PM2_PID_FILE_PATH", "/run/p"),
            ("PM2_LOG_FILE_PATH", "other.log"),
            ("PM2_DAEMON_RPC_PORT", "unix:/s/rpc"),
            ("PM2_DAEMON_PUB_PORT", "4242"),
            ("PM2_DUMP_FILE_PATH", "/d"),
            ("PM2_DEFAULT_LOG_PATH", "/l"),
            ("PM2_DAEMON_TITLE", "mine"),
        ];
        let moved = Home::new(root, &with(&known)).unwrap();
        assert_eq!(moved.pid_file, Path::new("/run/p"));
        assert_eq!(moved.log_file, Path::new("/h/other.log"));
        assert_eq!(moved.rpc, Address::Unix("/s/rpc".into()));
        assert_eq!(moved.bus.to_string(), "tcp://127.0.0.1:4242");
        assert_eq!((moved.dump, moved.logs), ("/d".into(), "/l".into()));
        assert_eq!(moved.title, "mine");
    }

    #[test]
    fn an_address_is_a_path_a_port_or_an_error_that_says_what_was_given() {
        let parse = |text: &str| Address::parse(OsStr::new(text), Path::new("/b"));
        let tcp = |host: &str, port| Address::Tcp {
            host: host.to_owned(),
            port,
        };
        assert_eq!(parse("tcp://0.0.0.0:80").unwrap(), tcp("0.0.0.0", 80));
        assert_eq!(parse("tcp://[::1]:80/").unwrap(), tcp("::1", 80));
        assert_eq!(
            parse("tcp://[::1]:80").unwrap().to_string(),
            "tcp://[::1]:80"
        );
        assert_eq!(parse("unix:///x").unwrap(), Address::Unix("/x".into()));
        assert_eq!(
            parse("rel.sock").unwrap(),
            Address::Unix("/b/rel.sock".into())
        );
        for wrong in ["", "70000", "tcp://host", "tcp://host:x"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn a_socket_path_one_byte_too_long_is_refused() {
        let root = PathBuf::from(format!("/{}", "d".repeat(SOCKET_PATH_MAX - 10)));
        assert_eq!(root.join("rpc.sock").as_os_str().len(), SOCKET_PATH_MAX);
        assert!(Home::new(&root, &|_| None).is_ok());
        let error = Home::new(&root.join("e"), &|_| None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("109 bytes") && error.contains("107"),
            "{error}"
        );
    }

    #[test]
    fn a_home_is_made_private_and_what_exists_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(&folder.path().join("a/b"), &|_| None).unwrap();
        home.create().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        for path in [&home.root, &home.logs, &home.pids, &home.modules] {
            assert_eq!(mode(path), 0o700, "{}", path.display());
        }
        assert_eq!(mode(&home.module_conf), 0o600);
        std::fs::write(&home.module_conf, "{\"kept\":1}").unwrap();
        home.create().unwrap();
        assert_eq!(std::fs::read(&home.module_conf).unwrap(), b"{\"kept\":1}");
    }

    #[test]
    fn a_home_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let home = Home::new(&file, &|_| None).unwrap();
        let error = home.create().unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
}
