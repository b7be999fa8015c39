//! Another machine's disk: what is done to it, and that nothing is done to this one.

use std::os::unix::fs::symlink;

use super::*;

/// Everything that an init system has, and that must not be asked but through `chroot` and `--root`.
const PROGRAMS: [&str; 11] = [
    "systemctl",
    "loginctl",
    "update-rc.d",
    "chkconfig",
    "rc-update",
    "launchctl",
    "sysrc",
    "rcctl",
    "svcadm",
    "svccfg",
    "chroot",
];

/// What is done for the service `x` on the disk `DISK`, and to be rid of it. `FILE` is its file.
const DONE: [(&str, &str, &str); 9] = [
    (
        "systemd",
        "systemctl --root=DISK enable x",
        "systemctl --root=DISK disable x; rm FILE",
    ),
    (
        "systemd-user",
        "ln -sfn FOLDER/.config/systemd/user/x.service WANTS/x.service; touch DISK/var/lib/systemd/linger/USER",
        "rm WANTS/x.service; rm FILE",
    ),
    (
        "upstart",
        "touch DISK/var/lock/subsys/x; chroot DISK update-rc.d x defaults",
        "chroot DISK update-rc.d x disable; chroot DISK update-rc.d -f x remove; rm DISK/var/lock/subsys/x; rm FILE",
    ),
    (
        "systemv",
        "touch DISK/var/lock/subsys/x; chroot DISK chkconfig --add x; chroot DISK chkconfig x on",
        "chroot DISK chkconfig x off; chroot DISK chkconfig --del x; rm DISK/var/lock/subsys/x; rm FILE",
    ),
    (
        "openrc",
        "chroot DISK rc-update add x default",
        "chroot DISK rc-update delete x default; rm FILE",
    ),
    ("launchd", "", "rm FILE"),
    (
        "rcd",
        "chroot DISK sysrc x_enable=YES",
        "chroot DISK sysrc -x x_enable; rm FILE",
    ),
    (
        "rcd-openbsd",
        "chroot DISK rcctl enable x",
        "chroot DISK rcctl disable x; rm FILE",
    ),
    ("smf", "", "rm FILE"),
];

/// The part of `commands` that programs hear of.
fn heard(commands: &[String]) -> Vec<&str> {
    let is_ours =
        |command: &str| ["rm", "ln", "touch"].contains(&command.split(' ').next().unwrap());
    let commands = commands.iter().map(String::as_str);
    commands.filter(|command| !is_ours(command)).collect()
}

/// A machine whose programs write down how they were called.
fn recording() -> Machine {
    let machine = Machine::new();
    machine.programs(&PROGRAMS);
    machine
}

fn named() -> Value {
    json!({"serviceName": "x"})
}

// Protects this machine: its own service is not stopped, and not started, because another one's disk is prepared.
#[test]
fn another_machines_disk_is_changed_and_nobody_here_is_told() {
    let own = Account::current().unwrap();
    assert_eq!(DONE.map(|(platform, ..)| platform), PLATFORMS);
    for (platform, done, undone) in DONE {
        let machine = recording();
        let made = machine
            .run(Verb::Startup, Some(platform), &named())
            .unwrap();
        let written = fs::metadata(&made.destination).unwrap().mode() & 0o777;
        assert_eq!(written, System::named(platform).unwrap().mode());
        assert_eq!(
            fs::read_to_string(&made.destination).unwrap(),
            made.template
        );
        let filled = |text: &str| {
            let wants = made.destination.with_file_name("default.target.wants");
            text.replace("WANTS", &wants.to_string_lossy())
                .replace("DISK", &machine.path("disk").to_string_lossy())
                .replace("FILE", &made.destination.to_string_lossy())
                .replace("FOLDER", &own.folder.to_string_lossy())
                .replace("USER", &own.name)
        };
        assert_eq!(made.commands.join("; "), filled(done));
        assert_eq!(
            machine.log().lines().collect::<Vec<_>>(),
            heard(&made.commands),
            "{platform}"
        );
        let gone = machine
            .run(Verb::Unstartup, Some(platform), &named())
            .unwrap();
        assert_eq!(gone.commands.join("; "), filled(undone));
        assert_eq!(
            machine.log().lines().collect::<Vec<_>>(),
            heard(&gone.commands),
            "{platform}"
        );
        assert_eq!(gone.failed, [""; 0], "{platform}");
        assert!(!made.destination.exists(), "{platform}");
        assert!(!machine.home.exists(), "{platform}");
    }
}

