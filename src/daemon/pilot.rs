//! The loop: waits for callers, children, the keeper and deadlines; hands each to the core; performs what it wants.
//!
//! **Invariant:** between two waits nothing waits. Every effect is performed at once, and what it leads to comes back as an input.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::CString;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::child::ChildReport;
use super::connections::Connections;
use super::ends::EndsMaker;
use super::journal::Journal;
use super::last_words::LastWords;
use super::launch::Launcher;
use super::link::{Link, LinkError, News};
use super::logs;
use super::memory::MemoryWatch;
use super::methods::{Command, Order, Shape};
use super::outbox::ReplyTo;
use super::records::Records;
use super::report::{self, SystemSampler};
use super::runs::{RunRecord, Settled};
use super::shared::Shared;
use super::slack::Slack;
use super::sockets::Sockets;
use super::stops::{Ending, Stops};
use super::testament::Testament;
use super::unknown;
use super::watch::Watches;
use crate::core::{Call, Input, Supervisor};
use crate::host::paths::Home;
use crate::host::usage::Sampler;
use crate::keeper::proto::Request;
use crate::model::{BusEvent, Pid, PmId, RunId, Ticket, Usage};

/// Inputs taken in one turn. What they ask for is carried out together, above all the look at the process table.
const INPUTS_PER_TURN: usize = 256;
/// Commands waiting for the pilot; past it, peers wait with their next request.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Reports of children waiting for the pilot; past it, children's channels are read later.
pub(crate) const REPORTS_MAX: usize = 256;

/// Why the daemon ends, and who is to hear of it.
#[derive(Debug)]
pub(crate) struct Farewell {
    /// Who gets SIGQUIT: callers of `killMe` wait for it.
    pub(crate) sigquit: Vec<i32>,
    /// The bus has been told already.
    pub(crate) is_announced: bool,
}

/// Owns the core and everything its effects need.
#[derive(Debug)]
pub(crate) struct Pilot {
    pub(super) supervisor: Supervisor,
    pub(super) shared: Rc<Shared>,
    pub(super) journal: Journal,
    pub(super) link: Link,
    pub(super) launcher: Launcher,
    pub(super) ends: EndsMaker,
    pub(super) runs: HashMap<RunId, RunRecord>,
    pub(super) run_tasks: JoinSet<()>,
    pub(super) sockets: Sockets,
    pub(super) connections: Connections,
    pub(super) last_words: LastWords,
    pub(super) stops: Stops,
    /// What this turn asks for.
    pub(super) endings: Vec<Ending>,
    /// What is still to be handed to the core in this turn.
    pub(super) inputs: VecDeque<Input>,
    pub(super) waiters: HashMap<Ticket, Waiter>,
    pub(super) next_ticket: u64,
    pub(super) sampler: RefCell<Sampler>,
    pub(super) system: SystemSampler,
    pub(super) dump: Dump,
    pub(super) killing: Option<Killing>,
    pub(super) farewell: Option<Farewell>,
    pub(super) reports_in: mpsc::Sender<ChildReport>,
    pub(super) started_at_ms: u64,
    /// What another daemon goes on from.
    pub(super) records: Records,
    /// What it goes on from if the keeper is gone as well.
    pub(super) testament: Testament,
    pub(super) home: Home,
    /// How far what each run said has been taken in, in this turn.
    pub(super) heard: BTreeMap<RunId, u64>,
    /// Runs whose spools are on their way to the keeper.
    pub(super) unstored: Vec<RunId>,
    /// Exits to be settled as soon as what they led to is written down.
    pub(super) settled: Vec<Settled>,
    /// Another executable is to take over: the loop ends, and nothing else does.
    pub(super) is_replaced: bool,
    /// Why the last one that was to take over did not.
    pub(super) not_replaced: Option<String>,
    logs_retry_at: Option<Duration>,
    /// Heap that was freed and is still ours.
    slack: Slack,
    pub(super) memory: MemoryWatch,
    pub(super) watches: Watches,
}

