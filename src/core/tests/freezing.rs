//! What the next daemon continues from.

use std::time::Duration;

use super::super::{
    Effect, FROZEN_VERSION, Fate, Input, Now, Supervisor, SupervisorConfig, ThawError,
};
use super::world::World;
use crate::model::{Pid, PmId, RunId};

fn frozen() -> (String, Vec<String>) {
    let mut world = World::new(SupervisorConfig::default());
    world.run(r#"prepare "instances":2"#);
    world.run("spawned 20");
    world.run("spawned 21");
    world.run("stop 1");
    world.run("restart 0");
    let texts = [0, 1].map(|id| world.supervisor.freeze_process(PmId(id)).unwrap());
    (world.supervisor.freeze_header(), texts.to_vec())
}

fn thaw(header: &str, processes: &[&str]) -> Result<Supervisor, ThawError> {
    Supervisor::thaw(
        SupervisorConfig::default(),
        header,
        &std::collections::BTreeMap::new(),
        processes.iter().copied(),
    )
}

#[test]
fn what_was_written_is_read_back() {
    let (header, processes) = frozen();
    let supervisor = thaw(&header, &[&processes[0], &processes[1]]).unwrap();
    assert_eq!(supervisor.freeze_header(), header);
    assert_eq!(supervisor.freeze_process(PmId(1)).unwrap(), processes[1]);
    assert!(supervisor.deadline().is_some());
}

/// A record that is missing must not give its id away to another process.
#[test]
fn an_id_is_not_given_again_even_if_its_record_is_lost() {
    let (header, processes) = frozen();
    let supervisor = thaw(&header, &[&processes[0]]).unwrap();
    assert_eq!(supervisor.freeze_header(), header);
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let (header, processes) = frozen();
    let error = thaw(&header, &[&processes[0], "{}"]).unwrap_err();
    assert!(matches!(error, ThawError::Process(1, _)), "{error}");
    assert!(matches!(thaw("x", &[]).unwrap_err(), ThawError::Header(_)));
    let later = header.replacen(
        &format!("\"version\":{FROZEN_VERSION}"),
        "\"version\":99",
        1,
    );
    assert!(matches!(
        thaw(&later, &[]).unwrap_err(),
        ThawError::Version(99)
    ));
}

/// Two records with one id would be one process that is started twice, as soon as somebody asks for the other.
#[test]
fn a_record_with_the_id_or_the_run_of_another_is_named() {
    let (header, processes) = frozen();
    let error = thaw(&header, &[&processes[1], &processes[1]]).unwrap_err();
    assert!(matches!(error, ThawError::Twice(1)), "{error}");
}

fn resumed(fate: &dyn Fn(RunId) -> Fate) -> Vec<String> {
    let (header, processes) = frozen();
    let mut supervisor = thaw(&header, &[&processes[0], &processes[1]]).unwrap();
    let now = Now {
        mono: Duration::from_secs(1),
        wall_ms: 1_000,
    };
    let effects = supervisor.resume(now, fate);
    let all = supervisor.take_all();
    assert!(all.header.is_some() && all.processes.len() == 2);
    assert!(!supervisor.has_changes(), "nothing has changed since");
    effects.iter().map(|effect| format!("{effect:?}")).collect()
}

/// Both were asked to end. Whoever has been signalled is not signalled again: a second SIGINT is taken for impatience.
#[test]
fn what_was_done_is_not_repeated_and_what_was_not_is() {
    let lives = |is_signalled| move |_: RunId| Fate::Lives { is_signalled };
    let count = |effects: &[String]| {
        let terminations = effects.iter().filter(|one| one.starts_with("Terminate"));
        terminations.count()
    };
    assert_eq!(count(&resumed(&lives(true))), 0);
    assert_eq!(count(&resumed(&lives(false))), 2);
    assert_eq!(count(&resumed(&|_| Fate::Ended)), 0);
}

/// A request that did not reach the keeper is made again, under a number that was never used.
#[test]
fn a_run_nobody_knows_of_is_begun_again() {
    let mut world = World::new(SupervisorConfig::default());
    world.run(r#"prepare "instances":1"#);
    let header = world.supervisor.freeze_header();
    let process = world.supervisor.freeze_process(PmId(0)).unwrap();
    let mut supervisor = thaw(&header, &[&process]).unwrap();
    let before = supervisor.get(PmId(0)).unwrap().run();
    let now = Now {
        mono: Duration::from_secs(1),
        wall_ms: 1_000,
    };
    let effects = supervisor.resume(now, &|_| Fate::Unknown);
    let spawned: Vec<RunId> = effects
        .iter()
        .filter_map(|effect| {
            if let Effect::Spawn { run, .. } = effect {
                Some(*run)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(spawned.len(), 1);
    assert!(Some(spawned[0]) > before);
    assert_eq!(supervisor.get(PmId(0)).unwrap().run(), Some(spawned[0]));
}

/// The answers of those that are up can be given to nobody by then, so only how many there are is written down.
#[test]
fn a_declaration_is_gone_on_with_where_it_was() {
    let mut world = World::new(SupervisorConfig::default());
    world.run(r#"prepare "instances":3"#);
    world.run("spawned 20");
    let ids = [PmId(0), PmId(1)];
    let texts = ids.map(|id| world.supervisor.freeze_process(id).unwrap());
    let parts = world.supervisor.freeze_parts();
    let header = world.supervisor.freeze_header();
    assert!(
        parts.values().all(|part| !part.contains("pm2_env")),
        "{parts:?}"
    );
    let mut supervisor = Supervisor::thaw(
        SupervisorConfig::default(),
        &header,
        &parts,
        texts.iter().map(String::as_str),
    )
    .unwrap();
    let now = Now {
        mono: Duration::from_secs(1),
        wall_ms: 1_000,
    };
    supervisor.resume(now, &|_| Fate::Lives {
        is_signalled: false,
    });
    let run = |supervisor: &Supervisor, id| supervisor.get(PmId(id)).unwrap().run().unwrap();
    for id in 1..=2 {
        let (run, pid, version) = (run(&supervisor, id), Pid(30), None);
        supervisor.handle(now, Input::Spawned { run, pid, version });
    }
    assert_eq!(supervisor.processes().count(), 3);
    let parts = supervisor.take_changes().parts;
    assert!(
        parts.iter().any(|(_, text)| text.is_none()),
        "the batch is over"
    );
}
