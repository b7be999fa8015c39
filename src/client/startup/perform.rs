//! What is done to a machine: a file, and a few programs of its init system, run without a shell.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::actions::ActionError;
use super::template::shell_word;
use crate::host::files::{note, replace_with_mode};
use crate::host::handles::Pidfd;
use crate::host::memory;
use crate::host::process::{self, PollFd, PollFlags};

/// How long a program of the init system may take; stopping a service ends every app, which takes as long as they like.
const PROGRAM_LIMIT: Duration = Duration::from_mins(3);

/// How much of what it said goes into an error.
const SAID_BYTES_MAX: u64 = 2048;

/// One thing done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A program and its arguments, which changes files and nothing else.
    Run(Vec<String>),
    /// One that speaks with the init system that runs, or with a service.
    Tell(Vec<String>),
    /// An empty file, with its folder.
    Touch(PathBuf),
    /// A symbolic link, with its folder, in place of what is there.
    Link {
        /// Where it is.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A file goes; that it is gone already is no failure.
    Remove(PathBuf),
}

impl Step {
    pub(super) fn run<const N: usize>(words: [&str; N]) -> Self {
        Self::Run(words.map(str::to_owned).to_vec())
    }

    pub(super) fn tell<const N: usize>(words: [&str; N]) -> Self {
        Self::Tell(words.map(str::to_owned).to_vec())
    }

    /// Does it, with the caller's environment. The error says what failed and why.
    pub(super) fn perform(&self, env: &[(OsString, OsString)]) -> Result<(), String> {
        let done = match self {
            Self::Run(words) | Self::Tell(words) => run_program(words, env),
            Self::Touch(path) => make_folder_of(path)
                .and_then(|()| note(path, ""))
                .map_err(|error| error.to_string()),
            Self::Link { path, target } => make_folder_of(path)
                .and_then(|()| remove(path))
                .and_then(|()| symlink(target, path))
                .map_err(|error| error.to_string()),
            Self::Remove(path) => remove(path).map_err(|error| error.to_string()),
        };
        done.map_err(|reason| format!("{self} failed: {reason}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| shell_word(path.to_string_lossy());
        match self {
            Self::Run(words) | Self::Tell(words) => {
                let words: Vec<String> = words.iter().map(shell_word).collect();
                f.write_str(&words.join(" "))
            }
            Self::Touch(file) => write!(f, "touch {}", path(file)),
            Self::Link { path: link, target } => {
                write!(f, "ln -sfn {} {}", path(target), path(link))
            }
            Self::Remove(file) => write!(f, "rm {}", path(file)),
        }
    }
}

/// Writes a file for the init system, which anybody may read.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), ActionError> {
    make_folder_of(path).map_err(|error| {
        ActionError::new(format!(
            "failed to make the folder of {}: {error}",
            path.display()
        ))
    })?;
    Ok(replace_with_mode(path, text.as_bytes(), mode)?)
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn run_program(words: &[String], env: &[(OsString, OsString)]) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let [program, args @ ..] = words else {
        return Ok(());
    };
    let mut said = File::from(memory::file(b"").map_err(text)?);
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone().map_err(text)?)
        .spawn()
        .map_err(text)?;
    let pidfd = i32::try_from(child.id())
        .ok()
        .and_then(|pid| Pidfd::open(pid).ok());
    if let Some(pidfd) = pidfd {
        let mut interests = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        process::wait(&mut interests, Some(PROGRAM_LIMIT)).map_err(text)?;
        if !pidfd.has_ended() {
            child.kill().map_err(text)?;
            child.wait().map_err(text)?;
            return Err(format!(
                "it does not end within {} s",
                PROGRAM_LIMIT.as_secs()
            ));
        }
    }
    let status = child.wait().map_err(text)?;
    if status.success() {
        return Ok(());
    }
    let mut words = Vec::new();
    said.rewind().map_err(text)?;
    said.take(SAID_BYTES_MAX)
        .read_to_end(&mut words)
        .map_err(text)?;
    let words = String::from_utf8_lossy(&words);
    Err(format!("{status}: {}", words.trim())
        .trim_end_matches(": ")
        .to_owned())
}
