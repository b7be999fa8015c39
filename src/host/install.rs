//! A copy of our executable and preload inside the home, so that changing `node_modules` never pulls them from under a daemon.

use super::files::{beside, write_new};
use super::paths::Home;
use super::{HostError, paths};
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a managed Node application loads before its own script.
pub const PRELOAD: &str = include_str!("../js/preload.js");

/// Where the copies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The executable.
    pub program: PathBuf,
    /// The preload script.
    pub preload: PathBuf,
}

impl Installed {
    /// Those that are in `folder`, or are to be. Touches no file.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self {
            program: folder.join("pm2"),
            preload: folder.join("preload.js"),
        }
    }

    /// Makes them as [`Home::install`] does, from an open file: its name may be one that we cannot open any more.
    pub fn copy_from(&self, executable: &File) -> Result<(), HostError> {
        if let Some(folder) = self.program.parent() {
            paths::create_folder(folder)?;
        }
        copy_program(executable, &self.program).map_err(|source| HostError::File {
            action: "copy the executable to",
            path: self.program.clone(),
            source,
        })?;
        write_preload(&self.preload).map_err(|source| HostError::File {
            action: "write",
            path: self.preload.clone(),
            source,
        })
    }
}

impl Home {
    /// Where [`Self::install`] puts things for this version. Touches no file.
    #[must_use]
    pub fn installed(&self, version: &str) -> Installed {
        Installed::within(&self.root.join("bin").join(version))
    }

    /// Copies `executable` and [`PRELOAD`] to `bin/<version>/` unless they are there already, told by size and time of
    /// change. Never a hard link: overwriting the source in place would change what runs. A running copy is replaced by
    /// name only and goes on. Any number of processes may do this at once.
    pub fn install(&self, executable: &Path, version: &str) -> Result<Installed, HostError> {
        let opened = File::open(executable).map_err(|source| HostError::File {
            action: "copy",
            path: executable.to_path_buf(),
            source,
        })?;
        let installed = self.installed(version);
        installed.copy_from(&opened)?;
        Ok(installed)
    }
}

fn copy_program(mut source: &File, target: &Path) -> io::Result<()> {
    let original = source.metadata()?;
    if fs::metadata(target).is_ok_and(|copy| is_same(&original, &copy)) {
        return Ok(());
    }
    let temporary = beside(target);
    let copied = (|| {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut copy = File::options()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&temporary)?;
        source.rewind()?;
        io::copy(&mut source, &mut copy)?;
        // Last, so that a copy that was cut short never looks like the original.
        copy.set_times(FileTimes::new().set_modified(original.modified()?))?;
        drop(copy);
        fs::rename(&temporary, target)
    })();
    if copied.is_err() {
        let _missing = fs::remove_file(&temporary);
    }
    copied
}

fn is_same(original: &Metadata, copy: &Metadata) -> bool {
    let place = |file: &Metadata| (file.dev(), file.ino());
    place(original) == place(copy)
        || original.len() == copy.len()
            && (original.mtime(), original.mtime_nsec()) == (copy.mtime(), copy.mtime_nsec())
}

fn write_preload(target: &Path) -> io::Result<()> {
    if fs::read(target).is_ok_and(|text| text == PRELOAD.as_bytes()) {
        return Ok(());
    }
    let temporary = beside(target);
    let written = write_new(&temporary, PRELOAD.as_bytes(), 0o600);
    written
        .and_then(|_| fs::rename(&temporary, target))
        .inspect_err(|_| {
            let _missing = fs::remove_file(&temporary);
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(root: &Path) -> Home {
        Home::new(root, &|_| None).unwrap()
    }

    #[test]
    fn an_installed_program_is_copied_once_and_again_when_the_original_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("original");
        fs::write(&source, "one").unwrap();
        let home = home(&folder.path().join("home"));
        let first = home.install(&source, "8.0.0").unwrap();
        assert_eq!(fs::read(&first.program).unwrap(), b"one");
        assert_eq!(fs::read(&first.preload).unwrap(), PRELOAD.as_bytes());
        let inode = fs::metadata(&first.program).unwrap().ino();
        home.install(&source, "8.0.0").unwrap();
        assert_eq!(
            fs::metadata(&first.program).unwrap().ino(),
            inode,
            "nothing to do"
        );
        // In place, as a package manager may: the copy must not change with it, but at the next install.
        fs::write(&source, "three").unwrap();
        assert_eq!(fs::read(&first.program).unwrap(), b"one");
        home.install(&source, "8.0.0").unwrap();
        assert_eq!(fs::read(&first.program).unwrap(), b"three");
        assert_eq!(
            fs::read_dir(first.program.parent().unwrap())
                .unwrap()
                .count(),
            2
        );
    }

    #[test]
    fn an_installed_program_can_install_itself() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("original");
        fs::write(&source, "one").unwrap();
        let home = home(&folder.path().join("home"));
        let first = home.install(&source, "8.0.0").unwrap();
        assert_eq!(home.install(&first.program, "8.0.0").unwrap(), first);
        assert_eq!(fs::read(&first.program).unwrap(), b"one");
    }
}
