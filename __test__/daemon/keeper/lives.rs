//! The keeper's own life and that of its daemons: ready, crashed, replaced, told to end.

use crate::stage::{Stage, UP, exit_of, kill, launch, shell, status, wait_for};
use pm2::host::{handles, signal};
use pm2::keeper::proto::{Report, Request};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

crate::tests![
    a_daemon_that_is_ready_ends_the_wait_of_its_client,
    a_daemon_that_never_came_up_is_reported_with_its_last_words,
    of_twenty_racers_one_gets_the_home,
    a_home_that_cannot_be_used_is_reported,
    a_crashed_daemon_is_followed_by_another_and_its_applications_go_on,
    what_was_stored_is_given_to_the_next_daemon_in_order,
    what_is_said_for_a_daemon_that_has_just_ended_counts,
    signals_become_reports,
    a_tied_keeper_ends_with_its_client,
    an_application_that_is_left_at_the_end_does_not_stay,
    a_daemon_that_babbles_is_replaced,
    a_replacement_that_fails_gives_way_to_the_old_executable_and_no_application_ends,
    a_daemon_that_dies_while_it_shuts_down_is_not_followed_by_another,
    without_a_daemon_one_more_is_started_to_end_everything,
    the_keeper_stays_alone_on_its_home_until_its_daemon_has_gone,
];

fn line_of(ready: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(ready).read_line(&mut line).unwrap();
    line
}

fn a_daemon_that_is_ready_ends_the_wait_of_its_client() {
    // Protects: the descriptor reaches the daemon, and nobody holds it once the daemon is up.
    let mut stage = Stage::start();
    let (daemon, greeting) = stage.ready_puppet();
    let pid = std::fs::read_to_string(stage.home().join("pm2.pid")).unwrap();
    assert_eq!(pid, greeting.keeper.to_string());
    assert!(greeting.exits.is_empty() && greeting.running.is_empty() && greeting.given.is_empty());
    assert_eq!(
        status(greeting.keeper, "NSsid"),
        pid,
        "a session of its own"
    );
    assert_eq!(status(greeting.keeper, "Threads"), "1");
    let mut all = String::new();
    stage.ready.read_to_string(&mut all).unwrap();
    assert_eq!(all, UP);
    stage.end(daemon, greeting.keeper);
}

fn a_daemon_that_never_came_up_is_reported_with_its_last_words() {
    let (folder, _puppets) = Stage::set();
    std::fs::write(folder.path().join("fail"), "").unwrap();
    let (pid, ready) = launch(folder.path(), None);
    let line = line_of(ready);
    let socket = folder.path().join("rpc.sock");
    let reason = format!("failed to bind {}: \\\"told to\\\"", socket.display());
    assert_eq!(
        line,
        format!("{{\"online\":false,\"reason\":\"{reason}\"}}\n")
    );
    assert!(
        exit_of(pid).success(),
        "the process that was started only forks"
    );
    wait_for("the pid file to go", || {
        !folder.path().join("pm2.pid").exists()
    });
}

fn of_twenty_racers_one_gets_the_home() {
    let (folder, puppets) = Stage::set();
    let racers: Vec<_> = (0..20).map(|_| launch(folder.path(), None)).collect();
    let mut lines = Vec::new();
    let mut pids = Vec::new();
    for (pid, ready) in racers {
        pids.push(pid);
        lines.push(line_of(ready));
    }
    let locked = "{\"online\":false,\"reason\":\"locked\"}\n";
    assert_eq!(
        lines.iter().filter(|line| *line == locked).count(),
        19,
        "{lines:?}"
    );
    assert_eq!(
        lines.iter().filter(|line| *line == UP).count(),
        1,
        "{lines:?}"
    );
    for pid in pids {
        assert!(exit_of(pid).success());
    }
    let (ready, _unused) = std::io::pipe().unwrap();
    let stage = Stage::of(folder, puppets, ready);
    let (daemon, greeting) = stage.ready_puppet();
    stage.end(daemon, greeting.keeper);
}

fn a_home_that_cannot_be_used_is_reported() {
    let (folder, _puppets) = Stage::set();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (pid, ready) = launch(&file, None);
    let line = line_of(ready);
    assert!(
        line.contains("\"online\":false") && line.contains("/file"),
        "{line}"
    );
    assert!(!exit_of(pid).success());
    let deep = folder.path().join("d".repeat(100));
    let (pid, ready) = launch(&deep, None);
    let line = line_of(ready);
    assert!(
        line.contains("the system allows 107") && line.contains("rpc.sock"),
        "{line}"
    );
    assert!(!exit_of(pid).success() && !deep.exists());
}