// Protects: what the unit starts is there when the machine boots, also when the package it came from has gone.
#[test]
fn what_is_started_at_boot_is_a_copy_in_the_home_on_that_disk() {
    let machine = recording();
    let made = machine.run(Verb::Startup, None, &json!({})).unwrap();
    let copy = machine
        .home
        .join(format!("bin/{}/pm2", env!("CARGO_PKG_VERSION")));
    assert!(
        made.template
            .contains(&format!("ExecStart=\"{}\" resurrect", copy.display()))
    );
    let access = |path: &Path| fs::metadata(machine.on_disk(path)).unwrap().mode() & 0o777;
    assert_eq!((access(&copy), access(&machine.home)), (0o700, 0o700));
    assert!(!machine.home.exists());
    assert_eq!(made.detected, Some("systemd"));
}

// Protects boot where no program can be asked: the link says what `systemctl --user enable` would, linger is what logind looks for.
#[test]
fn a_users_service_is_enabled_by_files() {
    let machine = recording();
    let own = Account::current().unwrap();
    let unit = own.folder.join(".config/systemd/user/x.service");
    let link = machine.on_disk(
        own.folder
            .join(".config/systemd/user/default.target.wants/x.service"),
    );
    for _ in 0..2 {
        machine
            .run(Verb::Startup, Some("systemd-user"), &named())
            .unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), unit);
        assert!(machine.on_disk(unit.as_path()).is_file());
        let linger = Path::new("/var/lib/systemd/linger").join(&own.name);
        assert_eq!(fs::metadata(machine.on_disk(linger)).unwrap().len(), 0);
    }
    machine
        .run(Verb::Unstartup, Some("systemd-user"), &named())
        .unwrap();
    assert!(!link.is_symlink() && !machine.on_disk(unit.as_path()).exists());
}

// Protects: a manifest that nobody imports and enables must say itself that it is to run.
#[test]
fn a_manifest_found_at_boot_is_enabled() {
    let machine = recording();
    let shown = |options: Value| machine.run_exactly(Verb::Startup, Some("smf"), &options);
    let here = shown(json!({"print": true})).unwrap();
    let there = shown(json!({"print": true, "root": "disk"})).unwrap();
    assert!(
        here.template
            .contains("<create_default_instance enabled=\"false\"/>")
    );
    assert_eq!(
        there.template,
        here.template
            .replace("enabled=\"false\"", "enabled=\"true\"")
    );
}

#[test]
fn the_script_of_old_is_taken_off_the_disk() {
    let machine = recording();
    let old = machine.on_disk("/etc/init.d/pm2-init.sh");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, "").unwrap();
    let gone = machine.run(Verb::Unstartup, None, &json!({})).unwrap();
    let disk = machine.path("disk");
    let (disk, old) = (disk.display(), old.display());
    assert_eq!(
        gone.commands,
        [
            format!("chroot {disk} update-rc.d pm2-init.sh disable"),
            format!("chroot {disk} update-rc.d -f pm2-init.sh remove"),
            format!("rm {old}"),
        ]
    );
    assert!(!machine.on_disk("/etc/init.d/pm2-init.sh").exists());
}

// Protects this machine from the links of another: an absolute one, one that climbs too high, one in a circle.
#[test]
fn links_on_the_disk_lead_to_nowhere_else() {
    let machine = recording();
    let here = machine.path("here");
    fs::create_dir_all(&here).unwrap();
    fs::create_dir_all(machine.on_disk("/etc")).unwrap();
    fs::create_dir_all(machine.on_disk(machine.home.parent().unwrap())).unwrap();
    symlink(&here, machine.on_disk("/etc/systemd")).unwrap();
    symlink(
        format!("../../../../../../../../../..{}", here.display()),
        machine.on_disk(&machine.home),
    )
    .unwrap();
    let made = machine.run(Verb::Startup, None, &named()).unwrap();
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0);
    assert_eq!(
        made.destination,
        machine.on_disk(here.join("system/x.service"))
    );
    assert!(made.destination.is_file());
    assert!(machine.on_disk(here.join("bin")).is_dir());
    // `systemctl --root` would follow the link.
    let enable = format!(
        "chroot {} systemctl enable x",
        machine.path("disk").display()
    );
    assert_eq!(made.commands, [enable]);
    let gone = machine.run(Verb::Unstartup, None, &named()).unwrap();
    assert_eq!(gone.commands.len(), 2, "{:?}", gone.commands);
    assert!(!made.destination.exists());
    symlink("/etc/circle", machine.on_disk("/etc/circle")).unwrap();
    fs::remove_file(machine.on_disk("/etc/systemd")).unwrap();
    symlink("circle", machine.on_disk("/etc/systemd")).unwrap();
    let error = message(machine.run(Verb::Startup, None, &named()));
    assert!(
        error.starts_with("too many links lead to /etc/systemd/system/x.service in "),
        "{error}"
    );
}

