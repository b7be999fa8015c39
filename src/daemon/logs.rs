//! Log files: opened for append, shared by processes that log to one path, never a reason for an app to wait or fail.
//!
//! A file that cannot be written (the disk is full, the quota is used up) keeps a bounded tail in memory, is tried again, and
//! then says in the file how much it lost. The bus is not concerned.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::host::files::open_to_write;

/// What one file may owe the disk. Beyond it the oldest bytes go, whole lines at a time.
const PENDING_BYTES_MAX: usize = 256 * 1024;
/// How long until a file that could not be written is tried again.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Logs are private: they may hold what apps print of their environment.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A log file that cannot be had, and why an app is not started without it.
#[derive(Debug, thiserror::Error)]
#[error("open log file {path}: {source}")]
pub(crate) struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Every open log file, by path.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    files: RefCell<HashMap<PathBuf, Weak<LogFile>>>,
    /// Files that owe bytes to the disk; kept alive until they have written them.
    stuck: RefCell<Vec<Rc<LogFile>>>,
}

impl Logs {
    /// Opens `path` for append, with the folders above it, or joins those who have it open.
    ///
    /// `/dev/null` and an empty path are no file. A full disk is no error: the file is then tried again later.
    pub(crate) fn open(&self, path: &Path) -> Result<Option<Rc<LogFile>>, LogError> {
        if path.as_os_str().is_empty() || path == Path::new("/dev/null") {
            return Ok(None);
        }
        let mut files = self.files.borrow_mut();
        if let Some(file) = files.get(path).and_then(Weak::upgrade) {
            // Somebody may have removed it since; a start brings it back, as with pm2.
            if file.is_on_disk() {
                return Ok(Some(file));
            }
            file.reopen();
            return Ok(Some(file));
        }
        let file = match open_append(path) {
            Ok(file) => Some(file),
            Err(error) if is_passing(&error) => None,
            Err(source) => {
                let path = path.to_owned();
                return Err(LogError { path, source });
            }
        };
        files.retain(|_, file| file.strong_count() > 0);
        let log = Rc::new(LogFile::new(path.to_owned(), file));
        files.insert(path.to_owned(), Rc::downgrade(&log));
        Ok(Some(log))
    }

    /// Appends to `file`; what cannot be written now is kept and tried again by `retry`.
    pub(crate) fn append(&self, file: &Rc<LogFile>, bytes: &[u8]) {
        file.append(bytes);
        if file.owes() && !file.is_listed.replace(true) {
            self.stuck.borrow_mut().push(Rc::clone(file));
        }
    }

    /// Whether some file waits for the disk, so that `retry` should be called after `RETRY_INTERVAL`.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.stuck.borrow().is_empty()
    }

    /// Tries the files that wait for the disk.
    pub(crate) fn retry(&self) {
        self.stuck.borrow_mut().retain(|file| {
            file.append(b"");
            file.is_listed.set(file.owes());
            file.is_listed.get()
        });
    }

    /// Opens every file anew by its path: after somebody rotated them.
    pub(crate) fn reload(&self) {
        let files = self.files.borrow();
        for file in files.values().filter_map(Weak::upgrade) {
            file.reopen();
        }
    }
}

/// One file that any number of runs append to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    state: RefCell<FileState>,
    is_listed: Cell<bool>,
}

#[derive(Debug)]
struct FileState {
    file: Option<File>,
    pending: VecDeque<u8>,
    lost_bytes: u64,
}

impl LogFile {
    fn new(path: PathBuf, file: Option<File>) -> Self {
        Self {
            path,
            state: RefCell::new(FileState {
                file,
                pending: VecDeque::new(),
                lost_bytes: 0,
            }),
            is_listed: Cell::new(false),
        }
    }

    /// How long the file is; 0 if it cannot be had.
    pub(crate) fn length(&self) -> u64 {
        let state = self.state.borrow();
        let file = state.file.as_ref().and_then(|file| file.metadata().ok());
        file.map_or(0, |file| file.len())
    }

    fn owes(&self) -> bool {
        let state = self.state.borrow();
        !state.pending.is_empty() || state.lost_bytes > 0
    }

    fn append(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.file.is_none() {
            state.file = open_append(&self.path).ok();
        }
        if state.pay() {
            let written = state.write(bytes);
            state.keep(&bytes[written..]);
        } else {
            state.keep(bytes);
        }
    }

