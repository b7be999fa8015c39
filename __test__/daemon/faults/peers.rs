//! Peers that do everything wrong, many at once: others are served, memory has an end, and nothing of them stays.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::helper::{Daemon, frame, raise_open_files, wait_for};
use super::super::recovery::Dice;

/// How long, unless `PM2_FAULT_SECONDS` says otherwise.
const SECONDS: u64 = 4;
/// More than the daemon takes at one time.
const CROWD: usize = 1_300;
/// Peers that begin a request and send a byte now and then.
const LORISES: usize = 200;
/// Peers that promise a large request and send most of it.
const HOARDERS: usize = 12;
const HOARD: usize = 40 << 20;
/// Peers that ask and ask, and never read an answer.
const DEAF: usize = 20;
/// What all of them together may cost, in KiB: the 256 MiB that the daemon holds for unfinished requests and unread answers, and some room
/// for buffers that grow and for the allocator.
const GROWTH_MAX_KIB: usize = 400 << 10;
/// What may be left of it when they have gone.
const REST_MAX_KIB: usize = 48 << 10;

fn resident_kib(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn call(method: &str) -> Vec<u8> {
    let message = json!({"type": "call", "method": method, "args": [{}]});
    frame(&[format!("j:{message}").as_bytes(), b"s:1:1"])
}

/// What they do it to.
struct Victim {
    rpc: PathBuf,
    bus: PathBuf,
    is_over: AtomicBool,
}

/// Nothing if there is no room.
fn connect(path: &Path) -> Option<UnixStream> {
    let stream = UnixStream::connect(path).ok()?;
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    Some(stream)
}

impl Victim {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// Bytes of no meaning, and requests with some of their bits turned.
    fn babble(&self, mut dice: Dice) {
        while self.goes_on() {
            let path = if dice.roll(4) == 0 {
                &self.bus
            } else {
                &self.rpc
            };
            let Some(mut stream) = connect(path) else {
                continue;
            };
            let mut bytes = if dice.roll(2) == 0 {
                (0..dice.roll(3_000))
                    .map(|_| u8::try_from(dice.roll(256)).unwrap())
                    .collect()
            } else {
                [call("getMonitorData"), call("ping")].concat()
            };
            for _ in 0..dice.roll(4) {
                let at = usize::try_from(dice.roll(bytes.len().max(1) as u64)).unwrap();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            let _refused = stream.write_all(&bytes);
        }
    }

    fn dawdle(&self) {
        let bytes = call("getMonitorData");
        let mut peers: Vec<_> = (0..LORISES).map(|_| connect(&self.rpc)).collect();
        for byte in bytes.iter().cycle() {
            if !self.goes_on() {
                return;
            }
            for peer in peers.iter_mut().flatten() {
                let _refused = peer.write_all(&[*byte]);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hoard(&self) {
        let mut peers: Vec<_> = (0..HOARDERS).map(|_| connect(&self.rpc)).collect();
        let head = [
            &[0x11][..],
            &u32::try_from(HOARD * 2).unwrap().to_be_bytes(),
        ]
        .concat();
        let piece = vec![b'x'; 1 << 20];
        for peer in peers.iter_mut().flatten() {
            let _refused = peer.write_all(&head);
        }
        for _ in 0..HOARD / piece.len() {
            for peer in peers.iter_mut().flatten().filter(|_| self.goes_on()) {
                let _refused = peer.write_all(&piece);
            }
        }
        while self.goes_on() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks without reading, and listens without reading.
    fn ignore(&self) {
        let mut callers: Vec<_> = (0..DEAF).map(|_| connect(&self.rpc)).collect();
        let _listeners: Vec<_> = (0..DEAF).map(|_| connect(&self.bus)).collect();
        let many = call("getMonitorData").repeat(100);
        for caller in callers.iter().flatten() {
            caller.set_nonblocking(true).unwrap();
        }
        while self.goes_on() {
            for caller in callers.iter_mut().flatten() {
                let _full = caller.write(&many);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// More connections than there is room for, held for a while, over and over.
    fn crowd(&self) {
        while self.goes_on() {
            let rpc: Vec<_> = (0..CROWD).map(|_| connect(&self.rpc)).collect();
            let bus: Vec<_> = (0..CROWD).map(|_| connect(&self.bus)).collect();
            std::thread::sleep(Duration::from_millis(100));
            drop((rpc, bus));
        }
    }
}

// Protects: everybody else. Whatever these peers do, a caller is answered, an app is heard, and the daemon is afterwards what it was.
#[test]
fn peers_that_do_everything_wrong_cost_nobody_else_anything() {
    raise_open_files();
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let mut bus = daemon.bus();
    let script = "process.on('message', m => process.send({ type: 'echo', data: m.data }));";
    daemon.start_node(
        &mut client,
        "echo",
        script,
        &json!({"LARGE": "x".repeat(100_000)}),
    );
    let pid = daemon.daemon_pid().unwrap();
    let (files, resident) = (open_files(pid), resident_kib(pid));
    let victim = Victim {
        rpc: daemon.path("rpc.sock"),
        bus: daemon.path("pub.sock"),
        is_over: AtomicBool::new(false),
    };
    let seconds = super::number("PM2_FAULT_SECONDS").unwrap_or(SECONDS);
    let (mut rounds, mut peak) = (0, 0);
    let dice = super::dice("peers");
    std::thread::scope(|scope| {
        // Whatever is found, they must be told to end, or the scope waits for them for ever.
        let found = std::panic::AssertUnwindSafe(|| {
            let end = Instant::now() + Duration::from_secs(seconds);
            while rounds == 0 || Instant::now() < end {
                let packet = json!({"id": 0, "topic": "t", "data": {"n": rounds}});
                client.ok("sendDataToProcessId", json!([packet]));
                let echo = bus.named("echo");
                assert_eq!(echo["data"]["n"], rounds);
                assert_eq!(client.status("echo"), "online");
                peak = peak.max(resident_kib(pid));
                rounds += 1;
            }
        });
        scope.spawn(|| victim.babble(dice));
        scope.spawn(|| victim.dawdle());
        scope.spawn(|| victim.hoard());
        scope.spawn(|| victim.ignore());
        scope.spawn(|| victim.crowd());
        let outcome = std::panic::catch_unwind(found);
        victim.is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    let growth = peak.saturating_sub(resident);
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB more");
    wait_for("their descriptors to be closed", || {
        // There were more before, where a caller had gone and the daemon had not yet seen it.
        (open_files(pid) <= files).then_some(())
    });
    wait_for("their memory to be given back", || {
        (resident_kib(pid) < resident + REST_MAX_KIB).then_some(())
    });
    assert_eq!(daemon.daemon_pid(), Some(pid), "it is the same daemon");
    daemon.client().ok("ping", json!([{}]));
    println_figures(rounds, growth);
}

#[expect(clippy::print_stdout, reason = "for who asks with --nocapture")]
fn println_figures(rounds: u64, growth: usize) {
    println!("{rounds} rounds of a bystander, at most {growth} KiB more");
}
