//! A pretend world that obeys effects late, out of order, or not at all, and watches over what is always true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Call, Effect, Input, Now, Supervisor, SupervisorConfig};
use super::world::declaration;
use crate::model::{AppMessage, Exit, JsonText, Pid, PmId, RunId, Signal, Ticket, WireId};

/// What became of a run, in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Asked for.
    Asked,
    /// There.
    Alive(Pid),
    /// Its process ended; descendants may live.
    Ended,
}

/// The world, and two supervisors in it: one lives through, the other is written out and read back now and then.
struct Pretend {
    supervisor: Supervisor,
    twin: Supervisor,
    now: Now,
    runs: BTreeMap<RunId, (PmId, Fate)>,
    /// Runs that were asked to end.
    asked: BTreeSet<RunId>,
    waiting: BTreeSet<Ticket>,
    /// Who waited when the twin was read back: its connection ended with the daemon, so nothing it is told is kept.
    cut_off: BTreeSet<Ticket>,
    tickets: u64,
    pids: i32,
}

const CONFIG: fn() -> SupervisorConfig = || SupervisorConfig {
    cpus: 2,
    next_tick: |_, after| Ok(Some(after + 900 - after % 900)),
    ..SupervisorConfig::default()
};

impl Pretend {
    fn new() -> Self {
        Self {
            supervisor: Supervisor::new(CONFIG()),
            twin: Supervisor::new(CONFIG()),
            now: Now {
                mono: Duration::from_secs(1),
                wall_ms: 1_000_000,
            },
            runs: BTreeMap::new(),
            asked: BTreeSet::new(),
            waiting: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            tickets: 0,
            pids: 100,
        }
    }

    /// One thing happens, chosen by two numbers.
    fn happen(&mut self, what: u8, which: u8) {
        match what % 26 {
            0..=2 => self.call(Call::Prepare {
                declaration: JsonText::from_valid(declaration(
                    DECLARATIONS[which as usize % DECLARATIONS.len()],
                )),
                unique_id: "u".into(),
            }),
            3 => self.call(Call::Start(id(which))),
            4 => self.call(Call::Stop(id(which))),
            5 | 6 => self.call(Call::Restart {
                id: id(which),
                env: None,
            }),
            7 => self.call(Call::Delete(id(which))),
            8 => self.call(Call::Duplicate {
                id: id(which),
                unique_id: "d".into(),
            }),
            9 => self.call(other_call(which)),
            10..=12 => self.conclude_spawn(which),
            13 | 14 => self.end(which, |fate| matches!(fate, Fate::Alive(_))),
            15 => self.end_asked(which),
            16 | 17 => self.drain(which),
            18 => self.say(which),
            24 => self.measure(which),
            25 => self.feed(Input::Changed {
                id: PmId(u32::from(which % 5)),
                path: "/srv/app.js".into(),
            }),
            19 => self.pass(u64::from(which) * 7),
            20 | 21 => self.pass_to_deadline(which),
            22 => self.revive_twin(),
            _ => self.feed(Input::Timeout),
        }
    }