/// What a pilot is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) supervisor: Supervisor,
    pub(crate) shared: Rc<Shared>,
    pub(crate) journal: Journal,
    pub(crate) link: Link,
    pub(crate) launcher: Launcher,
    pub(crate) dump: Dump,
    /// For the tasks of the runs.
    pub(crate) reports_in: mpsc::Sender<ChildReport>,
    /// Where the state is written down.
    pub(crate) records: Records,
    /// And where it is for those who come after everybody.
    pub(crate) testament: Testament,
    pub(crate) home: Home,
}

/// Where the list is saved when somebody ends the daemon by a signal.
#[derive(Debug)]
pub(crate) struct Dump {
    /// `dump.pm2`.
    pub(crate) path: std::path::PathBuf,
    /// `dump.pm2.bak`.
    pub(crate) backup: std::path::PathBuf,
}

/// The daemon is being ended: everything is being stopped.
#[derive(Debug)]
pub(crate) struct Killing {
    pub(super) sigquit: Vec<i32>,
    pub(super) replies: Vec<ReplyTo>,
    pub(super) is_announced: bool,
}

/// Who waits for the core's answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A caller.
    Caller(ReplyTo, Shape),
    /// One part of an act on several processes.
    Part(Rc<RefCell<super::several::Progress>>),
    /// The end of the daemon.
    End,
}

/// What the pilot listens to.
#[derive(Debug)]
pub(crate) struct Ears {
    /// From the sockets.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// From the children's tasks.
    pub(crate) reports: mpsc::Receiver<ChildReport>,
}

