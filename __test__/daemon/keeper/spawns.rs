//! What an application finds when it starts, and how the daemon learns that it did not.

use crate::stage::{Stage, link, shell, status, wait_for};
use pm2::host::handles;
use pm2::host::spawn::{Plan, Stage as Step};
use pm2::keeper::proto::{Report, Request, Spawn};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

crate::tests![
    an_app_has_exactly_its_descriptors_a_clean_signal_state_and_a_session_of_its_own,
    a_spawn_that_fails_says_at_which_stage_and_why,
    a_bare_name_is_looked_up_in_the_path_of_the_app,
    credentials_groups_and_mask_are_those_of_the_plan,
    every_exit_is_reported_once_with_its_code_or_signal,
    a_run_that_has_ended_or_never_was_is_not_signalled,
    the_environment_is_complete_and_a_large_one_passes,
];

fn text(path: &Path) -> CString {
    CString::new(path.to_str().expect("a name")).expect("a name")
}

fn an_app_has_exactly_its_descriptors_a_clean_signal_state_and_a_session_of_its_own() {
    // Protects: no descriptor of the keeper or of another app leaks into an app, where it would keep pipes open for ever;
    // and no blocked or ignored signal, which would make it deaf to a stop.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let (_read, write) = handles::output_pipe().unwrap();
    let (_ours, theirs) = handles::stream_pair().unwrap();
    let plan = Plan {
        program: c"/bin/sleep".to_owned(),
        argv: vec![c"sleep".to_owned(), c"1000".to_owned()],
        cwd: c"/usr".to_owned(),
        ..Plan::default()
    };
    let stderr = write.try_clone().unwrap();
    let bare = daemon.spawn(1, plan.clone(), vec![]);
    let full = daemon.spawn(2, plan, vec![None, Some(write), Some(stderr), Some(theirs)]);
    for (pid, expected) in [(bare, 3), (full, 4)] {
        // The program's loader has files of its own open for a moment.
        wait_for("exactly these descriptors", || {
            let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let mut fds: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
            fds.sort_unstable();
            fds == ["0", "1", "2", "3"][..expected]
        });
        for field in ["SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!(status(pid, field), "0000000000000000", "{field}");
        }
        assert_eq!(status(pid, "NSsid"), pid.to_string());
        assert_eq!(status(pid, "NSpgid"), pid.to_string());
        assert_eq!(status(pid, "PPid"), greeting.keeper.to_string());
        assert_eq!(link(pid, "cwd"), Path::new("/usr"));
    }
    assert_eq!(link(bare, "fd/1"), Path::new("/dev/null"));
    assert!(link(full, "fd/1").to_str().unwrap().starts_with("pipe:"));
    assert!(link(full, "fd/3").to_str().unwrap().starts_with("socket:"));
    let open_files = |pid: &str| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        open_files(&bare.to_string()),
        open_files("self"),
        "the keeper raises only its own"
    );
    stage.end(daemon, greeting.keeper);
}

fn a_spawn_that_fails_says_at_which_stage_and_why() {
    // Protects: the difference between "no such script" and "no such folder", which the system reports alike.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let not_executable = stage.home().join("plain");
    std::fs::write(&not_executable, "#!/bin/sh\n").unwrap();
    let no_program = stage.home().join("odd");
    std::fs::write(&no_program, "this is not a program\n").unwrap();
    std::fs::set_permissions(&no_program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let run = |program: CString| Plan {
        argv: vec![program.clone()],
        program,
        ..Plan::default()
    };
    let cases = [
        (
            run(c"/nonexistent/app".to_owned()),
            Step::Program,
            nix::errno::Errno::ENOENT,
        ),
        (
            run(c"".to_owned()),
            Step::Program,
            nix::errno::Errno::ENOENT,
        ),
        (
            run(text(&not_executable)),
            Step::Program,
            nix::errno::Errno::EACCES,
        ),
        (
            run(c"/etc".to_owned()),
            Step::Program,
            nix::errno::Errno::EACCES,
        ),
        (
            run(text(&no_program)),
            Step::Program,
            nix::errno::Errno::ENOEXEC,
        ),
        (
            Plan {
                cwd: c"/nonexistent".to_owned(),
                ..shell("exit 0")
            },
            Step::Cwd,
            nix::errno::Errno::ENOENT,
        ),
        (
            Plan {
                cwd: text(&not_executable),
                ..shell("exit 0")
            },
            Step::Cwd,
            nix::errno::Errno::ENOTDIR,
        ),
    ];
    for (run, (plan, step, errno)) in (1..).zip(cases) {
        let wanted = format!("{plan:?}");
        daemon.send(Request::Spawn(Box::new(Spawn {
            run,
            plan,
            fds: vec![],
            keep: vec![],
            witness: None,
            roster: None,
        })));
        let Report::SpawnFailed {
            run: answered,
            failure,
        } = daemon.next()
        else {
            panic!("{wanted}")
        };
        assert_eq!(
            (answered, failure.stage, failure.errno),
            (run, step, errno as i32),
            "{wanted}"
        );
    }
    stage.end(daemon, greeting.keeper);
}

fn a_bare_name_is_looked_up_in_the_path_of_the_app() {
    // Protects: the keeper's own PATH, that of whoever happened to start it, decides nothing.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let plan = |path: &CString| Plan {
        program: c"true".to_owned(),
        argv: vec![c"true".to_owned()],
        env: vec![path.clone()],
        ..Plan::default()
    };
    let spawn = |run, path: &CString| {
        Request::Spawn(Box::new(Spawn {
            run,
            plan: plan(path),
            fds: vec![],
            keep: vec![],
            witness: None,
            roster: None,
        }))
    };
    daemon.send(spawn(1, &c"PATH=/nonexistent".to_owned()));
    assert!(matches!(daemon.next(), Report::SpawnFailed { run: 1, .. }));
    daemon.send(spawn(2, &c"PATH=/nonexistent:/usr/bin:/bin".to_owned()));
    assert!(matches!(daemon.next(), Report::Spawned { run: 2, .. }));
    assert!(matches!(daemon.next(), Report::Exited(ended) if ended.status.unwrap().success()));
    stage.end(daemon, greeting.keeper);
}

