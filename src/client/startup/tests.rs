//! Every init system, into a folder that stands for the machine, with programs that only write down how they were called.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::super::ClientConfig;
use super::*;
use crate::host::testing;

mod image;

/// All of them, by pm2's names.
const PLATFORMS: [&str; 9] = [
    "systemd",
    "systemd-user",
    "upstart",
    "systemv",
    "openrc",
    "launchd",
    "rcd",
    "rcd-openbsd",
    "smf",
];

/// A machine: a root folder, a home, programs, and an executable which says how it was started.
struct Machine {
    folder: tempfile::TempDir,
    home: PathBuf,
}

impl Machine {
    fn new() -> Self {
        Self::with_home(".pm2")
    }

    fn with_home(home: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self {
            home: folder.path().join(home),
            folder,
        };
        machine.program("pm2", r#"echo "pm2 [$PM2_HOME] $*" >> "$LOG""#);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the disk that [`Self::run`] prepares has what it calls `path`.
    fn on_disk(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path("disk")
            .join(path.as_ref().strip_prefix("/").unwrap())
    }

    /// Puts a shell script into the machine's PATH.
    fn program(&self, name: &str, text: &str) {
        let log = self.path("log");
        let script = format!("#!/bin/sh\nLOG='{}'\n{text}\n", log.display());
        fs::create_dir_all(self.path("programs")).unwrap();
        testing::program(&self.path("programs").join(name), &script);
    }

    fn programs(&self, names: &[&str]) {
        for name in names {
            self.program(name, r#"echo "$(basename "$0") $*" >> "$LOG""#);
        }
    }

    /// Does it to a disk, so that no test touches the machine it runs on.
    fn run(
        &self,
        verb: Verb,
        platform: Option<&str>,
        options: &Value,
    ) -> Result<Startup, StartupError> {
        let mut options = options.clone();
        options["root"] = json!(self.path("disk"));
        self.run_exactly(verb, platform, &options)
    }

    fn run_exactly(
        &self,
        verb: Verb,
        platform: Option<&str>,
        options: &Value,
    ) -> Result<Startup, StartupError> {
        let config = ClientConfig {
            home: self.home.clone(),
            executable: Some(self.path("programs/pm2")),
            ..ClientConfig::default()
        };
        let path = format!(
            "{}:relative::/usr/bin:/bin",
            self.path("programs").display()
        );
        let payload = json!({
            "platform": platform, "options": options, "cwd": self.path(""), "node": "/opt/node/bin/node",
            "env": {"PATH": path, "PM2_HOME": self.home},
        });
        run(&Client::new(config).unwrap(), verb, &payload.to_string())
    }

    /// What the programs were called with since the last time.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _none = fs::remove_file(self.path("log"));
        log
    }

    /// The same on every machine and for every user.
    fn neutral(&self, text: &str) -> String {
        let own = Account::current().unwrap();
        let version = format!("bin/{}/pm2", env!("CARGO_PKG_VERSION"));
        text.replace(&*self.path("").to_string_lossy(), "/MACHINE/")
            .replace(&version, "bin/VERSION/pm2")
            .replace(&*own.folder.to_string_lossy(), "/FOLDER")
            .replace(&own.name, "USER")
    }
}

fn message(result: Result<Startup, StartupError>) -> String {
    result.map(|made| made.platform).unwrap_err().to_string()
}

// Protects what init systems read and are told, to the byte. The snapshots are the golden files.
#[test]
fn every_init_system_gets_its_file_and_its_commands() {
    for platform in PLATFORMS {
        let machine = Machine::new();
        let ask = |verb| {
            machine
                .run_exactly(verb, Some(platform), &json!({"print": true}))
                .unwrap()
        };
        let (made, gone) = (ask(Verb::Startup), ask(Verb::Unstartup));
        let access = System::named(platform).unwrap().mode();
        let shown = format!(
            "{}--- {} {access:o}\n--- done\n{}\n--- undone\n{}",
            made.template,
            made.destination.display(),
            made.commands.join("\n"),
            gone.commands.join("\n")
        );
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(platform, machine.neutral(&shown));
        });
    }
}

