//! A daemon in a home of its own, a client of a hundred lines, and the certainty that nothing is left.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use super::processes::{
    copy_program, is_alive, keeper_command, launch, parent_of, raise_open_files, read_ready_line,
    ready_line, signal, write_program,
};

/// Far beyond what anything takes here; a test that gets there has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
const GLANCE: Duration = Duration::from_millis(5);

/// A running daemon and its home. Ends both, and fails if anything of them is left.
pub(crate) struct Daemon {
    home: tempfile::TempDir,
    /// The first one.
    pub(crate) keeper: i32,
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(GLANCE);
    }
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(env: &[(&str, &str)]) -> Self {
        // Socket paths have little room, so not below the target folder.
        let home = tempfile::Builder::new()
            .prefix("pm2d")
            .tempdir_in("/tmp")
            .unwrap();
        let line = launch(home.path(), env);
        Self::of(home, &line)
    }

    /// In a home that is there already, from some executable, as some user.
    pub(crate) fn start_in(home: tempfile::TempDir, program: &Path, user: Option<u32>) -> Self {
        let mut command = keeper_command(home.path(), program);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let line = ready_line(command);
        Self::of(home, &line)
    }

    /// With what `env` says of some ports, on ports that were free a moment ago: where somebody else was faster, on other ones.
    pub(crate) fn start_on_ports<const N: usize>(
        env: impl Fn([u16; N]) -> Vec<(&'static str, String)>,
    ) -> (Self, [u16; N]) {
        wait_for("free ports", || {
            let free = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let ports = free.map(|listener| listener.local_addr().unwrap().port());
            let home = tempfile::Builder::new()
                .prefix("pm2d")
                .tempdir_in("/tmp")
                .unwrap();
            let variables = env(ports);
            let variables: Vec<_> = variables.iter().map(|(name, to)| (*name, &**to)).collect();
            let line = launch(home.path(), &variables);
            let is_taken = line["reason"]
                .as_str()
                .is_some_and(|why| why.contains("already serves"));
            (!is_taken).then(|| (Self::of(home, &line), ports))
        })
    }

    /// The daemon that has said this about its start.
    pub(crate) fn of(home: tempfile::TempDir, line: &Value) -> Self {
        assert_eq!(line["online"], true, "{line}");
        let keeper = i32::try_from(line["pid"].as_i64().unwrap()).unwrap();
        Self { home, keeper }
    }

    /// One in no-daemon mode: it ends when what is given is dropped.
    pub(crate) fn start_tied() -> (Self, std::process::Child) {
        let home = tempfile::Builder::new()
            .prefix("pm2d")
            .tempdir_in("/tmp")
            .unwrap();
        let mut command = keeper_command(home.path(), Path::new(env!("CARGO_BIN_EXE_pm2")));
        command.env("PM2_TIE_FD", "0").stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let line = read_ready_line(&mut child);
        assert_eq!(line["online"], true, "{line}");
        let keeper = i32::try_from(child.id()).unwrap();
        (Self { home, keeper }, child)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file into the home's `app` folder.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("app").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.path("rpc.sock"))
    }

    /// Whether somebody answers, and not only listens: a daemon that finds its keeper gone before it knows everything ends again.
    pub(crate) fn is_answering(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.path("rpc.sock")) else {
            return false;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let ping = frame(&[
            b"j:{\"type\":\"call\",\"method\":\"ping\",\"args\":[{}]}",
            b"s:1:0",
        ]);
        stream.write_all(&ping).is_ok() && matches!(stream.read(&mut [0]), Ok(1))
    }

    pub(crate) fn bus(&self) -> Bus {
        // Whoever can call can be heard: the subscription is there once the daemon has answered a later call.
        let bus = Bus::new(&self.path("pub.sock"));
        self.client().ok("ping", json!([{}]));
        self.client().ok("ping", json!([{}]));
        bus
    }

    /// A declaration as the client resolves it. `more` is laid over it.
    pub(crate) fn declaration(
        &self,
        name: &str,
        interpreter: &str,
        script: &Path,
        more: &Value,
    ) -> Value {
        let home = self.home().to_str().unwrap();
        let mut app = json!({
            "name": name, "namespace": "default", "filter_env": [],
            "env": {"PATH": std::env::var("PATH").unwrap(), "PM2_HOME": home, name: {}},
            "merge_logs": true, "vizion": true, "autostart": true, "autorestart": true, "watch": false,
            "instance_var": "NODE_APP_INSTANCE", "pmx": true, "automation": true, "treekill": true,
            "username": "root", "windowsHide": true, "kill_retry_time": 100, "node_args": [],
            "pm_exec_path": script, "pm_cwd": "/tmp", "exec_interpreter": interpreter,
            "exec_mode": "fork_mode", "instances": 1, "km_link": false,
            "pm_out_log_path": format!("{home}/logs/{name}-out.log"),
            "pm_err_log_path": format!("{home}/logs/{name}-error.log"),
            "pm_pid_path": format!("{home}/pids/{name}.pid"),
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            app[key] = value.clone();
        }
        app
    }

    /// Starts `sh -c`-like text as an app.
    pub(crate) fn start_shell(
        &self,
        client: &mut Client,
        name: &str,
        text: &str,
        more: &Value,
    ) -> Value {
        let script = self.script(&format!("{name}.sh"), text);
        client.ok(
            "prepare",
            json!([self.declaration(name, "/bin/sh", &script, more)]),
        )
    }

    /// Starts a Node script as an app.
    pub(crate) fn start_node(
        &self,
        client: &mut Client,
        name: &str,
        text: &str,
        more: &Value,
    ) -> Value {
        let script = self.script(&format!("{name}.js"), text);
        client.ok(
            "prepare",
            json!([self.declaration(name, "node", &script, more)]),
        )
    }

    /// Waits until an app that prints numbers has printed so many.
    pub(crate) fn wait_counted(&self, name: &str, numbers: usize) {
        wait_for("the numbers", || {
            (self.out_log(name).lines().count() > numbers).then_some(())
        });
    }

    pub(crate) fn out_log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("logs/{name}-out.log"))).unwrap_or_default()
    }

    /// The daemon's pid.
    pub(crate) fn daemon_pid(&self) -> Option<i32> {
        self.of_ours("__daemon").first().copied()
    }

    /// The pid of the keeper of the moment.
    pub(crate) fn keeper_pid(&self) -> Option<i32> {
        self.of_ours("__keeper").first().copied()
    }

    /// Processes of this home whose first word is this one. A child that has not executed yet has its parent's words.
    fn of_ours(&self, word: &str) -> Vec<i32> {
        let is_it = |pid: &i32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).nth(1) == Some(word.as_bytes())
        };
        let all: Vec<i32> = self.processes().into_iter().filter(is_it).collect();
        let is_own = |pid: &&i32| parent_of(**pid).is_some_and(|parent| !all.contains(&parent));
        all.iter().filter(is_own).copied().collect()
    }

    /// Every process that has this home in its environment.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let needle = format!("PM2_HOME={}", self.home().display());
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|b| *b == 0)
                .any(|variable| variable == needle.as_bytes())
        };
        numbers
            .filter(is_ours)
            .filter(|pid| is_alive(*pid))
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let end = Instant::now() + PATIENCE;
        let mut told = None;
        while !self.processes().is_empty() && Instant::now() < end {
            // One that was killed may have a successor only now.
            let keeper = self.keeper_pid().filter(|keeper| told != Some(*keeper));
            if let Some(keeper) = keeper {
                signal(keeper, "TERM");
                told = Some(keeper);
            }
            std::thread::sleep(GLANCE);
        }
        let left = self.processes();
        for pid in &left {
            signal(*pid, "KILL");
        }
        if !std::thread::panicking() {
            let log = fs::read_to_string(self.path("pm2.log")).unwrap_or_default();
            assert!(left.is_empty(), "left behind: {left:?}\n{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// The bytes of a frame of these arguments.
pub(crate) fn frame(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0x10 | u8::try_from(arguments.len()).unwrap()];
    for argument in arguments {
        bytes.extend(u32::try_from(argument.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(argument);
    }
    bytes
}

/// Frames out of a socket, by blocking reads.
pub(crate) struct Frames {
    pub(crate) stream: UnixStream,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next frame; nothing at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        loop {
            if let Some((length, arguments)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                return Some(arguments);
            }
            let mut chunk = vec![0; 256 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                // A read with a time limit is not begun again by itself when the machine was halted for a moment.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("no frame: {error}"),
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(usize, Vec<Vec<u8>>)> {
    let count = *bytes.first()? & 15;
    let mut at = 1;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().unwrap()) as usize;
        arguments.push(bytes.get(at + 4..at + 4 + length)?.to_vec());
        at += 4 + length;
    }
    Some((at, arguments))
}

pub(crate) fn json_of(argument: &[u8]) -> Value {
    let text = argument.strip_prefix(b"j:").expect("a JSON argument");
    serde_json::from_slice(text).unwrap()
}

/// A caller of `rpc.sock`.
pub(crate) struct Client {
    pub(crate) frames: Frames,
    next: u32,
    early: HashMap<String, Value>,
}

impl Client {
    fn new(path: &Path) -> Self {
        Self {
            frames: Frames::new(path),
            next: 0,
            early: HashMap::new(),
        }
    }

    /// Sends a request and gives its id.
    pub(crate) fn send(&mut self, method: &str, args: Value) -> String {
        let id = format!("s:{}:{}", std::process::id(), self.next);
        self.next += 1;
        let message = json!({"type": "call", "method": method, "args": args});
        let message = format!("j:{message}");
        self.frames
            .stream
            .write_all(&frame(&[message.as_bytes(), id.as_bytes()]))
            .unwrap();
        id
    }

    /// The reply to a request, whatever comes before it.
    #[track_caller]
    pub(crate) fn reply(&mut self, id: &str) -> Value {
        loop {
            if let Some(reply) = self.early.remove(id) {
                return reply;
            }
            let frame = self.frames.next().expect("a reply");
            let key = String::from_utf8(frame[1].clone()).unwrap();
            self.early.insert(key, json_of(&frame[0]));
        }
    }

    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, args: Value) -> Value {
        let id = self.send(method, args);
        self.reply(&id)
    }

    /// The one value of a successful call.
    #[track_caller]
    pub(crate) fn ok(&mut self, method: &str, args: Value) -> Value {
        let mut reply = self.call(method, args);
        assert!(reply.get("error").is_none(), "{method}: {reply}");
        reply["args"]
            .as_array_mut()
            .unwrap()
            .pop()
            .unwrap_or(Value::Null)
    }

    /// The message of a failed call.
    #[track_caller]
    pub(crate) fn error(&mut self, method: &str, args: Value) -> String {
        let reply = self.call(method, args);
        reply["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{method}: {reply}"))
            .to_owned()
    }

    /// The one process of that name.
    #[track_caller]
    pub(crate) fn process(&mut self, name: &str) -> Value {
        let list = self.ok("getMonitorData", json!([{}]));
        let mut found = list
            .as_array()
            .unwrap()
            .iter()
            .filter(|process| process["name"] == name);
        found
            .next()
            .cloned()
            .unwrap_or_else(|| panic!("no {name} in {list}"))
    }

    pub(crate) fn status(&mut self, name: &str) -> String {
        self.process(name)["pm2_env"]["status"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// A subscriber of `pub.sock`.
pub(crate) struct Bus {
    pub(crate) frames: Frames,
    seen: VecDeque<(String, Value)>,
}

impl Bus {
    fn new(path: &Path) -> Self {
        Self {
            frames: Frames::new(path),
            seen: VecDeque::new(),
        }
    }

    /// The next event; nothing when the daemon has closed the bus.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        if let Some(event) = self.seen.pop_front() {
            return Some(event);
        }
        let frame = self.frames.next()?;
        let name = String::from_utf8(frame[0].clone()).unwrap();
        Some((
            name.strip_prefix("s:").unwrap().to_owned(),
            json_of(&frame[1]),
        ))
    }

    /// The next event that `wanted` wants; those before it are gone.
    #[track_caller]
    pub(crate) fn until(&mut self, mut wanted: impl FnMut(&str, &Value) -> bool) -> Value {
        loop {
            let (name, payload) = self.next().expect("an event");
            if wanted(&name, &payload) {
                return payload;
            }
        }
    }

    #[track_caller]
    pub(crate) fn named(&mut self, wanted: &str) -> Value {
        self.until(|name, _| name == wanted)
    }
}