fn a_crashed_daemon_is_followed_by_another_and_its_applications_go_on() {
    // Protects: the promise that a daemon can be killed. An exit is told to every daemon until one has settled it.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let app = daemon.spawn(7, shell("exec sleep 1000"), vec![]);
    let other = daemon.spawn(8, shell("exec sleep 1000"), vec![]);
    let first = daemon.pid;
    daemon.crash();
    let (mut daemon, second) = stage.ready_puppet();
    assert_ne!(daemon.pid, first);
    assert_eq!(second.keeper, greeting.keeper);
    assert_eq!(second.running, [(7, app), (8, other)]);
    assert!(second.exits.is_empty());
    let log = stage.log();
    assert!(
        log.contains("the daemon ended unexpectedly") && log.contains("2 applications go on"),
        "{log}"
    );
    daemon.send(Request::Signal { run: 7, signal: 9 });
    assert!(matches!(daemon.next(), Report::Exited(ended) if ended.run == 7));
    daemon.crash();
    let (mut daemon, third) = stage.ready_puppet();
    assert_eq!(third.running, [(8, other)]);
    let exits: Vec<_> = third.exits.iter().map(|one| (one.run, one.pid)).collect();
    assert_eq!(exits, [(7, app)]);
    assert_eq!(third.exits[0].status.unwrap().signal(), Some(9));
    daemon.send(Request::Settled { run: 7 });
    daemon.crash();
    let (daemon, fourth) = stage.ready_puppet();
    assert!(fourth.exits.is_empty(), "{fourth:?}");
    stage.end(daemon, greeting.keeper);
}

fn what_was_stored_is_given_to_the_next_daemon_in_order() {
    // Protects: pipes and sockets that outlive a daemon, with what is in them.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let (mut written, write) = std::io::pipe().unwrap();
    let mut writer = write.try_clone().unwrap();
    writer.write_all(b"not yet read").unwrap();
    let (_gone, other) = handles::stream_pair().unwrap();
    for index in 0..600 {
        let fd: OwnedFd = write.try_clone().unwrap().into();
        daemon.send(Request::Store {
            key: format!("proc/{index:03}/stdout"),
            fd,
        });
    }
    daemon.send(Request::Store {
        key: "rpc".to_owned(),
        fd: other,
    });
    daemon.send(Request::Discard {
        key: "proc/300/stdout".to_owned(),
    });
    daemon.send(Request::Discard {
        key: "nothing".to_owned(),
    });
    let long = "k".repeat(5000);
    let fd: OwnedFd = write.try_clone().unwrap().into();
    daemon.send(Request::Store {
        key: long.clone(),
        fd,
    });
    assert!(matches!(daemon.next(), Report::StoreRefused { key } if long.starts_with(&key)));
    drop((write, writer));
    daemon.exit();
    let (mut daemon, greeting_again) = stage.ready_puppet();
    let keys: Vec<&str> = greeting_again
        .given
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(keys.len(), 600);
    assert!(keys.is_sorted() && keys.contains(&"rpc") && !keys.contains(&"proc/300/stdout"));
    let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
    drop(greeting_again);
    for key in keys {
        daemon.send(Request::Discard { key });
    }
    let mut content = String::new();
    written.read_to_string(&mut content).unwrap();
    assert_eq!(
        content, "not yet read",
        "and the end only after the last copy was discarded"
    );
    stage.end(daemon, greeting.keeper);
}

fn what_is_said_for_a_daemon_that_has_just_ended_counts() {
    // Protects: a connection that was accepted in the instant in which the daemon was killed, and is passed on by the process that
    // does such things in its place.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let key = "connection/1/2";
    // Whoever is so slow on a busy machine that the keeper has given up is a poor example: then another one is tried.
    let is_given = (0..20).any(|_| {
        kill(daemon.pid);
        let process = format!("/proc/{}", daemon.pid);
        wait_for("the keeper to know", || !Path::new(&process).exists());
        let fd = File::open("/dev/null").unwrap().into();
        daemon.speak_last(Request::Store {
            key: key.to_owned(),
            fd,
        });
        let (next, greeting) = stage.ready_puppet();
        daemon = next;
        greeting.given.iter().any(|(given, _)| given == key)
    });
    assert!(is_given);
    stage.end(daemon, greeting.keeper);
}

fn signals_become_reports() {
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    for number in [1, 10, 13] {
        signal::send(greeting.keeper, number).unwrap();
    }
    std::fs::rename(stage.home().join("pm2.log"), stage.home().join("old.log")).unwrap();
    signal::send(greeting.keeper, 12).unwrap();
    assert!(
        matches!(daemon.next(), Report::ReloadLogs),
        "the others are ignored"
    );
    assert!(
        stage.home().join("pm2.log").exists(),
        "its own log is opened anew"
    );
    for number in [15, 2, 3] {
        signal::send(greeting.keeper, number).unwrap();
        assert!(matches!(daemon.next(), Report::Shutdown));
    }
    stage.end(daemon, greeting.keeper);
}

fn a_tied_keeper_ends_with_its_client() {
    let mut stage = Stage::start_tied();
    let (mut daemon, greeting) = stage.ready_puppet();
    assert_eq!(
        status(greeting.keeper, "PPid"),
        std::process::id().to_string(),
        "not detached"
    );
    stage.tie.as_mut().unwrap().write_all(b"ignored").unwrap();
    daemon.spawn(1, shell("exec sleep 1000"), vec![]);
    stage.tie = None;
    assert!(matches!(daemon.next(), Report::Shutdown));
    stage.end(daemon, greeting.keeper);
}

