//! What the next daemon continues from.

use super::super::{FROZEN_VERSION, Supervisor, SupervisorConfig, ThawError};
use super::world::World;
use crate::model::PmId;

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
