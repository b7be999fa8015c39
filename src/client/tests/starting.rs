//! Looking for a daemon, and starting one that fails in every way a test can play.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::client::{Client, ClientConfig, ClientError, LaunchSettings};
use crate::host::paths::Address;
use crate::host::testing;
use crate::wire::rpc;

use super::{Peer, Stage, run};

/// An executable that plays the keeper; it is called with `__keeper <home>`.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("keeper.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn staged(text: &str) -> (Stage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::with_executable(script(folder.path(), text).to_str().unwrap());
    (stage, folder)
}

/// A question whether a daemon is there must never be the reason that one is.
#[test]
fn ping_starts_nothing() {
    run(async {
        let (stage, folder) = staged("touch \"$0.started\"; touch \"$(dirname \"$0\")/started\"");
        assert!(!stage.client.ping().await);
        // A socket file that nobody serves is nobody.
        let listener = stage.listen();
        assert!(stage.client.ping().await);
        testing::end(listener);
        assert!(!stage.client.ping().await);
        assert!(!stage.path().join("bin").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    });
}

/// The reason is what the user can act on, and the log is where to read on.
#[test]
fn a_daemon_that_cannot_start_says_why() {
    run(async {
        let (stage, _folder) = staged(
            "echo 'about to fail' >&2; echo '{\"online\":false,\"reason\":\"bind /x/rpc.sock: no space\"}' >&$PM2_READY_FD",
        );
        let error = stage.client.connect().await.unwrap_err();
        let log = stage.path().join("pm2.log");
        assert_eq!(
            error.text(),
            format!(
                "failed to start the pm2 daemon: bind /x/rpc.sock: no space; its log is {}\nabout to fail",
                log.display()
            )
        );
        let mode = std::fs::metadata(log).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

/// Nothing said and gone: a crash, a missing library.
#[test]
fn a_daemon_that_just_ends_is_an_error_and_not_a_wait() {
    run(async {
        let (stage, _folder) = staged("exit 3");
        let error = stage.client.call("ping", "[{}]").await.unwrap_err();
        assert!(error.text().contains("it ended before it was ready"));
        // What a killed one left of its line is no line.
        let (stage, _folder) = staged("printf '{\"online\":tr' >&$PM2_READY_FD");
        let error = stage.client.connect().await.unwrap_err();
        assert!(matches!(error, ClientError::Launch { .. }), "{error:?}");
    });
}

/// Whoever loses the race for the lock waits for the winner's socket.
#[test]
fn a_caller_that_finds_the_lock_taken_waits_for_the_other_daemon() {
    run(async {
        let (stage, _folder) = staged(
            "echo '{\"online\":false,\"reason\":\"locked\"}' >&$PM2_READY_FD; touch \"$2/tried\"",
        );
        let daemon = async {
            while !stage.path().join("tried").exists() {
                tokio::task::yield_now().await;
            }
            let listener = stage.listen();
            let mut peer = Peer::accept(&listener).await;
            let id = peer.id().await;
            peer.write(&rpc::reply(&id, &[b"1"])).await;
            (listener, peer)
        };
        let calls = async {
            let attached = stage.client.connect().await.unwrap();
            (attached, stage.client.call("a", "[]").await.unwrap())
        };
        let ((attached, value), _daemon) = tokio::join!(calls, daemon);
        assert!(!attached.is_new_daemon);
        assert_eq!(value, "[1]");
    });
}

/// The daemon's environment is the one given, with the home, and without what was meant for the caller itself.
#[test]
fn the_daemon_gets_the_given_environment_and_no_foreign_channel() {
    run(async {
        let (stage, _folder) = staged("env > \"$2/env\"");
        let set = |name: &str, value: &str| (name.into(), value.into());
        stage.client.set_launch(LaunchSettings {
            env: vec![
                set("PATH", "/usr/bin:/bin"),
                set("SECRET", "1"),
                set("NODE_CHANNEL_FD", "3"),
                set("PM2_TIE_FD", "9"),
                set("PM2_HOME", "/elsewhere"),
            ],
            is_tied: false,
            manager: None,
        });
        let _ended = stage.client.connect().await.unwrap_err();
        let env = std::fs::read_to_string(stage.path().join("env")).unwrap();
        let mut names: Vec<_> = env
            .lines()
            .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
            .filter(|line| !line.starts_with("OLDPWD=") && !line.starts_with("SHLVL="))
            .collect();
        names.sort_unstable();
        let home = format!("PM2_HOME={}", stage.path().display());
        assert_eq!(
            names,
            ["PATH=/usr/bin:/bin", &home, "PM2_READY_FD=1", "SECRET=1"]
        );
        assert!(!format!("{:?}", LaunchSettings::default()).contains("SECRET"));
    });
}

/// No environment given means that of this process: the command line starts daemons that way.
#[test]
fn a_missing_executable_is_one_clear_error() {
    run(async {
        let stage = Stage::new();
        let error = stage.client.connect().await.unwrap_err();
        assert_eq!(error.code().as_deref(), Some("ENOENT"));
        assert!(error.text().contains("/nonexistent"), "{}", error.text());
    });
}

/// A home deep in a project is the usual way to get here, and `EINVAL` from `bind` helps nobody.
#[test]
fn a_home_too_long_for_a_socket_names_path_and_limit() {
    let home = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
    let config = ClientConfig {
        home: home.clone(),
        ..ClientConfig::default()
    };
    let error = Client::new(config).unwrap_err();
    let text = error.text();
    assert!(text.contains(home.to_str().unwrap()), "{text}");
    assert!(text.contains("107"), "{text}");
    assert_eq!(error.code().as_deref(), Some("ENAMETOOLONG"));
}

/// The reference prints a hint and ends the caller's process here.
#[test]
fn a_socket_that_is_not_ours_names_path_and_permission() {
    let address = Address::unix(PathBuf::from("/srv/pm2/rpc.sock")).unwrap();
    let error = ClientError::connect(&address, io::Error::from_raw_os_error(13));
    let text = error.text();
    assert!(text.contains("/srv/pm2/rpc.sock"), "{text}");
    assert!(text.contains("write permission"), "{text}");
    assert_eq!(error.code().as_deref(), Some("EACCES"));
}