#[test]
fn doing_it_again_changes_nothing() {
    let machine = Machine::new();
    machine.programs(&["systemctl"]);
    let first = machine
        .run(Verb::Startup, Some("ubuntu"), &json!({}))
        .unwrap();
    let again = machine
        .run(Verb::Startup, Some("systemd"), &json!({}))
        .unwrap();
    assert_eq!(first, again);
    let folder = first.destination.parent().unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    for _ in 0..2 {
        let gone = machine
            .run(Verb::Unstartup, Some("systemd"), &json!({}))
            .unwrap();
        assert_eq!(gone.failed, [""; 0]);
    }
}

#[test]
fn what_is_only_to_be_seen_is_not_done() {
    let machine = Machine::new();
    machine.programs(&["rc-update"]);
    let shown = machine
        .run_exactly(Verb::Startup, Some("openrc"), &json!({"print": true}))
        .unwrap();
    assert_eq!(shown.commands, ["rc-update add pm2 default"]);
    assert_eq!(shown.destination, Path::new("/etc/init.d/pm2"));
    machine
        .run_exactly(Verb::Unstartup, None, &json!({"print": true}))
        .unwrap();
    assert_eq!(machine.log(), "");
    assert!(!machine.home.exists());
}

// Protects pm2's order: some machines have the programs of two.
#[test]
fn an_init_system_is_recognised_by_its_program() {
    let machine = Machine::new();
    assert_eq!(System::detect(machine.path("programs").as_os_str()), None);
    let found: Vec<&str> = [
        "svcadm",
        "rcctl",
        "sysrc",
        "launchctl",
        "rc-update",
        "chkconfig",
        "update-rc.d",
        "systemctl",
    ]
    .into_iter()
    .filter_map(|program| {
        machine.programs(&[program]);
        System::detect(machine.path("programs").as_os_str()).map(System::name)
    })
    .collect();
    assert_eq!(
        found,
        [
            "smf",
            "rcd-openbsd",
            "rcd",
            "launchd",
            "openrc",
            "systemv",
            "upstart",
            "systemd"
        ]
    );
}

// Protects: whoever waits for the network gets it, under a name of the user's choice.
#[test]
fn options_reach_the_file() {
    let machine = Machine::new();
    machine.programs(&["systemctl"]);
    let options = json!({"waitIp": true, "serviceName": "web@1", "hp": "relative/folder"});
    let made = machine.run(Verb::Startup, None, &options).unwrap();
    assert!(
        made.destination
            .ends_with("etc/systemd/system/web@1.service")
    );
    for line in [
        "After=network-online.target\nWants=network-online.target\n",
        "WantedBy=network-online.target\n",
        &format!(
            "Environment=\"PM2_HOME={}/.pm2\"\n",
            machine.path("relative/folder").display()
        ),
    ] {
        assert!(made.template.contains(line), "{line}{}", made.template);
    }
    // Folders without a fixed place have no business in a service's PATH.
    let path = made
        .template
        .lines()
        .find(|line| line.contains("PATH="))
        .unwrap();
    assert!(
        !path.contains("relative") && !path.contains("::") && path.contains(":/opt/node/bin:"),
        "{path}"
    );
    assert_eq!(path.matches(":/usr/bin").count(), 1, "{path}");
}