#[test]
fn a_command_that_fails_ends_it_and_says_why() {
    let machine = Machine::new();
    machine.program("chroot", "echo 'no such program' >&2; exit 4");
    let disk = machine.path("disk");
    let error = message(machine.run(Verb::Startup, Some("systemv"), &named()));
    assert_eq!(
        error,
        format!(
            "chroot {} chkconfig --add x failed: exit status: 4: no such program",
            disk.display()
        )
    );
    let gone = machine
        .run(Verb::Unstartup, Some("systemv"), &named())
        .unwrap();
    assert_eq!(gone.failed.len(), 2, "{:?}", gone.failed);
    assert!(gone.failed[0].contains("chkconfig x off failed"));
    let blocked = recording();
    fs::create_dir_all(blocked.path("disk")).unwrap();
    fs::write(blocked.on_disk("/etc"), "").unwrap();
    let error = message(blocked.run(Verb::Startup, Some("systemd"), &named()));
    assert!(
        error.contains("disk/etc/systemd/system/x.service"),
        "{error}"
    );
}

// Protects what the fakes cannot: the real program makes the link that boot follows, and takes it away.
#[test]
fn the_real_systemctl_enables_on_the_disk() {
    let Some(real) = ["/usr/bin/systemctl", "/bin/systemctl"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return;
    };
    let machine = recording();
    machine.program("systemctl", &format!("exec {real} \"$@\""));
    let made = machine
        .run(Verb::Startup, Some("systemd"), &named())
        .unwrap();
    let link = machine.on_disk("/etc/systemd/system/multi-user.target.wants/x.service");
    assert_eq!(
        fs::read_link(&link).unwrap(),
        Path::new("/etc/systemd/system/x.service")
    );
    let gone = machine
        .run(Verb::Unstartup, Some("systemd"), &named())
        .unwrap();
    assert_eq!(gone.failed, [""; 0]);
    assert!(!link.is_symlink() && !made.destination.exists());
}

// Protects a service of somebody else: it is that one's home and executable, with that one's rights, whatever links are there.
#[test]
fn a_service_of_another_user_has_that_users_home() {
    let Some(nobody) = Account::named("nobody").filter(|_| nix::unistd::geteuid().is_root()) else {
        return;
    };
    let machine = recording();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let folder = machine.on_disk("/folder");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(nobody.uid), Some(nobody.gid)).unwrap();
    open(&machine.path(""), 0o711);
    // The package may be where nobody but root can read it.
    open(&machine.path("programs/pm2"), 0o700);
    let options = json!({"user": "nobody", "hp": "/folder"});
    let made = machine.run(Verb::Startup, None, &options).unwrap();
    assert!(made.template.contains("User=nobody\n") && made.service == "pm2-nobody");
    let copy = folder.join(format!(".pm2/bin/{}/pm2", env!("CARGO_PKG_VERSION")));
    let found = fs::metadata(&copy).unwrap();
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o777),
        (nobody.uid, nobody.gid, 0o700)
    );
    // A link in that user's folder does not have root write where the user cannot.
    fs::remove_dir_all(folder.join(".pm2")).unwrap();
    let secret = machine.on_disk("/secret");
    fs::create_dir(&secret).unwrap();
    open(&secret, 0o700);
    symlink("/secret", folder.join(".pm2")).unwrap();
    let error = message(machine.run(Verb::Startup, None, &options));
    assert!(error.contains("ermission denied"), "{error}");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 0);
}
