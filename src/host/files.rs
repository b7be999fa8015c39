//! Files that are locked, and files that are replaced as a whole or not at all.

use super::HostError;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, geteuid};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sends up to `count` bytes from `file`'s own position on, without copying them, and moves the position by what was taken, in
/// the same system call. Zero bytes mean that the file ends there.
pub fn send_next(file: &File, target: &impl AsFd, count: usize) -> io::Result<usize> {
    Ok(nix::sys::sendfile::sendfile(target, file, None, count)?)
}

/// Gives the memory of this part of a file back; it reads as zeros from then on. Everything else stays where it is.
pub fn punch_hole(file: &File, from: u64, to: u64) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};
    let number = |value| i64::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let length = number(to.saturating_sub(from))?;
    Ok(fallocate(file, flags, number(from)?, length)?)
}

/// What file systems note as the time of a change that is made now. It moves in steps of 1 to 10 ms, and is never ahead of the clock
/// (`clock_getres(2)`: `CLOCK_REALTIME_COARSE`).
#[must_use]
pub fn time_of_change() -> Option<SystemTime> {
    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).ok()?;
    UNIX_EPOCH.checked_add(Duration::from(time))
}

/// Held by one process and those that share its descriptor; given up when the last of them has closed it.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Takes the lock at once or not at all: `None` when another holds it. Makes the file (0600) if it is missing.
    ///
    /// The file is never deleted: who deletes a lock file lets two hold "the" lock.
    pub fn take(path: &Path) -> Result<Option<Self>, HostError> {
        let failed = |action| {
            move |source| HostError::File {
                action,
                path: path.to_path_buf(),
                source,
            }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let opened = open_to_write(path, &mut options, OFlag::empty());
        let file = opened.map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock")(source)),
        }
    }
}

impl FileLock {
    /// A share of a lock that is held, by its descriptor.
    #[must_use]
    pub fn share(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl AsFd for FileLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Writes a short note that is overwritten in place, mode 0600 where it is new.
pub fn note(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    open_to_write(path, &mut options, OFlag::empty())?.write_all(text.as_bytes())
}

/// How many links in a row are followed, as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// Replaces the file's content, mode 0600. A reader, or a machine that loses power, sees the old or the new content.
///
/// A link of our own is followed. A device keeps its place and is written to: nobody who points a file of ours at `/dev/null` wants
/// that replaced.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), HostError> {
    replace_with_mode(path, content, 0o600)
}

/// The same with another mode, which the process's mask does not change.
pub fn replace_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), HostError> {
    let written = real_path(path).and_then(|real| {
        match fs::symlink_metadata(&real) {
            Ok(found) if found.file_type().is_char_device() => {
                return File::options().write(true).open(&real)?.write_all(content);
            }
            _ => remove_abandoned(&real),
        }
        write_and_rename(&real, content, mode)
    });
    written.map_err(|source| HostError::File {
        action: "write",
        path: path.to_path_buf(),
        source,
    })
}

fn write_and_rename(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path);
    let written = write_new(&temporary, content, mode).and_then(|file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if let Err(source) = written {
        let _missing = fs::remove_file(&temporary);
        return Err(source);
    }
    // The rename itself is kept by the folder.
    File::open(folder_of(path)).and_then(|folder| folder.sync_all())
}

fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Removes what writers that were killed have left beside the file: it may be large, and would stay for ever.
fn remove_abandoned(path: &Path) {
    let Ok(entries) = fs::read_dir(folder_of(path)) else {
        return;
    };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let start = [b".", name, b"."].concat();
    for entry in entries.flatten() {
        let found = entry.file_name();
        let writer = found
            .as_encoded_bytes()
            .strip_prefix(&*start)
            .and_then(|rest| rest.strip_suffix(b".tmp"))
            .and_then(|rest| {
                std::str::from_utf8(rest)
                    .ok()?
                    .split('.')
                    .next()?
                    .parse()
                    .ok()
            })
            .filter(|pid: &i32| *pid > 0);
        if writer.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)) {
            // Somebody else may have been faster.
            let _gone = fs::remove_file(entry.path());
        }
    }
}