// Protects against a home whose name is code: the scripts are run by a real shell, with a `su` that does what it is told.
#[test]
fn scripts_survive_a_home_with_any_name() {
    let machine = Machine::with_home("it's a \"$(touch pwned)\" `%h` \\ home;&");
    machine.programs(&["chroot"]);
    // su -s /bin/sh USER -c COMMAND
    machine.program("su", r#"[ "$#" = 5 ] && exec env -i /bin/sh -c "$5""#);
    let made = machine
        .run(Verb::Startup, Some("systemv"), &json!({}))
        .unwrap();
    machine.log();
    // As if the disk were that of this machine.
    fs::rename(machine.on_disk(&machine.home), &machine.home).unwrap();
    let copy = format!("bin/{}/pm2", env!("CARGO_PKG_VERSION"));
    for program in [made.destination.clone(), machine.home.join(copy)] {
        testing::rewrite(&program);
    }
    let script = |word: &str| {
        let path = format!("{}:/usr/bin:/bin", machine.path("programs").display());
        let mut command = Command::new(&made.destination);
        command
            .arg(word)
            .current_dir(machine.path(""))
            .env("PATH", path);
        command.output().unwrap()
    };
    for (word, asked) in [
        ("start", "resurrect"),
        ("reload", "reload all"),
        ("stop", "kill"),
        ("restart", "kill"),
    ] {
        let output = script(word);
        assert!(output.status.success(), "{word}: {output:?}");
        let log = machine.log();
        let expected = format!("pm2 [{}] {asked}\n", machine.home.display());
        assert!(log.starts_with(&expected), "{word}: {log} {expected}");
    }
    assert_eq!(script("status").status.code(), Some(3));
    fs::write(machine.home.join("pm2.pid"), std::process::id().to_string()).unwrap();
    assert_eq!(script("status").status.code(), Some(0));
    assert_eq!(script("dance").status.code(), Some(2));
    assert!(!machine.path("pwned").exists());
    let unit = machine
        .run(Verb::Startup, Some("launchd"), &json!({"print": true}))
        .unwrap();
    assert!(
        unit.template.contains("`%h` \\ home;&amp;/bin"),
        "{}",
        unit.template
    );
}

// Protects every shell template from a typing error: a shell reads all of each.
#[test]
fn every_script_is_one_for_a_shell() {
    let machine = Machine::new();
    for platform in ["upstart", "openrc", "rcd", "rcd-openbsd"] {
        let made = machine
            .run(Verb::Startup, Some(platform), &json!({"print": true}))
            .unwrap();
        let script = machine.path("script");
        fs::write(&script, &made.template).unwrap();
        let read = Command::new("/bin/sh")
            .arg("-n")
            .arg(&script)
            .output()
            .unwrap();
        assert!(read.status.success(), "{platform}: {read:?}");
        assert!(!made.template.contains("{{"), "{platform}");
    }
}

// Protects root's init system from whoever calls: nothing becomes another line, or another folder.
#[test]
fn what_is_no_good_is_named_with_what_is_allowed() {
    let machine = Machine::new();
    for (options, words) in [
        (json!({"user": 5}), "option \"user\" must be text, not 5"),
        (
            json!({"user": ""}),
            "option \"user\" must be text, not \"\"",
        ),
        (
            json!({"user": "no-such-user"}),
            "the user \"no-such-user\" does not exist",
        ),
        (
            json!({"waitIp": "yes"}),
            "option \"waitIp\" must be true or false, not \"yes\"",
        ),
        (
            json!({"serviceName": "../x"}),
            "option \"serviceName\" must be at most 100 letters",
        ),
        (json!({"serviceName": "-x"}), "option \"serviceName\""),
        (
            json!({"serviceName": "x".repeat(101)}),
            "option \"serviceName\"",
        ),
        (json!({"serviceName": "a b"}), "option \"serviceName\""),
        (
            json!({"hp": "/x\nExecStart=/bin/evil"}),
            "option \"hp\" has a control character",
        ),
    ] {
        let error = message(machine.run(Verb::Startup, Some("systemd"), &options));
        assert!(error.contains(words), "{options}: {error}");
    }
    machine
        .run(
            Verb::Startup,
            Some("smf"),
            &json!({"print": true, "serviceName": "x".repeat(100)}),
        )
        .unwrap();
    let error = message(machine.run(Verb::Startup, Some("windows"), &json!({})));
    assert!(
        error
            .starts_with("Unknown platform / init system name: \"windows\"; allowed are systemd, "),
        "{error}"
    );
    let bare = |platform: Value| {
        let payload = json!({"platform": platform, "cwd": "/", "env": {"PATH": "/nowhere"}});
        let config = ClientConfig {
            home: "/tmp/h".into(),
            ..ClientConfig::default()
        };
        message(run(
            &Client::new(config).unwrap(),
            Verb::Startup,
            &payload.to_string(),
        ))
    };
    assert_eq!(bare(json!(null)), "Init system not found");
    assert_eq!(bare(json!(5)), "option \"platform\" must be a name, not 5");
}
