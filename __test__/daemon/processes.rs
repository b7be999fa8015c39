//! Processes and programs, as tests look at them and make them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

/// What stands behind the name of this process in its line of `/proc`: state, parent and so on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = line.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// Whether a process with this number runs; a zombie does not, nor one that is just being reaped.
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !["Z", "X"].contains(&&*stat[0]))
}

/// The parent of a process that lives.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    stat(pid)?[1].parse().ok()
}

/// Allows this process as many descriptors as it may have: some tests need more than is usual.
pub(crate) fn raise_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

pub(crate) fn signal(pid: i32, name: &str) {
    let _gone = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Writes a program. Another process does: whatever another test starts meanwhile would hold our descriptor, and what somebody can
/// write cannot be executed.
pub(crate) fn write_program(path: &Path, text: &str) {
    let act = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let mut writer = Command::new("/bin/sh");
    writer.args(["-c", act]).arg(path).arg(text);
    assert!(writer.status().unwrap().success());
}

/// The same with a copy of the executable.
pub(crate) fn copy_program(path: &Path) {
    let mut copier = Command::new("cp");
    copier.arg(env!("CARGO_BIN_EXE_pm2")).arg(path);
    assert!(copier.status().unwrap().success());
}

/// Starts a keeper, and gives the line that it or its daemon says.
pub(crate) fn launch(home: &Path, env: &[(&str, &str)]) -> Value {
    let mut command = keeper_command(home, Path::new(env!("CARGO_BIN_EXE_pm2")));
    command.envs(env.iter().copied());
    ready_line(command)
}

/// Starts a keeper from this program.
pub(crate) fn keeper_command(home: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("__keeper")
        .arg(home)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("PM2_HOME", home)
        .env("PM2_READY_FD", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

/// What it or its daemon says about its start.
pub(crate) fn ready_line(mut command: Command) -> Value {
    let mut keeper = command.spawn().unwrap();
    let line = read_ready_line(&mut keeper);
    keeper.wait().unwrap();
    line
}

pub(crate) fn read_ready_line(keeper: &mut std::process::Child) -> Value {
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}