    fn call(&mut self, call: Call) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket);
        self.feed(Input::Call { ticket, call });
    }

    fn pick(&self, which: u8, fit: impl Fn(RunId, Fate) -> bool) -> Option<RunId> {
        let runs: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(run, (_, fate))| fit(**run, *fate))
            .map(|(run, _)| *run)
            .collect();
        (!runs.is_empty()).then(|| runs[which as usize % runs.len()])
    }

    fn conclude_spawn(&mut self, which: u8) {
        let Some(run) = self.pick(which, |_, fate| fate == Fate::Asked) else {
            return;
        };
        if which.is_multiple_of(7) {
            self.runs.remove(&run);
            self.feed(Input::SpawnFailed {
                run,
                reason: "no".to_owned(),
            });
        } else {
            self.pids += 1;
            let pid = Pid(self.pids);
            self.runs.get_mut(&run).unwrap().1 = Fate::Alive(pid);
            self.feed(Input::Spawned {
                run,
                pid,
                version: None,
            });
        }
    }

    fn end(&mut self, which: u8, fit: impl Fn(Fate) -> bool) {
        let Some(run) = self.pick(which, |_, fate| fit(fate)) else {
            return;
        };
        self.runs.get_mut(&run).unwrap().1 = Fate::Ended;
        let exit = if which.is_multiple_of(2) {
            Exit::Code(i32::from(which))
        } else {
            Exit::Signal(Signal::KILL)
        };
        self.feed(Input::Exited { run, exit });
    }

    fn end_asked(&mut self, which: u8) {
        let asked = self.asked.clone();
        if let Some(run) = self.pick(which, |run, fate| {
            asked.contains(&run) && matches!(fate, Fate::Alive(_))
        }) {
            self.runs.get_mut(&run).unwrap().1 = Fate::Ended;
            self.feed(Input::Exited {
                run,
                exit: Exit::Signal(Signal::INT),
            });
        }
    }

    fn drain(&mut self, which: u8) {
        let Some(run) = self.pick(which, |_, fate| fate == Fate::Ended) else {
            return;
        };
        self.runs.remove(&run);
        self.feed(Input::Drained { run });
    }

    fn say(&mut self, which: u8) {
        let Some(run) = self.pick(which, |_, fate| matches!(fate, Fate::Alive(_))) else {
            return;
        };
        let text = MESSAGES[which as usize % MESSAGES.len()];
        self.feed(Input::Message {
            run,
            message: AppMessage::parse(text).unwrap(),
        });
    }

    fn measure(&mut self, which: u8) {
        let limited: Vec<RunId> = self
            .supervisor
            .memory_limited()
            .map(|limited| limited.run)
            .collect();
        for run in &limited {
            assert!(matches!(self.runs.get(run), Some((_, Fate::Alive(_)))));
        }
        if let Some(run) = limited.get(which as usize % limited.len().max(1)) {
            let (run, memory_bytes) = (*run, u64::from(which) * 16);
            self.feed(Input::Measured { run, memory_bytes });
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono += Duration::from_millis(ms);
        self.now.wall_ms += ms;
    }

    /// Time passes until something is due, or somewhat longer.
    fn pass_to_deadline(&mut self, which: u8) {
        if let Some(at) = self.supervisor.deadline() {
            let wait = at.saturating_sub(self.now.mono);
            self.pass(u64::try_from(wait.as_millis()).unwrap() + u64::from(which % 4) * 40);
            self.feed(Input::Timeout);
            let next = self.supervisor.deadline();
            assert!(
                next.is_none_or(|next| next > self.now.mono),
                "a deadline that is past was not acted on"
            );
        }
    }

    /// What a daemon's death is to the core.
    fn revive_twin(&mut self) {
        let header = self.twin.freeze_header();
        let ids: Vec<PmId> = self
            .twin
            .processes()
            .map(super::super::Process::id)
            .collect();
        let texts: Vec<String> = ids
            .iter()
            .map(|id| self.twin.freeze_process(*id).unwrap())
            .collect();
        let parts = self.twin.freeze_parts();
        let texts = texts.iter().map(String::as_str);
        self.twin = Supervisor::thaw(CONFIG(), &header, &parts, texts).unwrap();
        assert_eq!(self.twin.freeze_header(), header);
        assert_eq!(self.twin.freeze_parts(), parts);
        self.cut_off.extend(&self.waiting);
    }

    fn feed(&mut self, input: Input) {
        let effects = self.supervisor.handle(self.now, input.clone());
        let mut twins = self.twin.handle(self.now, input);
        self.take_over_answers(&effects, &mut twins);
        assert_eq!(
            effects, twins,
            "written out and read back, it does the same"
        );
        for effect in effects {
            self.obey(effect);
        }
        for process in self.supervisor.processes() {
            let alive: Vec<Pid> = self
                .runs
                .values()
                .filter_map(|(id, fate)| match fate {
                    Fate::Alive(pid) if *id == process.id() => Some(*pid),
                    Fate::Alive(_) | Fate::Asked | Fate::Ended => None,
                })
                .collect();
            assert_eq!(
                process.pid().into_iter().collect::<Vec<_>>(),
                alive,
                "a pid exactly when a child lives"
            );
        }
    }

    /// That somebody is answered is the same for both whatever happened; with what, only for those who can hear it.
    fn take_over_answers(&self, effects: &[Effect], twins: &mut [Effect]) {
        for (effect, twin) in effects.iter().zip(twins) {
            if let Effect::Reply { ticket, result } = effect
                && let Effect::Reply { result: other, .. } = twin
                && self.cut_off.contains(ticket)
                && result.is_ok() == other.is_ok()
            {
                other.clone_from(result);
            }
        }
    }

    fn obey(&mut self, effect: Effect) {
        let is_alive =
            |world: &Self, run: RunId| matches!(world.runs.get(&run), Some((_, Fate::Alive(_))));
        match effect {
            Effect::Spawn { id, run, plan } => {
                assert_eq!(plan.script, "/srv/app.js");
                let twice = self
                    .runs
                    .values()
                    .any(|(of, fate)| *of == id && *fate != Fate::Ended);
                assert!(!twice, "two children for {id}");
                assert!(
                    self.runs.insert(run, (id, Fate::Asked)).is_none(),
                    "a run used twice"
                );
            }
            Effect::Terminate { run, .. } | Effect::TerminateMessage { run, .. } => {
                assert!(
                    is_alive(self, run),
                    "asked to end: {run}, which is not there"
                );
                self.asked.insert(run);
            }
            Effect::Kill { run } => {
                assert!(
                    matches!(self.runs.get(&run), Some((_, Fate::Alive(_) | Fate::Ended))),
                    "killed: {run}"
                );
            }
            Effect::Signal { run, .. }
            | Effect::Send { run, .. }
            | Effect::Stdin { run, .. }
            | Effect::Await { run, .. }
            | Effect::SendSocket { run, .. }
            | Effect::SendConnection { run, .. } => {
                assert!(is_alive(self, run), "written to: {run}, which is not there");
            }
            Effect::Reply { ticket, .. } => {
                assert!(self.waiting.remove(&ticket), "{ticket:?} answered twice");
            }
            Effect::Forget { id } => {
                assert!(self.supervisor.get(id).is_none());
                let alive = self
                    .runs
                    .values()
                    .any(|(of, fate)| *of == id && *fate != Fate::Ended);
                assert!(!alive, "{id} forgotten while a child lives");
            }
            Effect::Announce(event) => {
                assert!(
                    serde_json::from_str::<serde::de::IgnoredAny>(event.payload.as_str()).is_ok()
                );
            }
            Effect::Log { .. }
            | Effect::PidFile { .. }
            | Effect::Listen { .. }
            | Effect::CloseSocket { .. }
            | Effect::CloseConnection { .. }
            | Effect::Watch { .. }
            | Effect::Look { .. }
            | Effect::Accept { .. } => {}
        }
    }

    /// Everything is asked to end, and does.
    fn finish(mut self) {
        self.call(Call::KillAll);
        for round in 0..10_000 {
            if self.waiting.is_empty() {
                break;
            }
            assert!(round < 9_999, "never answered: {:?}", self.waiting);
            self.conclude_spawn(1);
            self.end_asked(0);
            self.drain(0);
            if self.runs.is_empty() {
                self.pass_to_deadline(0);
            }
        }
        let mut list = Vec::new();
        self.supervisor
            .write_list(&mut list, &|_, _| crate::model::Usage::default());
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&list).is_ok());
        assert!(
            self.supervisor
                .processes()
                .all(|process| process.pid().is_none())
        );
    }
}