fn credentials_groups_and_mask_are_those_of_the_plan() {
    // Protects: an app told to run as another user has none of root's groups left.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let sleep = || Plan {
        umask: Some(0o027),
        ..shell("exec sleep 1000")
    };
    let masked = daemon.spawn(1, sleep(), vec![]);
    assert_eq!(status(masked, "Umask"), "0027");
    if nix::unistd::geteuid().is_root() {
        let plan = Plan {
            uid: Some(65534),
            gid: Some(65533),
            ..sleep()
        };
        let other = daemon.spawn(2, plan, vec![]);
        assert_eq!(status(other, "Uid"), "65534 65534 65534 65534");
        assert_eq!(status(other, "Gid"), "65533 65533 65533 65533");
        assert_eq!(status(other, "Groups"), "");
        let groups = Some(vec![4, 7]);
        let third = daemon.spawn(
            3,
            Plan {
                uid: Some(65534),
                groups,
                ..sleep()
            },
            vec![],
        );
        assert_eq!(status(third, "Groups"), "4 7");
    }
    stage.end(daemon, greeting.keeper);
}

fn every_exit_is_reported_once_with_its_code_or_signal() {
    // Protects: exits that arrive as one SIGCHLD, and orphans that are reaped but belong to no run.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let many = 40;
    for run in 0..many {
        let script = match run % 3 {
            0 => "exit 7",
            1 => "kill -9 $$",
            _ => "(sleep 0.01; exit 9) & exit 0",
        };
        daemon.send(Request::Spawn(Box::new(Spawn {
            run,
            plan: shell(script),
            fds: vec![],
            keep: vec![],
            witness: None,
            roster: None,
        })));
    }
    let (mut pids, mut exits) = (BTreeMap::new(), BTreeMap::new());
    while exits.len() < usize::try_from(many).unwrap() {
        match daemon.next() {
            Report::Spawned { run, pid } => assert_eq!(pids.insert(run, pid), None),
            Report::Exited(ended) => {
                assert_eq!(
                    pids.get(&ended.run),
                    Some(&ended.pid),
                    "Spawned comes first"
                );
                assert_eq!(exits.insert(ended.run, ended.status), None, "one exit each");
            }
            other => panic!("{other:?}"),
        }
    }
    for (run, status) in exits {
        match run % 3 {
            0 => assert_eq!(status.unwrap().code(), Some(7)),
            1 => assert_eq!(status.unwrap().signal(), Some(9)),
            _ => assert_eq!(status.unwrap().code(), Some(0)),
        }
    }
    wait_for("the orphans to be reaped", || {
        !std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            stat.contains(&format!(") Z {} ", greeting.keeper))
        })
    });
    stage.end(daemon, greeting.keeper);
}

fn a_run_that_has_ended_or_never_was_is_not_signalled() {
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let pid = daemon.spawn(1, shell("exec sleep 1000"), vec![]);
    daemon.send(Request::Signal { run: 99, signal: 9 });
    daemon.send(Request::Signal {
        run: 1,
        signal: 12345,
    });
    daemon.send(Request::Signal { run: 1, signal: 15 });
    let Report::Exited(ended) = daemon.next() else {
        panic!("no exit")
    };
    assert_eq!(
        (ended.run, ended.pid, ended.status.unwrap().signal()),
        (1, pid, Some(15))
    );
    daemon.send(Request::Signal { run: 1, signal: 9 });
    // The number of a run is in use only while its process is.
    daemon.spawn(1, shell("exit 0"), vec![]);
    assert!(matches!(daemon.next(), Report::Exited(ended) if ended.run == 1));
    stage.end(daemon, greeting.keeper);
}

fn the_environment_is_complete_and_a_large_one_passes() {
    // Protects: nothing of the keeper's environment reaches an app, and a frame larger than the socket's buffer arrives.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let (mut read, write) = std::io::pipe().unwrap();
    let large = CString::new(format!("LARGE={}", "x".repeat(100_000))).unwrap();
    let mut env: Vec<CString> = vec![c"A=1".to_owned(), c"PATH=/usr/bin:/bin".to_owned()];
    env.extend(std::iter::repeat_n(large, 9));
    let plan = Plan {
        program: c"env".to_owned(),
        argv: vec![c"env".to_owned()],
        env: env.clone(),
        ..Plan::default()
    };
    daemon.spawn(1, plan, vec![None, Some(write.into())]);
    let mut output = String::new();
    read.read_to_string(&mut output).unwrap();
    let expected: Vec<&str> = env.iter().map(|entry| entry.to_str().unwrap()).collect();
    assert!(
        output.lines().eq(expected),
        "{}",
        &output[..200.min(output.len())]
    );
    assert!(matches!(daemon.next(), Report::Exited(_)));
    stage.end(daemon, greeting.keeper);
}
