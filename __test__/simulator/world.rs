//! A pretend world: it obeys effects late, out of order or not at all, its processes end when they like, its daemon dies at any
//! moment; and it watches over what is always true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::death::Records;
use pm2_simulator::core::{Call, Effect, Input, Now, Process, Supervisor, SupervisorConfig};
use pm2_simulator::model::{AppMessage, Exit, JsonText, Pid, PmId, RunId, Signal, Ticket, Usage};

/// Numbers that are the same for the same seed (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).cloned()
    }
}

/// A run as the world sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) id: PmId,
    pub(crate) is_cluster: bool,
    pub(crate) stage: Stage,
    pub(crate) told: Told,
    /// It ends by SIGKILL and by nothing else.
    pub(crate) is_stubborn: bool,
}

/// What a run was told last about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Nothing,
    Word,
    Signal,
    /// SIGKILL. What does not even end by that, is waited for by nobody in the end.
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asked for.
    Asked,
    Alive(Pid),
    /// Ended, which the supervisor does not know yet.
    Dead(Pid, Exit),
    /// Known to have ended; descendants may live.
    Ended,
}

impl Run {
    /// Whether it is waited for by nobody in the end, should its end not be heard of for too long.
    pub(crate) fn is_dying(&self) -> bool {
        self.told == Told::Kill
            || self.told > Told::Nothing && matches!(self.stage, Stage::Dead(..))
    }

    /// Its process, as far as the supervisor can know.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.stage {
            Stage::Alive(pid) | Stage::Dead(pid, _) => Some(pid),
            Stage::Asked | Stage::Ended => None,
        }
    }
}

/// Who is followed through a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One supervisor lives through, another in the same world is written out and read back now and then: both must do the same.
    Twins,
    /// The daemon dies, at any effect, and another goes on from what was written.
    Mortal,
}

/// The world, and what it has seen.
pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) twin: Option<Supervisor>,
    pub(crate) chance: Chance,
    pub(crate) is_traced: bool,
    pub(crate) now: Now,
    pub(crate) records: Records,
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) waiting: BTreeSet<Ticket>,
    /// Who waited when the twin was read back: its connection ended with the daemon, so nothing it is told is kept.
    pub(crate) cut_off: BTreeSet<Ticket>,
    /// Who asked last for an end of this process, unless somebody has asked for a start since.
    pub(crate) ends: BTreeMap<PmId, Ticket>,
    /// Processes that were stopped and that nobody has asked to start since.
    pub(crate) resting: BTreeSet<PmId>,
    /// Whether the bus has heard that a process is up, as far as it has heard of it.
    pub(crate) is_up: BTreeMap<PmId, bool>,
    pub(crate) is_killing: bool,
    /// After so many more effects the daemon dies.
    pub(crate) dies_after: Option<usize>,
    pub(crate) tickets: u64,
    pub(crate) pids: i32,
    pub(crate) steps: u64,
    pub(crate) deaths: u64,
}