const DECLARATIONS: [&str; 10] = [
    "",
    r#""instances":2"#,
    r#""name":"b","wait_ready":true,"listen_timeout":500"#,
    r#""name":"b","restart_delay":300,"instances":1"#,
    r#""exp_backoff_restart_delay":100"#,
    r#""autorestart":false,"kill_timeout":100"#,
    r#""max_restarts":2,"shutdown_with_message":true,"treekill":false"#,
    r#""autostart":false,"max_restarts":"what""#,
    r#""name":"c","cron_restart":"each","max_memory_restart":"1K""#,
    r#""name":"c","autostart":false,"cron_restart":"each","watch":true"#,
];

const MESSAGES: [&str; 4] = [
    "\"ready\"",
    r#"{"type":"axm:action","data":{"action_name":"a"}}"#,
    r#"{"type":"x","data":1}"#,
    r#"{"type":"axm:monitor","data":{"m":1}}"#,
];

fn id(which: u8) -> WireId {
    PmId(u32::from(which % 5)).into()
}

fn other_call(which: u8) -> Call {
    let target = id(which / 8);
    match which % 8 {
        0 => Call::ResetMeta(target),
        1 => Call::SignalId {
            id: target,
            signal: "SIGUSR1".into(),
        },
        2 => Call::SendData(JsonText::from_valid(format!(
            r#"{{"id":{target},"data":1,"topic":"t"}}"#
        ))),
        3 => Call::MsgProcess(JsonText::from_valid(format!(
            r#"{{"id":{target},"msg":"a"}}"#
        ))),
        4 => Call::StopWatch {
            method: "stopProcessId".into(),
            value: JsonText::from_valid(target.to_string()),
        },
        5 => Call::SendLine(JsonText::from_valid(format!(
            r#"{{"pm_id":{target},"line":"l"}}"#
        ))),
        6 => Call::Restart {
            id: target,
            env: Some(JsonText::from_valid(
                r#"{"A":"1","current_conf":{"restart_delay":50}}"#.to_owned(),
            )),
        },
        _ => Call::Reload {
            id: target,
            env: None,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_some_things_stay_true(script in prop::collection::vec((any::<u8>(), any::<u8>()), 1..160)) {
        let mut world = Pretend::new();
        for (what, which) in script {
            world.happen(what, which);
        }
        world.finish();
    }
}

/// Steps of the long run, without `PM2_STEPS`: as many as a debug build makes in a few seconds.
const STEPS: u64 = 16_000;
/// Steps of one world. Longer ones only repeat themselves.
const STEPS_PER_WORLD: u64 = 400;

/// Numbers that are the same for the same seed (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

// Protects: the same as above over whole histories. `PM2_STEPS=2000000 cargo test --release long_histories` is for a CI;
// the seed of a failure is in its message, `PM2_SEED` begins there.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment how long to go on"
)]
#[test]
fn long_histories_keep_what_is_always_true() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let steps = number("PM2_STEPS").unwrap_or(STEPS);
    let first = number("PM2_SEED").unwrap_or(1);
    for seed in first..first + steps.div_ceil(STEPS_PER_WORLD) {
        let lived = std::panic::catch_unwind(|| {
            let (mut random, mut world) = (Seeded(seed), Pretend::new());
            for _ in 0..STEPS_PER_WORLD {
                let [what, which, ..] = random.next().to_le_bytes();
                world.happen(what, which);
            }
            world.finish();
        });
        assert!(
            lived.is_ok(),
            "the world of PM2_SEED={seed} broke a rule, see above"
        );
    }
}
