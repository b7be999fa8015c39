//! Every state × every event: the document that cannot go stale.

use std::fmt::Write;
use std::time::Duration;

use super::super::cluster::Primary;
use super::super::life::{Event, State, Then};
use super::super::process::{Claim, Claimant, Goal, Process, Step};
use super::super::{Failure, Now, SupervisorConfig};
use super::world::{declaration, show};
use crate::model::{Exit, Pid, PmId, Record, RunId, Ticket};

const NOW: Duration = Duration::from_secs(100);
/// Before now: whatever waits for it, waits no longer.
const PAST: Duration = Duration::from_secs(10);
const RUN: RunId = RunId(7);
const PID: Pid = Pid(20);

fn states() -> Vec<(&'static str, State)> {
    let (run, pid, until) = (RUN, PID, PAST);
    let spawning = |then| State::Spawning { run, then };
    let ready_by = PAST;
    let launching = State::Launching { run, pid, ready_by };
    let since = PAST;
    let lingering = |then| State::Lingering { then };
    let online = State::Online { run, pid, since };
    vec![
        ("Stopped", State::Stopped),
        ("Spawning", spawning(None)),
        ("Spawning, then Rest", spawning(Some(Then::Rest))),
        ("Spawning, then Start", spawning(Some(Then::Start))),
        ("Spawning, then Forget", spawning(Some(Then::Forget))),
        ("Launching", launching),
        ("Online", online),
        ("Stopping, then Rest", stopping(false, false, Then::Rest)),
        ("Stopping, then Start", stopping(false, false, Then::Start)),
        (
            "Stopping, then Forget",
            stopping(false, false, Then::Forget),
        ),
        ("Stopping, killed", stopping(true, false, Then::Rest)),
        (
            "Stopping, exited, then Rest",
            stopping(false, true, Then::Rest),
        ),
        (
            "Stopping, exited, then Start",
            stopping(false, true, Then::Start),
        ),
        (
            "Stopping, exited, then Forget",
            stopping(false, true, Then::Forget),
        ),
        ("Stopping, exited, killed", stopping(true, true, Then::Rest)),
        ("Lingering, then Rest", lingering(Then::Rest)),
        ("Lingering, then Start", lingering(Then::Start)),
        ("Lingering, then Forget", lingering(Then::Forget)),
        ("Waiting", State::Waiting { until }),
        ("Errored", State::Errored),
        ("Stuck", State::Stuck { run, pid }),
    ]
}

fn stopping(is_killed: bool, has_exited: bool, then: Then) -> State {
    let (run, pid, until) = (RUN, PID, PAST);
    State::Stopping {
        run,
        pid,
        until,
        is_killed,
        has_exited,
        then,
    }
}

fn events() -> Vec<(&'static str, Event)> {
    let claim = |goal| Claim {
        by: Claimant::Ticket(Ticket(1)),
        goal,
    };
    vec![
        ("Start", Event::Start(claim(Goal::Up { is_new: false }))),
        ("Stop", Event::Stop(Some(claim(Goal::Down)))),
        ("Restart", Event::Restart(claim(Goal::Up { is_new: false }))),
        ("Delete", Event::Delete(claim(Goal::Gone))),
        ("Spawned", Event::Spawned(PID)),
        ("SpawnFailed", Event::SpawnFailed("why".to_owned())),
        ("Ready", Event::Ready),
        ("Finished", Event::Finished),
        ("Silent", Event::Silent),
        ("Exited", Event::Exited(Exit::Code(1))),
        ("Drained", Event::Drained),
        ("Alone", Event::Alone(None)),
        (
            "Alone, survived",
            Event::Alone(Some(Failure::NotKilled(PID))),
        ),
        ("Timeout", Event::Timeout),
    ]
}

fn row(name: &str, state: State, event: Event) -> String {
    let (record, spec, _) = Record::prepare(&declaration(""), "u", None).unwrap();
    let mut process = Process::new(PmId(0), record, spec.rules);
    process.state = state;
    process.record.counts.created_at_ms = Some(0);
    let (config, mut next_run, mut out) = (SupervisorConfig::default(), 8, Vec::new());
    let mut primary = Primary::default();
    let mut cx = Step {
        now: Now {
            mono: NOW,
            wall_ms: 100_000,
        },
        config: &config,
        is_killing: false,
        next_run: &mut next_run,
        primary: &mut primary,
        has_siblings: false,
        has_other: false,
        out: &mut out,
        concluded: Vec::new(),
        is_forgotten: false,
    };
    process.step(&mut cx, event);
    let mut text = format!("  {name} -> ");
    if out.is_empty() && process.state == state {
        text.push_str("nothing\n");
        return text;
    }
    writeln!(text, "{:?}", process.state).unwrap();
    for effect in &out {
        writeln!(text, "      {}", show(effect)).unwrap();
    }
    text
}

#[test]
fn what_follows_from_every_event_in_every_state() {
    let mut table = String::new();
    for (name, state) in states() {
        writeln!(table, "{name} ({})", state.status()).unwrap();
        for (event, happens) in events() {
            table.push_str(&row(event, state, happens));
        }
        table.push('\n');
    }
    insta::with_settings!({snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("life", table);
    });
}