pub(crate) fn config() -> SupervisorConfig {
    SupervisorConfig {
        cpus: 2,
        next_tick: |_, after| Ok(Some(after + 900 - after % 900)),
        ..SupervisorConfig::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64, kind: Kind, is_traced: bool) -> Self {
        let mut supervisor = Supervisor::new(config());
        let mut records = Records::default();
        records.write(supervisor.take_all());
        Self {
            supervisor,
            twin: (kind == Kind::Twins).then(|| Supervisor::new(config())),
            chance: Chance(seed),
            is_traced,
            now: Now {
                mono: Duration::from_secs(1),
                wall_ms: 1_000_000,
            },
            records,
            runs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            ends: BTreeMap::new(),
            resting: BTreeSet::new(),
            is_up: BTreeMap::new(),
            is_killing: false,
            dies_after: None,
            tickets: 0,
            pids: 100,
            steps: 0,
            deaths: 0,
        }
    }

    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        use std::io::Write as _;
        if self.is_traced {
            let _written = writeln!(std::io::stderr(), "{}", text());
        }
    }

    pub(crate) fn call(&mut self, call: Call) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket);
        self.note_wish(ticket, &call);
        self.feed(Input::Call { ticket, call });
    }

    /// Remembers who is to rest, and who no longer.
    fn note_wish(&mut self, ticket: Ticket, call: &Call) {
        let id = match call {
            Call::Stop(id) => {
                if let Some(id) = id.id() {
                    self.ends.insert(id, ticket);
                }
                return;
            }
            Call::Start(id)
            | Call::Restart { id, .. }
            | Call::Reload { id, .. }
            | Call::SoftReload { id, .. } => id.id(),
            Call::KillAll => {
                self.is_killing = true;
                return;
            }
            _ => return,
        };
        if let Some(id) = id {
            self.ends.remove(&id);
            self.resting.remove(&id);
        }
    }

    /// A run in one of these stages.
    fn pick(&mut self, fit: impl Fn(&Run) -> bool) -> Option<RunId> {
        let fitting = self.runs.iter().filter(|(_, run)| fit(run));
        let runs: Vec<RunId> = fitting.map(|(run, _)| *run).collect();
        self.chance.of(&runs)
    }

    pub(crate) fn next_pid(&mut self) -> Pid {
        self.pids += 1;
        Pid(self.pids)
    }

    /// The keeper answers.
    pub(crate) fn conclude_spawn(&mut self, failures_in: Option<usize>) {
        let Some(run) = self.pick(|run| run.stage == Stage::Asked) else {
            return;
        };
        if failures_in.is_some_and(|count| self.chance.one_in(count)) {
            self.runs.remove(&run);
            let reason = "no".to_owned();
            return self.feed(Input::SpawnFailed { run, reason });
        }
        let pid = self.next_pid();
        self.runs.get_mut(&run).unwrap().stage = Stage::Alive(pid);
        let version = None;
        self.feed(Input::Spawned { run, pid, version });
    }

    /// A process ends, by itself or because it was asked to. Nobody hears of it at once.
    pub(crate) fn end_one(&mut self, is_asked: bool) {
        let is_willing = |run: &Run| match run.told {
            Told::Kill => true,
            Told::Word | Told::Signal => !run.is_stubborn,
            Told::Nothing => !run.is_stubborn && !is_asked,
        };
        let is_alive = |run: &Run| matches!(run.stage, Stage::Alive(_));
        let Some(run) = self.pick(|run| is_alive(run) && is_willing(run)) else {
            return;
        };
        let code = i32::try_from(self.chance.below(3)).unwrap();
        let exit = match self.chance.below(3) {
            0 => Exit::Signal(Signal::KILL),
            1 => Exit::Signal(Signal::INT),
            _ => Exit::Code(code),
        };
        let run = self.runs.get_mut(&run).unwrap();
        if let Stage::Alive(pid) = run.stage {
            run.stage = Stage::Dead(pid, exit);
        }
    }

    /// The end of a process is heard of.
    pub(crate) fn report_end(&mut self) {
        let Some(run) = self.pick(|run| matches!(run.stage, Stage::Dead(..))) else {
            return;
        };
        let known = self.runs.get_mut(&run).unwrap();
        let Stage::Dead(_, exit) = known.stage else {
            return;
        };
        known.stage = Stage::Ended;
        self.feed(Input::Exited { run, exit });
    }

    pub(crate) fn drain(&mut self) {
        if let Some(run) = self.pick(|run| run.stage == Stage::Ended) {
            self.runs.remove(&run);
            self.feed(Input::Drained { run });
        }
    }

    /// An app says something, in its own words or in Node's.
    pub(crate) fn say(&mut self) {
        let Some(run) = self.pick(|run| matches!(run.stage, Stage::Alive(_))) else {
            return;
        };
        let input = match self.chance.below(4) {
            0 => Input::Disconnected { run },
            1 => {
                let line = self.chance.of(&LINES).unwrap().to_owned();
                let line = JsonText::from_valid(line);
                Input::Internal { run, line }
            }
            _ => {
                let text = self.chance.of(&MESSAGES).unwrap();
                let message = AppMessage::parse(text).unwrap();
                Input::Message { run, message }
            }
        };
        self.feed(input);
    }

    pub(crate) fn measure(&mut self) {
        let limited = self.supervisor.memory_limited().map(|limited| limited.run);
        let limited: Vec<RunId> = limited.collect();
        for run in &limited {
            assert!(
                self.runs[run].pid().is_some(),
                "{run} is not there to measure"
            );
        }
        if let Some(run) = self.chance.of(&limited) {
            let memory_bytes = u64::try_from(self.chance.below(4000)).unwrap();
            self.feed(Input::Measured { run, memory_bytes });
        }
    }

    pub(crate) fn pass(&mut self, ms: usize) {
        let ms = u64::try_from(ms).unwrap();
        self.now.mono += Duration::from_millis(ms);
        self.now.wall_ms += ms;
    }

    /// Time passes until something is due, or somewhat longer.
    pub(crate) fn pass_to_deadline(&mut self) {
        let Some(at) = self.supervisor.deadline() else {
            return;
        };
        let wait = at.saturating_sub(self.now.mono).as_millis();
        let late = self.chance.below(4) * 40;
        self.pass(usize::try_from(wait).unwrap() + late);
        let deaths = self.deaths;
        self.feed(Input::Timeout);
        let next = self.supervisor.deadline();
        let is_acted_on = next.is_none_or(|next| next > self.now.mono);
        assert!(
            is_acted_on || deaths < self.deaths,
            "a deadline that is past was not acted on"
        );
    }

    /// The other twin is written out and read back.
    pub(crate) fn revive_twin(&mut self) {
        let Some(twin) = self.twin.take() else {
            return;
        };
        let (header, parts) = (twin.freeze_header(), twin.freeze_parts());
        let ids: Vec<PmId> = twin.processes().map(Process::id).collect();
        let texts: Vec<String> = ids
            .iter()
            .filter_map(|id| twin.freeze_process(*id))
            .collect();
        let texts = texts.iter().map(String::as_str);
        let twin = Supervisor::thaw(config(), &header, &parts, texts).unwrap();
        assert_eq!(twin.freeze_header(), header);
        assert_eq!(twin.freeze_parts(), parts);
        self.twin = Some(twin);
        self.cut_off.extend(&self.waiting);
    }

    /// From now on the daemon may be gone at any effect.
    pub(crate) fn doom(&mut self) {
        if self.twin.is_none() {
            self.dies_after = Some(self.chance.below(6));
        }
    }

    /// What happens to the supervisor, what it wants done, and what is always true.
    pub(crate) fn feed(&mut self, input: Input) {
        self.take_in(input);
        self.look();
    }

    pub(crate) fn take_in(&mut self, input: Input) {
        self.steps += 1;
        self.trace(|| format!("> {input:?}"));
        let twin_input = self.twin.as_ref().map(|_| input.clone());
        let effects = self.supervisor.handle(self.now, input);
        if let (Some(twin), Some(input)) = (&mut self.twin, twin_input) {
            let mut twins = twin.handle(self.now, input);
            take_over(&self.cut_off, &effects, &mut twins);
            assert_eq!(
                effects, twins,
                "written out and read back, it does the same"
            );
        }
        if self.supervisor.has_changes() {
            self.records.write(self.supervisor.take_changes());
        }
        self.perform(effects);
    }

    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &mut self.dies_after {
                Some(0) => {
                    self.dies_after = None;
                    return self.die();
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.trace(|| format!("  {effect:?}"));
            self.obey(effect);
        }
    }

    /// Everything is asked to end, and does.
    pub(crate) fn finish(&mut self) {
        self.call(Call::KillAll);
        for round in 0.. {
            if self.waiting.is_empty() && self.runs.is_empty() {
                break;
            }
            assert!(
                round < 2_000,
                "never over: {:?} {:?}",
                self.waiting,
                self.runs
            );
            self.conclude_spawn(None);
            self.end_one(true);
            self.report_end();
            self.drain();
            self.pass_to_deadline();
        }
        let mut list = Vec::new();
        self.supervisor
            .write_list(&mut list, &|_, _| Usage::default());
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&list).is_ok());
    }
}

