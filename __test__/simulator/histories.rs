//! Whole fleets through long histories.
//!
//! Each of these bugs was planted once and seen caught, within the first fifty histories: a second child for one id; a signal to a run that
//! is not there; a caller never answered; a caller answered twice; a deadline that is past and not acted on; `online` said twice on the
//! bus; a stop lost while a start is under way; a start that comes of a stop; a change that is not written down for the next daemon; a
//! field of the state that is not written out; a start and a SIGKILL that are lost with the daemon. And within the first three hundred: an end
//! that is told while the other half of a reload lives.
//!
//! `PM2_STEPS=20000000 cargo test -p pm2-simulator` goes on for longer; a failure names its seed and kind, `PM2_SEED=<seed>` begins
//! with that history, and with `PM2_TRACE=1` says all that happens in it.

#![expect(clippy::unwrap_used, reason = "a world that cannot go on has failed")]

mod death;
mod laws;
mod world;

use pm2_simulator::core::{Call, Input};
use pm2_simulator::model::{JsonText, PmId, WireId};

use world::{Kind, World};

/// Steps of each test, without `PM2_STEPS`: a few seconds.
const STEPS: u64 = 600_000;

/// Things that happen in one history. Longer ones only repeat themselves.
const EVENTS: usize = 400;

/// Processes of a fleet, about. More only thin out what can happen to each.
const FLEET: usize = 10;

/// One thing happens.
fn happen(world: &mut World) {
    match world.chance.below(40) {
        0..=3 => {
            if world.supervisor.processes().count() < FLEET {
                let more = DECLARATIONS[world.chance.below(DECLARATIONS.len())];
                world.call(Call::Prepare {
                    declaration: JsonText::from_valid(declaration(more)),
                    unique_id: "u".into(),
                });
            }
        }
        4..=11 => {
            let call = some_call(world);
            world.call(call);
        }
        12..=16 => world.conclude_spawn(Some(7)),
        17..=19 => world.end_one(false),
        20..=22 => world.end_one(true),
        23..=26 => world.report_end(),
        27..=29 => world.drain(),
        30..=31 => world.say(),
        32 => world.measure(),
        33 => {
            let (id, path) = (PmId(some_number(world)), "/srv/app.js".into());
            world.feed(Input::Changed { id, path });
        }
        34 => {
            let ms = world.chance.below(1800);
            world.pass(ms);
        }
        35..=36 => world.pass_to_deadline(),
        37 => world.revive_twin(),
        38 => world.doom(),
        _ => world.feed(Input::Timeout),
    }
}

fn some_number(world: &mut World) -> u32 {
    u32::try_from(world.chance.below(FLEET + 1)).unwrap()
}

fn some_call(world: &mut World) -> Call {
    let number = some_number(world);
    let id: WireId = PmId(number).into();
    let text = |text: String| JsonText::from_valid(text);
    let env = None;
    match world.chance.below(20) {
        0..=1 => Call::Start(id),
        2..=5 => Call::Stop(id),
        6..=7 => Call::Restart { id, env },
        8 => {
            let env = r#"{"A":"1","current_conf":{"restart_delay":50}}"#.to_owned();
            let env = Some(text(env));
            Call::Restart { id, env }
        }
        9..=10 => Call::Reload { id, env },
        11 => Call::SoftReload { id, env },
        12..=13 => Call::Delete(id),
        14 => Call::Duplicate {
            id,
            unique_id: "d".into(),
        },
        15 => Call::ResetMeta(id),
        16 => Call::SignalId {
            id,
            signal: "SIGUSR1".into(),
        },
        17 => Call::SendData(text(format!(r#"{{"id":{number},"data":1,"topic":"t"}}"#))),
        18 => Call::MsgProcess(text(format!(r#"{{"id":{number},"msg":"a"}}"#))),
        _ => Call::SendLine(text(format!(r#"{{"pm_id":{number},"line":"l"}}"#))),
    }
}

const DECLARATIONS: [&str; 14] = [
    r#""name":"a""#,
    r#""name":"a","instances":2"#,
    r#""name":"b","wait_ready":true,"listen_timeout":500"#,
    r#""name":"b","restart_delay":300,"instances":1"#,
    r#""name":"a","exp_backoff_restart_delay":100"#,
    r#""name":"a","autorestart":false,"kill_timeout":100"#,
    r#""name":"a","max_restarts":2,"shutdown_with_message":true,"treekill":false"#,
    r#""name":"a","autostart":false,"max_restarts":"what""#,
    r#""name":"c","cron_restart":"each","max_memory_restart":"1K""#,
    r#""name":"c","autostart":false,"cron_restart":"each","watch":true"#,
    r#""name":"a","stop_exit_codes":[0,2],"max_memory_restart":"2K""#,
    r#""name":"d","exec_mode":"cluster_mode","instances":2"#,
    r#""name":"e","exec_mode":"cluster_mode","wait_ready":true,"listen_timeout":400"#,
    r#""name":"f","exec_mode":"cluster_mode","kill_timeout":50,"max_restarts":1"#,
];

fn declaration(more: &str) -> String {
    let least = r#""env":{"PATH":"/bin"},"merge_logs":true,"pm_exec_path":"/srv/app.js","pm_out_log_path":"/l/app-out.log","pm_err_log_path":"/l/app-error.log","pm_pid_path":"/p/app.pid""#;
    format!("{{{more},{least}}}")
}

/// Steps taken and deaths survived.
fn live(seed: u64, kind: Kind, is_traced: bool) -> (u64, u64) {
    let mut world = World::new(seed, kind, is_traced);
    for _ in 0..EVENTS {
        happen(&mut world);
    }
    world.finish();
    (world.steps, world.deaths)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn histories_of(kind: Kind) {
    use std::io::Write as _;
    let wanted = number("PM2_STEPS").unwrap_or(STEPS);
    let first = number("PM2_SEED").unwrap_or(1);
    let is_traced = number("PM2_TRACE").is_some();
    let (mut steps, mut deaths, mut seed) = (0, 0, first);
    while steps < wanted {
        let Ok((lived, died)) = std::panic::catch_unwind(|| live(seed, kind, is_traced)) else {
            panic!("the history of PM2_SEED={seed} ({kind:?}) broke a rule, see above");
        };
        steps += lived;
        deaths += died;
        seed += 1;
        if is_traced {
            break;
        }
    }
    let histories = seed - first;
    // Past the harness, which shows nothing of a test that passes.
    let _written = writeln!(
        std::io::stdout(),
        "{kind:?}: {steps} steps in {histories} histories, {deaths} deaths of the daemon"
    );
}

// Protects: written out and read back at any moment, the core does what it would have done.
#[test]
fn what_is_read_back_goes_on_like_what_was_never_written() {
    histories_of(Kind::Twins);
}

// Protects: whatever happens, and whenever the daemon dies: never two children for one id; never a signal to one that is not there; a
// pid is held exactly when a child lives; every caller is answered once; what was stopped stays stopped; no deadline is missed; the bus
// tells each life in its order; everything ends when everything is to end.
#[test]
fn whatever_happens_some_things_stay_true() {
    histories_of(Kind::Mortal);
}
