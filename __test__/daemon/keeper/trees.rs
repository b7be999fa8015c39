//! Finding all that belongs to an application, with real processes that hide.

use crate::stage::{command_line, exit_of, kill, shell, wait_for};
use pm2::host::spawn::{Gifts, spawn};
use pm2::host::tree::{Identity, Snapshot};

crate::tests![
    a_child_whose_parent_has_ended_is_found_by_its_session,
    a_descendant_in_a_session_of_its_own_is_found_with_its_family_deepest_first,
    a_tree_is_found_when_its_root_has_been_reaped,
    a_zombie_is_dead_and_a_reused_number_is_somebody_else,
];

/// The tree of `root` once these are its members' command lines, in any order.
fn tree_of(root: Identity, members: &[&str]) -> Vec<Identity> {
    let mut tree = Vec::new();
    wait_for("the whole tree", || {
        tree = Snapshot::take().unwrap().tree(root);
        let mut lines: Vec<_> = tree.iter().map(|member| command_line(member.pid)).collect();
        lines.sort_unstable();
        lines
            .iter()
            .map(|line| line.trim_end())
            .eq(members.iter().copied())
    });
    tree
}

/// Ends them all and waits until none runs.
fn end(tree: &[Identity]) {
    for member in tree {
        // A shell whose children end may be faster.
        let _gone = member.signal(9);
    }
    for member in tree {
        wait_for("its end", || !member.is_alive());
    }
}

fn a_child_whose_parent_has_ended_is_found_by_its_session() {
    // Protects: the double fork, after which no parent link leads to the grandchild.
    let pid = spawn(&shell("(sleep 1000 &); exec sleep 1001"), &Gifts::default()).unwrap();
    let tree = tree_of(Identity::of(pid).unwrap(), &["sleep 1000", "sleep 1001"]);
    assert_eq!(tree[1].pid, pid, "the root comes last");
    wait_for("the link to go", || parent(tree[0].pid) != pid);
    assert_eq!(
        tree_of(Identity::of(pid).unwrap(), &["sleep 1000", "sleep 1001"]),
        tree
    );
    end(&tree);
    exit_of(pid);
}

fn a_descendant_in_a_session_of_its_own_is_found_with_its_family_deepest_first() {
    let inner = "sleep 1000 & sleep 1001 & wait";
    let script = format!("setsid sh -c '{inner}' & sleep 1002 & wait");
    let pid = spawn(&shell(&script), &Gifts::default()).unwrap();
    let outer_line = format!("sh -c {script}");
    let inner_line = format!("sh -c {inner}");
    let mut lines = [
        "sleep 1000",
        "sleep 1001",
        "sleep 1002",
        &outer_line,
        &inner_line,
    ];
    lines.sort_unstable();
    let tree = tree_of(Identity::of(pid).unwrap(), &lines);
    for (index, member) in tree.iter().enumerate() {
        let above = tree
            .iter()
            .position(|other| other.pid == parent(member.pid));
        assert!(
            above.is_none_or(|above| above > index),
            "a parent comes after its children"
        );
    }
    assert_eq!(tree[4].pid, pid);
    end(&tree);
    exit_of(pid);
}

fn a_tree_is_found_when_its_root_has_been_reaped() {
    // Protects: an app that forks itself into the background and exits still has a stop that ends it.
    let pid = spawn(
        &shell("sleep 1000 & sleep 1000 & read line"),
        &Gifts::default(),
    )
    .unwrap();
    let root = Identity::of(pid).unwrap();
    assert!(exit_of(pid).code().is_some());
    let tree = tree_of(root, &["sleep 1000", "sleep 1000"]);
    assert!(!root.is_alive() && tree.iter().all(|member| member.pid != pid));
    end(&tree);
    assert_eq!(tree_of(root, &[]), []);
}

fn a_zombie_is_dead_and_a_reused_number_is_somebody_else() {
    let pid = spawn(&shell("exec sleep 1000"), &Gifts::default()).unwrap();
    let sleeper = Identity::of(pid).unwrap();
    let other = Identity {
        start: sleeper.start + 1,
        ..sleeper
    };
    assert!(sleeper.is_alive() && !other.is_alive());
    assert_eq!(
        Snapshot::take().unwrap().tree(other),
        [],
        "its session is nobody's"
    );
    assert_eq!(
        other.signal(9).unwrap_err().raw_os_error(),
        Some(nix::libc::ESRCH)
    );
    assert!(other.watch().is_none());
    let watch = sleeper.watch().unwrap();
    assert!(!watch.has_ended());
    kill(pid);
    crate::stage::wait_readable(std::os::fd::AsFd::as_fd(&watch));
    assert!(
        watch.has_ended() && !sleeper.is_alive(),
        "not reaped, but dead"
    );
    assert_eq!(Snapshot::take().unwrap().tree(sleeper), []);
    exit_of(pid);
}

fn parent(pid: i32) -> i32 {
    crate::stage::status(pid, "PPid").parse().unwrap()
}