    fn reopen(&self) {
        let mut state = self.state.borrow_mut();
        state.pay();
        // A file that cannot be opened now leaves the old one in use: a line in a renamed file beats a lost line.
        if let Ok(file) = open_append(&self.path) {
            state.file = Some(file);
        }
    }

    fn is_on_disk(&self) -> bool {
        self.path.exists()
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.state.borrow_mut().pay();
    }
}

impl FileState {
    /// Writes what is owed; whether all of it is now on the disk.
    fn pay(&mut self) -> bool {
        if self.lost_bytes > 0 {
            let notice = format!(
                "[pm2] {} bytes of this log were lost while it could not be written\n",
                self.lost_bytes
            );
            if self.write(notice.as_bytes()) < notice.len() {
                return false;
            }
            self.lost_bytes = 0;
        }
        while !self.pending.is_empty() {
            let head = self.pending.as_slices().0.to_vec();
            let written = self.write(&head);
            self.pending.drain(..written);
            if written < head.len() {
                return false;
            }
        }
        self.pending.shrink_to(0);
        true
    }

    /// Writes as much as the disk takes, and says how much that was.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(file) = &mut self.file else {
            return 0;
        };
        let mut written = 0;
        while written < bytes.len() {
            match file.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
        if self.pending.len() <= PENDING_BYTES_MAX {
            return;
        }
        let over = self.pending.len() - PENDING_BYTES_MAX;
        let end = self.pending.iter().skip(over).position(|b| *b == b'\n');
        let gone = end.map_or(over, |end| over + end + 1);
        self.pending.drain(..gone);
        self.lost_bytes += gone as u64;
    }
}

/// Errors that time or an administrator will mend; an app is started all the same.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::Interrupted
    )
}

fn open_append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(FILE_MODE);
    // A FIFO without a reader must fail, not stop the daemon. Files do not care.
    open_to_write(path, &mut options, OFlag::O_NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: folders at any depth, private modes, and that one path is one file.
    #[test]
    fn a_log_file_is_made_with_its_folders_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/c.log");
        let logs = Logs::default();
        let one = logs.open(&path).unwrap().unwrap();
        let two = logs.open(&path).unwrap().unwrap();
        assert!(Rc::ptr_eq(&one, &two));
        logs.append(&one, b"hi\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"hi\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(logs.open(Path::new("/dev/null")).unwrap().is_none());
        assert!(logs.open(home.path()).is_err(), "a folder is no log file");
    }

    // Protects: rotation by renaming, and by truncating from outside.
    #[test]
    fn reload_writes_to_the_path_again_and_truncation_is_respected() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        let logs = Logs::default();
        let file = logs.open(&path).unwrap().unwrap();
        logs.append(&file, b"old\n");
        std::fs::rename(&path, home.path().join("x.log.1")).unwrap();
        logs.append(&file, b"still old\n");
        logs.reload();
        logs.append(&file, b"new\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
        std::fs::write(&path, b"").unwrap();
        logs.append(&file, b"after\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
    }

    // Protects: a full disk costs bounded memory, and what was lost is said. /dev/full stands for the disk.
    #[test]
    fn a_full_disk_keeps_a_bounded_tail_and_tells_what_was_lost() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.log");
        let logs = Logs::default();
        let file = logs.open(&path).unwrap().unwrap();
        file.state.borrow_mut().file = Some(File::options().write(true).open("/dev/full").unwrap());
        let line = [&[b'a'; 99][..], b"\n"].concat();
        for _ in 0..4000 {
            logs.append(&file, &line);
        }
        assert!(logs.is_stuck());
        assert!(file.state.borrow().pending.len() <= PENDING_BYTES_MAX);
        logs.retry();
        assert!(logs.is_stuck(), "the disk is still full");
        file.reopen();
        logs.append(&file, b"end\n");
        logs.retry();
        assert!(!logs.is_stuck());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("[pm2] 137900 bytes of this log were lost"),
            "{}",
            &text[..80]
        );
        assert!(text.ends_with("a\nend\n"));
        assert!(
            text.lines().skip(1).all(|l| l == "end" || l.len() == 99),
            "only whole lines"
        );
    }
}
