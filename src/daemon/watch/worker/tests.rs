use super::super::plan::Root;
use super::*;

// Protects: one that cannot be watched wholly is not watched at all, and nobody else loses anything.
#[test]
fn what_cannot_be_watched_is_told_and_left() {
    let (orders, _kept) = std_mpsc::channel();
    let (reports, mut heard) = mpsc::channel(8);
    let mut state = State::new(orders, reports);
    let folder = tempfile::tempdir().unwrap();
    let plan = |path: PathBuf| Plan {
        cwd: folder.path().to_path_buf(),
        roots: vec![Root {
            path,
            pattern: None,
        }],
        ..Plan::default()
    };
    state.set(PmId(0), Moment::now(), &plan(folder.path().to_path_buf()));
    assert_eq!(state.folders.len(), 1);
    state.set(PmId(1), Moment::now(), &plan("/nowhere/at/all".into()));
    assert!(matches!(heard.try_recv(), Ok(Report::Trouble(PmId(1), _))));
    assert_eq!(state.folders.len(), 1);
    assert!(!state.watchers.contains_key(&PmId(1)));
    state.unset(PmId(0));
    assert!(state.folders.is_empty());
}

// Protects: what changes between the wish and the watch counts once, however it is watched, and what was there before does not.
#[test]
fn what_changes_before_it_is_watched_counts_and_what_was_there_does_not() {
    for poll in [None, Some(Duration::from_hours(1))] {
        let folder = tempfile::tempdir().unwrap();
        let below = |name: &str| folder.path().join(name);
        fs::create_dir_all(below("old/deep")).unwrap();
        fs::write(below("old/deep/x.js"), "1").unwrap();
        let plan = Plan {
            cwd: folder.path().to_path_buf(),
            roots: vec![Root {
                path: folder.path().to_path_buf(),
                pattern: None,
            }],
            poll,
            ..Plan::default()
        };
        let since = Moment::now();
        assert_eq!(missed(&plan, since), Vec::<PathBuf>::new());
        until_files_are_later(since);
        fs::create_dir_all(below("node_modules/m")).unwrap();
        fs::write(below("node_modules/m/x.js"), "1").unwrap();
        assert_eq!(missed(&plan, since), Vec::<PathBuf>::new(), "ignored");
        fs::write(below("old/deep/x.js"), "2").unwrap();
        assert_eq!(missed(&plan, since), [below("old/deep/x.js")]);
        assert_eq!(missed(&plan, Moment::now()), Vec::<PathBuf>::new());
        let since = Moment::now();
        until_files_are_later(since);
        fs::create_dir(below("old/new")).unwrap();
        assert_eq!(missed(&plan, since), [below("old/new")]);
    }
}

/// What a thread reports that comes to a wish of that moment only now.
fn missed(plan: &Plan, since: Moment) -> Vec<PathBuf> {
    let (orders, queue) = std_mpsc::channel();
    let (reports, mut heard) = mpsc::channel(8);
    let mut state = State::new(orders, reports);
    state.set(PmId(0), since, plan);
    while let Ok(Order::Polled(id, Ok(event))) = queue.try_recv() {
        state.polled(id, &event);
    }
    let mut paths = Vec::new();
    while let Ok(Report::Changed(_, path)) = heard.try_recv() {
        paths.push(PathBuf::from(&*path));
    }
    paths
}

/// As those who watch do before anybody hears of the start.
fn until_files_are_later(since: Moment) {
    while !since.is_past_for_files() {
        thread::yield_now();
    }
}