/// What may differ between the two: with what somebody is answered who cannot hear it any more, though not that he is; and the numbers of
/// our messages to a worker, which leap so that none is used twice.
fn take_over(cut_off: &BTreeSet<Ticket>, effects: &[Effect], twins: &mut [Effect]) {
    for (effect, twin) in effects.iter().zip(twins) {
        match (effect, twin) {
            (Effect::Reply { ticket, result }, Effect::Reply { result: other, .. })
                if cut_off.contains(ticket) && result.is_ok() == other.is_ok() =>
            {
                other.clone_from(result);
            }
            (Effect::Send { line, .. }, Effect::Send { line: other, .. })
                if without_number(line) == without_number(other) =>
            {
                other.clone_from(line);
            }
            _ => {}
        }
    }
}

fn without_number(line: &JsonText) -> (&str, &str) {
    let (before, after) = line
        .as_str()
        .split_once("\"seq\":")
        .unwrap_or((line.as_str(), ""));
    (
        before,
        after.trim_start_matches(|char: char| char.is_ascii_digit()),
    )
}

/// What apps say to us.
const MESSAGES: [&str; 4] = [
    "\"ready\"",
    r#"{"type":"axm:action","data":{"action_name":"a"}}"#,
    r#"{"type":"x","data":1}"#,
    r#"{"type":"axm:monitor","data":{"m":1}}"#,
];

/// What Node says to its primary, and our preload to us.
const LINES: [&str; 3] = [
    r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
    r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":1}"#,
    r#"{"cmd":"NODE_PM2","sigint":true}"#,
];