fn an_application_that_is_left_at_the_end_does_not_stay() {
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    daemon.spawn(1, shell("trap '' INT TERM; sleep 1000 & wait"), vec![]);
    stage.end(daemon, greeting.keeper);
}

fn a_daemon_that_babbles_is_replaced() {
    for bytes in [
        &[0, 0, 0, 0, 200, 0][..],
        &[255, 255, 255, 255, 1, 0],
        &[1, 0, 0, 0, 6, 1, 0],
    ] {
        let stage = Stage::start();
        let (mut daemon, greeting) = stage.ready_puppet();
        daemon.babble(bytes);
        while daemon.next_or_end().is_some() {}
        let (next, _) = stage.ready_puppet();
        assert!(
            stage.log().contains("between keeper and daemon"),
            "{}",
            stage.log()
        );
        stage.end(next, greeting.keeper);
    }
}

fn a_replacement_that_fails_gives_way_to_the_old_executable_and_no_application_ends() {
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    let app = daemon.spawn(5, shell("exec sleep 1000"), vec![]);
    for missing_or_failing in [c"/nonexistent/pm2", c"/bin/false"] {
        daemon.send(Request::Replace {
            program: missing_or_failing.to_owned(),
            env: vec![],
        });
        daemon.exit();
        let (old, again) = stage.ready_puppet();
        assert_eq!(again.running, [(5, app)]);
        assert!(again.not_replaced.is_some(), "{again:?}");
        daemon = old;
    }
    let itself = std::env::current_exe().unwrap();
    let program = std::ffi::CString::new(itself.to_str().unwrap()).unwrap();
    daemon.send(Request::Replace {
        program,
        env: vec![c"MARK=1".to_owned()],
    });
    daemon.exit();
    let (mut daemon, again) = stage.ready_puppet();
    assert_eq!((again.running, again.exits), (vec![(5, app)], vec![]));
    assert_eq!(again.not_replaced, None);
    daemon.send(Request::Signal { run: 5, signal: 15 });
    assert!(matches!(daemon.next(), Report::Exited(ended) if ended.run == 5));
    stage.end(daemon, greeting.keeper);
}

fn a_daemon_that_dies_while_it_shuts_down_is_not_followed_by_another() {
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    daemon.spawn(1, shell("exec sleep 1000"), vec![]);
    signal::send(greeting.keeper, 15).unwrap();
    assert!(matches!(daemon.next(), Report::Shutdown));
    daemon.crash();
    assert!(exit_of(greeting.keeper).success());
    assert!(!stage.home().join("pm2.pid").exists());
}

fn without_a_daemon_one_more_is_started_to_end_everything() {
    // Protects: who ends the keeper while its daemon crashes in a loop has the list saved and the apps stopped in their way.
    for crashes_again in [false, true] {
        let stage = Stage::start();
        let (mut daemon, greeting) = stage.ready_puppet();
        let app = daemon.spawn(1, shell("exec sleep 1000"), vec![]);
        std::fs::write(stage.home().join("fail"), "").unwrap();
        daemon.crash();
        wait_for("a long pause", || {
            stage.log().contains("another daemon starts in 1600 ms")
        });
        std::fs::remove_file(stage.home().join("fail")).unwrap();
        signal::send(greeting.keeper, 15).unwrap();
        let mut last = stage.puppet();
        let Report::Hello { running, .. } = last.next() else {
            panic!("the first report is not Hello")
        };
        assert_eq!((running[0].run, running[0].pid), (1, app));
        assert!(matches!(last.next(), Report::Shutdown));
        assert!(matches!(last.next(), Report::GiveEnd));
        if crashes_again {
            last.crash();
            assert!(exit_of(greeting.keeper).success());
            assert!(!stage.home().join("pm2.pid").exists());
        } else {
            last.send(Request::Ready);
            last.send(Request::Signal { run: 1, signal: 15 });
            let Report::Exited(ended) = last.next() else {
                panic!("no exit")
            };
            assert_eq!(ended.status.unwrap().signal(), Some(15), "and not by 9");
            stage.end(last, greeting.keeper);
        }
    }
}

fn the_keeper_stays_alone_on_its_home_until_its_daemon_has_gone() {
    // Protects: even a keeper killed with -9 leaves the home to its daemon as long as that lives.
    let stage = Stage::start();
    let (mut daemon, greeting) = stage.ready_puppet();
    signal::send(greeting.keeper, 9).unwrap();
    assert_eq!(exit_of(greeting.keeper).signal(), Some(9));
    assert!(
        daemon.next_or_end().is_none(),
        "the daemon is told by the end of the channel"
    );
    let (pid, ready) = launch(stage.home(), None);
    assert!(line_of(ready).contains("locked"));
    assert!(exit_of(pid).success());
    let gone = daemon.pid;
    daemon.exit();
    assert!(exit_of(gone).success());
    let (pid, _ready) = launch(stage.home(), None);
    assert!(exit_of(pid).success());
    let (daemon, again) = stage.ready_puppet();
    stage.end(daemon, again.keeper);
}