/// Opens a file to write to it. A link at the end of the path is followed only if our user or root made it: whoever else may write
/// to the folder must not choose which file of ours is written.
pub fn open_to_write(path: &Path, options: &mut OpenOptions, flags: OFlag) -> io::Result<File> {
    options.custom_flags((flags | OFlag::O_NOFOLLOW).bits());
    match options.open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            options.open(real_path(path)?)
        }
        opened => opened,
    }
}

/// Where a path leads if it is a link; the file there may be missing. Refuses the links of other users, as [`open_to_write`] says.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut real = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let link = match nix::fcntl::open(&real, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(real),
            Err(errno) => return Err(errno.into()),
        };
        let found = link.metadata()?;
        if !found.file_type().is_symlink() {
            return Ok(real);
        }
        let maker = found.uid();
        if maker != 0 && maker != geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{} is a link which user {maker} made, and is not followed",
                    real.display()
                ),
            ));
        }
        // By the descriptor: what was looked at is what is read.
        let target = nix::fcntl::readlinkat(&link, "")?;
        real = folder_of(&real).join(target);
    }
    Err(Errno::ELOOP.into())
}

/// A name in the same folder that no other process uses, nor another thread of this one: a Node process has several clients.
pub(super) fn beside(path: &Path) -> PathBuf {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.{number}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Makes a file that did not exist. What a process with our number left behind half-written is removed before.
pub(super) fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::until;

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump.pm2");
        fs::write(&path, "old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("not-empty")).unwrap();
        let error = replace(&path, b"new").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    // Protects the user's own arrangement: a saved list on another disk stays there.
    #[test]
    fn a_link_of_our_own_is_followed_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link, first) = (
            folder.path().join("real"),
            folder.path().join("link"),
            folder.path().join("first"),
        );
        std::os::unix::fs::symlink("real", &link).unwrap();
        std::os::unix::fs::symlink(&link, &first).unwrap();
        replace(&first, b"one").unwrap();
        let mut options = File::options();
        open_to_write(&first, options.append(true), OFlag::empty())
            .unwrap()
            .write_all(b" two")
            .unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"one two");
        assert!(link.is_symlink() && first.is_symlink());
        std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
        let error = replace(&folder.path().join("circle"), b"").unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
    }

    // Protects root: whoever may write to a folder must not lead root's files elsewhere.
    #[test]
    fn a_link_of_another_user_is_not_followed() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "kept").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).unwrap();
        let error = replace(&link, b"lost").unwrap_err();
        assert!(
            matches!(error, HostError::File { source, .. } if source.to_string().contains("user 65534"))
        );
        let mut options = File::options();
        assert!(open_to_write(&link, options.append(true), OFlag::empty()).is_err());
        assert_eq!(fs::read(&real).unwrap(), b"kept");
    }

    // Protects the machine: a list saved to /dev/null by root must not become /dev/null.
    #[test]
    fn a_device_is_written_to_and_stays_one() {
        replace(Path::new("/dev/null"), b"gone").unwrap();
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
        let error = replace(Path::new("/dev/full"), b"no room").unwrap_err();
        assert!(
            matches!(error, HostError::File { source, .. } if source.raw_os_error() == Some(Errno::ENOSPC as i32))
        );
    }

    // Protects the disk: a writer that is killed a hundred times must not leave a hundred files.
    #[test]
    fn what_a_dead_writer_left_is_removed_and_what_a_living_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        // A number that no other test comes to.
        let living = format!(".list.{}.{}.tmp", std::process::id(), u32::MAX);
        let kept = [
            living.as_str(),
            ".list.x.tmp",
            ".other.999999999.0.tmp",
            ".list.-1.0.tmp",
        ];
        for name in kept.iter().chain(&[".list.999999999.0.tmp"]) {
            fs::write(file(name), "").unwrap();
        }
        replace(&file("list"), b"new").unwrap();
        assert!(kept.iter().all(|name| file(name).exists()));
        assert!(!file(".list.999999999.0.tmp").exists());
    }

    #[test]
    fn a_lock_is_held_once_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pm2.lock");
        let first = FileLock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(FileLock::take(&path).unwrap().is_none());
        drop(first);
        // Closed is it when the last copy is.
        until(|| FileLock::take(&path).unwrap().is_some());
    }
}
