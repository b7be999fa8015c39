//! Scaling, questions, signals and files.

use std::path::Path;

use serde_json::{Value, json};

use super::super::testing::Fake;
use super::{Scene, message, target};

#[test]
fn scaling_goes_one_by_one_lowest_ids_first() {
    let scene = Scene::new();
    for (count, deeds) in [
        (
            json!(4),
            vec!["duplicateProcessId [0]", "duplicateProcessId [0]"],
        ),
        (json!("+1"), vec!["duplicateProcessId [0]"]),
        (json!("1"), vec!["deleteProcessId [0]"]),
        (json!("-1"), vec!["deleteProcessId [0]"]),
        (json!(0), vec!["deleteProcessId [0]", "deleteProcessId [1]"]),
        (
            json!("-9"),
            vec!["deleteProcessId [0]", "deleteProcessId [1]"],
        ),
    ] {
        let fake = scene.fake();
        assert_eq!(
            scene
                .act_on(
                    &fake,
                    "scale",
                    json!({"what": {"target": "web"}, "count": count})
                )
                .unwrap(),
            json!({"success": true})
        );
        assert_eq!(fake.deeds(), deeds, "{count}");
        assert_eq!(
            fake.waiting.borrow().1.min(2),
            1 + usize::from(deeds[0].starts_with("delete")),
            "one process at a time"
        );
    }
    let fake = scene.fake();
    assert_eq!(
        message(scene.act_on(
            &fake,
            "scale",
            json!({"what": {"target": "web"}, "count": 2})
        )),
        "Same process number"
    );
    for bad in [
        json!(null),
        json!("x"),
        json!(1.5),
        json!("--1"),
        json!(1e300),
        json!(1_000_000),
        json!("+99999999999999999999"),
    ] {
        assert!(
            scene
                .act_on(
                    &fake,
                    "scale",
                    json!({"what": {"target": "web"}, "count": bad})
                )
                .is_err(),
            "{bad}"
        );
    }
    assert!(fake.deeds().is_empty());
}

#[test]
fn questions_are_answered_from_one_list() {
    let scene = Scene::new();
    let fake = scene.fake();
    assert_eq!(
        scene.act_on(&fake, "getPID", target("web")).unwrap(),
        json!([100, 101])
    );
    assert_eq!(
        scene.act_on(&fake, "getPID", target(Value::Null)).unwrap(),
        json!([100, 101, 102])
    );
    assert_eq!(
        scene
            .act_on(&fake, "getProcessIdByName", target("web"))
            .unwrap(),
        json!([0, 1])
    );
    assert_eq!(
        scene.act_on(&fake, "describe", target(1)).unwrap()[0]["pm_id"],
        1
    );
    assert_eq!(
        scene
            .act_on(&fake, "describe", target("web"))
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        scene.act_on(&fake, "reset", target("web")).unwrap(),
        json!({"success": true})
    );
    assert_eq!(
        fake.deeds(),
        ["resetMetaProcessId [0]", "resetMetaProcessId [1]"]
    );
}

#[test]
fn signals_go_by_id_or_by_name() {
    let scene = Scene::new();
    let fake = scene.fake();
    scene
        .act_on(
            &fake,
            "sendSignal",
            json!({"what": {"target": "nobody"}, "signal": "SIGUSR2", "by": "name"}),
        )
        .unwrap();
    scene
        .act_on(
            &fake,
            "sendSignal",
            json!({"what": {"target": 1}, "signal": 12, "by": "id"}),
        )
        .unwrap();
    assert_eq!(
        fake.deeds(),
        [
            r#"sendSignalToProcessName [{"signal":"SIGUSR2","process_name":"nobody"}]"#,
            r#"sendSignalToProcessId [{"signal":12,"process_id":1}]"#
        ]
    );
    assert!(scene.act_on(&fake, "sendSignal", target(1)).is_err());
}

#[test]
fn a_dump_keeps_the_old_one_and_refuses_an_empty_list() {
    let scene = Scene::new();
    let fake = scene.fake();
    let dump = scene.path("home/dump.pm2");
    scene.act_on(&fake, "dump", json!({})).unwrap();
    let saved: Value = serde_json::from_slice(&std::fs::read(&dump).unwrap()).unwrap();
    assert_eq!(
        (
            saved.as_array().unwrap().len(),
            saved[0].get("pm_id"),
            &saved[0]["name"]
        ),
        (3, None, &json!("web"))
    );
    assert!(!Path::new(&scene.path("home/dump.pm2.bak")).exists());
    assert_eq!(
        message(scene.act_on(&Fake::default(), "dump", json!({}))),
        "Process list empty, cannot save empty list"
    );
    scene
        .act_on(&Fake::default(), "dump", json!({"force": true}))
        .unwrap();
    assert_eq!(std::fs::read_to_string(&dump).unwrap(), "[]");
    assert!(
        std::fs::read_to_string(scene.path("home/dump.pm2.bak"))
            .unwrap()
            .contains("\"web\"")
    );
}

#[test]
fn a_flush_empties_the_logs_of_whom_it_names() {
    let scene = Scene::new();
    let fake = scene.fake();
    let (out, daemon) = (scene.path("out.log"), scene.path("home/pm2.log"));
    fake.processes.borrow_mut()[2]["pm2_env"]["pm_out_log_path"] = json!(out);
    fake.processes.borrow_mut()[2]["pm2_env"]["pm_err_log_path"] = json!("/dev/null");
    let filled = |action: Value| {
        std::fs::write(&out, "x").unwrap();
        std::fs::write(&daemon, "x").unwrap();
        assert_eq!(
            scene
                .act_on(&fake, "flush", action)
                .unwrap()
                .as_array()
                .unwrap()
                .len(),
            3
        );
        (
            std::fs::metadata(&out).unwrap().len(),
            std::fs::metadata(&daemon).unwrap().len(),
        )
    };
    assert_eq!(filled(json!({})), (0, 0));
    assert_eq!(filled(target("all")), (0, 0));
    assert_eq!(filled(target("7")), (0, 1));
    assert_eq!(filled(target("web")), (1, 1));
    assert_eq!(filled(target(0)), (1, 0));
}