impl Pilot {
    /// Manages nothing yet.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            supervisor,
            shared,
            journal,
            link,
            launcher,
            dump,
            reports_in,
            records,
            testament,
            home,
        } = parts;
        Self {
            supervisor,
            shared,
            journal,
            link,
            launcher,
            ends: EndsMaker::default(),
            runs: HashMap::new(),
            run_tasks: JoinSet::new(),
            sockets: Sockets::default(),
            connections: Connections::default(),
            last_words: LastWords::default(),
            stops: Stops::default(),
            endings: Vec::new(),
            inputs: VecDeque::new(),
            waiters: HashMap::new(),
            next_ticket: 0,
            sampler: RefCell::default(),
            system: SystemSampler::default(),
            dump,
            killing: None,
            farewell: None,
            reports_in,
            started_at_ms: Shared::now().wall_ms,
            records,
            testament,
            home,
            heard: BTreeMap::new(),
            unstored: Vec::new(),
            settled: Vec::new(),
            is_replaced: false,
            not_replaced: None,
            logs_retry_at: None,
            slack: Slack::default(),
            memory: MemoryWatch::default(),
            watches: Watches::default(),
        }
    }

    /// Runs until the daemon is to end; without a farewell when another one takes over. An error is the end of this daemon
    /// alone: the keeper is there and starts another one.
    pub(crate) async fn run(&mut self, mut ears: Ears) -> Result<Option<Farewell>, LinkError> {
        let mut keeper = VecDeque::new();
        loop {
            self.wait(&mut ears, &mut keeper).await?;
            for news in keeper.drain(..) {
                self.hear_of_keeper(news);
            }
            for _ in 0..INPUTS_PER_TURN {
                let Ok(report) = ears.reports.try_recv() else {
                    break;
                };
                self.child_reports(report);
            }
            for _ in 0..INPUTS_PER_TURN {
                let Ok(command) = ears.commands.try_recv() else {
                    break;
                };
                self.obey(command);
            }
            self.turn();
            if let Some(farewell) = self.farewell.take() {
                return Ok(Some(farewell));
            }
            if self.is_replaced {
                return Ok(None);
            }
        }
    }

    /// Waits for the first thing to do. Cancel-safe arms only: what was received is in the queues, or here.
    async fn wait(
        &mut self,
        ears: &mut Ears,
        keeper: &mut VecDeque<News>,
    ) -> Result<(), LinkError> {
        let hush = self.watches.hush(Shared::now().mono);
        let pause = self.pause().min(hush.unwrap_or(Duration::MAX));
        let (mut report, mut command, mut change) = (None, None, None);
        tokio::select! {
            received = self.link.receive(keeper), if hush.is_none() => received?,
            received = ears.reports.recv() => report = received,
            received = ears.commands.recv() => command = received,
            received = self.watches.hear() => change = received,
            () = tokio::time::sleep(pause) => {}
        }
        if let Some(report) = report {
            self.child_reports(report);
        }
        if let Some(command) = command {
            self.obey(command);
        }
        if let Some(change) = change {
            self.watches
                .heard(change, Shared::now().mono, &self.journal);
        }
        while self.run_tasks.try_join_next().is_some() {}
        Ok(())
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        /// Longer than anybody waits; the timer wants some number.
        const IDLE: Duration = Duration::from_hours(24);
        let deadlines = [
            self.supervisor.deadline(),
            self.stops.deadline(),
            self.logs_retry_at,
            self.slack.deadline(),
            self.memory.deadline(),
            self.watches.deadline(),
        ];
        let next = deadlines.into_iter().flatten().min();
        next.map_or(IDLE, |next| next.saturating_sub(Shared::now().mono))
    }

    /// Hands everything that happened to the core and does what it wants, until nothing more follows.
    pub(super) fn turn(&mut self) {
        let now = Shared::now();
        if self
            .supervisor
            .deadline()
            .is_some_and(|deadline| deadline <= now.mono)
        {
            self.inputs.push_back(Input::Timeout);
        }
        self.look_at_memory(now.mono);
        self.look_at_files(now.mono);
        loop {
            let mut wanted = Vec::new();
            while let Some(input) = self.inputs.pop_front() {
                wanted.push(self.supervisor.handle(Shared::now(), input));
                self.slack.worked(now.mono);
            }
            // First written down, then done: another daemon must never decide differently what has been done already.
            self.save();
            for effects in wanted {
                self.perform(effects);
            }
            self.settle();
            self.settle_heard();
            self.carry_out_endings();
            self.look_at_stops();
            if self.inputs.is_empty() {
                break;
            }
        }
        self.look_at_spools();
        self.connections.settle(&self.link);
        self.look_after_logs(now.mono);
        self.slack.look(now.mono);
        self.memory.plan(now.mono, &self.supervisor);
        self.watches.sync(now.mono, &self.supervisor, &self.journal);
    }

    /// Writes down what has changed.
    pub(super) fn save(&mut self) {
        if !self.supervisor.has_changes() {
            return;
        }
        for (run, upto) in &self.heard {
            self.records.hear(*run, *upto);
        }
        let (now, changes) = (Shared::now().mono, self.supervisor.take_changes());
        let mut saved = self.records.write(&changes);
        self.testament.write(now, &changes);
        if self.records.is_wasteful() || self.testament.is_wasteful(now) {
            let all = self.supervisor.take_all();
            saved = self.records.begin_anew(&all);
            self.testament.begin_anew(now, &self.home, &all);
        }
        if let Err(error) = saved {
            self.journal
                .error(&format!("what another daemon would need is lost: {error}"));
        }
    }

    fn look_after_logs(&mut self, now: Duration) {
        if self.logs_retry_at.is_some_and(|at| at <= now) {
            self.shared.logs.retry();
            self.logs_retry_at = None;
        }
        if self.logs_retry_at.is_none() && self.shared.logs.is_stuck() {
            self.logs_retry_at = Some(now + logs::RETRY_INTERVAL);
        }
    }

    fn obey(&mut self, command: Command) {
        let Command { order, reply, peer } = command;
        self.slack.worked(Shared::now().mono);
        match order {
            Order::Core(call, shape) => {
                if let Some(text) = unknown::notice(&call) {
                    self.journal.log(&text);
                }
                let call = self.call(call, Waiter::Caller(reply, shape));
                self.inputs.push_back(call);
            }
            Order::Fixed(text) => reply.values(&[text.as_bytes()]),
            Order::List => reply.value_in_parts(self.list_parts()),
            Order::SystemData => {
                reply.values(&[self.system.sample(Shared::now().mono).as_bytes()]);
            }
            Order::Report => {
                let count = self.supervisor.processes().count();
                let text = report::report(count, self.started_at_ms, self.not_replaced.as_deref());
                reply.values(&[text.as_bytes()]);
            }
            Order::ReloadLogs => {
                self.reload_logs();
                reply.values(&[b"{}"]);
            }
            Order::Kill { pid } => {
                // The signal goes to nobody but the caller itself, or anybody could have anybody ended.
                let own = pid.filter(|pid| *pid > 1 && peer.pid == Some(*pid));
                let reply = pid.is_none().then_some(reply);
                self.end("CLI", own, reply);
            }
            Order::Several(several) => self.act_on_several(&several, reply),
            Order::Find(find) => self.find(&find, reply),
            Order::Replace { program, env } => self.make_way(program, env, reply),
        }
    }

    /// Has another executable take over. Whoever asked finds out from that one, or from the one that is there if it fails.
    fn make_way(&mut self, program: String, env: Vec<String>, reply: ReplyTo) {
        let is_ending = self.killing.is_some() || self.is_replaced;
        let texts = env.into_iter().map(CString::new).collect();
        match (CString::new(program), texts) {
            _ if is_ending => reply.fail("the daemon is being ended"),
            (Ok(program), Ok(env)) => {
                self.journal.log(&format!("making way for {program:?}"));
                self.connections.keep_all(&mut self.link);
                match self.link.send(Request::Replace { program, env }) {
                    Ok(()) => self.is_replaced = true,
                    Err(error) => reply.fail(&error.to_string()),
                }
            }
            _ => reply.fail("a text with a NUL character in it"),
        }
    }

    /// A call with a ticket of its own.
    pub(super) fn call(&mut self, call: Call, waiter: Waiter) -> Input {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiters.insert(ticket, waiter);
        Input::Call { ticket, call }
    }

    /// The list with what each process uses right now.
    pub(super) fn write_list(&self, out: &mut Vec<u8>) {
        self.with_usage(|usage| self.supervisor.write_list(out, usage));
    }

    /// The same in pieces.
    pub(super) fn list_parts(&self) -> Vec<Bytes> {
        self.with_usage(|usage| self.supervisor.list_parts(usage))
    }

    fn with_usage<T>(&self, list: impl FnOnce(&dyn Fn(PmId, Option<Pid>) -> Usage) -> T) -> T {
        let now = Instant::now();
        list(&|_, pid| {
            let sample = pid.and_then(|pid| self.sampler.borrow_mut().sample(pid.0, now));
            sample.map_or_else(Usage::default, |usage| Usage {
                memory_bytes: usage.memory_bytes,
                cpu_tenths: tenths(usage.cpu_percent),
            })
        })
    }

    pub(super) fn reload_logs(&self) {
        self.journal.log("Reloading all logs...");
        self.journal.reopen();
        self.shared.logs.reload();
        self.journal.log("All logs reloaded");
    }

    /// Stops everything, and then the daemon. Asked again while that goes on, it only remembers who else is to be told.
    pub(super) fn end(&mut self, by: &str, sigquit: Option<i32>, reply: Option<ReplyTo>) {
        if let Some(killing) = &mut self.killing {
            killing.sigquit.extend(sigquit);
            killing.replies.extend(reply);
            return;
        }
        // Compat: pm2 tells the bus before it stops anything when a signal ends it, and after the client stopped everything otherwise.
        let is_announced = by == "SIGNAL";
        if is_announced {
            let event = BusEvent::daemon_killed(by);
            self.shared
                .bus
                .publish(&event.name, event.payload.as_str().as_bytes());
        }
        self.killing = Some(Killing {
            sigquit: sigquit.into_iter().collect(),
            replies: reply.into_iter().collect(),
            is_announced,
        });
        let input = self.call(Call::KillAll, Waiter::End);
        self.inputs.push_back(input);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage, clamped to what an u32 holds"
)]
fn tenths(percent: f64) -> u32 {
    (percent * 10.0).round().clamp(0.0, f64::from(u32::MAX)) as u32
}
