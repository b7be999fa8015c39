//! Start of a text.

use std::path::Path;

use serde_json::json;

use super::super::testing::Fake;
use super::{Scene, message};

#[test]
fn a_text_to_start_is_a_name_a_namespace_an_id_or_all_before_it_is_a_script() {
    let scene = Scene::new();
    for (script, ids) in [
        ("web", vec![0, 1]),
        ("shop", vec![0, 1]),
        ("7", vec![2]),
        ("1", vec![1]),
        ("all", vec![0, 1, 2]),
    ] {
        let fake = scene.fake();
        scene
            .act_on(&fake, "start", json!({"what": {"script": script}}))
            .unwrap();
        let asked: Vec<_> = fake
            .asked("restartProcessId")
            .iter()
            .map(|args| args[0]["id"].as_u64().unwrap())
            .collect();
        assert_eq!(asked, ids, "{script}");
        assert!(fake.asked("prepare").is_empty());
    }
    assert_eq!(
        message(scene.act_on(&scene.fake(), "start", json!({"what": {"script": 99}}))),
        "God db process id unknown"
    );
    assert_eq!(
        message(scene.act_on(
            &Fake::default(),
            "start",
            json!({"what": {"script": "all"}})
        )),
        "process name not found"
    );
}

#[test]
fn a_script_that_runs_already_is_started_again_only_by_force_or_under_another_name() {
    let scene = Scene::new();
    let app = scene.path("app.js");
    let fake = || Fake::with(&[("app", "default", &app, "online")]);
    assert_eq!(
        message(scene.act_on(&fake(), "start", json!({"what": {"script": "app.js"}}))),
        "Script already launched"
    );
    for options in [json!({"force": true}), json!({"name": "second"})] {
        let fake = fake();
        scene
            .act_on(
                &fake,
                "start",
                json!({"what": {"script": "./app.js"}, "options": options}),
            )
            .unwrap();
        assert_eq!(fake.asked("prepare").len(), 1);
    }
    for status in ["stopped", "stopping", "errored"] {
        let fake = Fake::with(&[("app", "default", &app, status)]);
        scene
            .act_on(&fake, "start", json!({"what": {"script": "app.js"}}))
            .unwrap();
        assert_eq!(
            (
                fake.asked("restartProcessId").len(),
                fake.asked("prepare").len()
            ),
            (1, 0),
            "{status}"
        );
    }
}

#[test]
fn a_script_is_started_with_every_option_in_either_spelling() {
    let scene = Scene::new();
    let options = json!({"max_memory_restart": "1G", "killTimeout": 5, "args": "a 'b c'", "exec_mode": "cluster", "instances": 2, "stop_exit_codes": [0]});
    let fake = Fake::default();
    let value = scene
        .act_on(
            &fake,
            "start",
            json!({"what": {"script": "app.js"}, "options": options}),
        )
        .unwrap();
    let record = &fake.asked("prepare")[0][0];
    assert_eq!(
        (
            &record["max_memory_restart"],
            &record["kill_timeout"],
            &record["args"]
        ),
        (&json!(1_073_741_824), &json!(5), &json!(["a", "b c"]))
    );
    assert_eq!(
        (
            &record["exec_mode"],
            &record["instances"],
            &record["namespace"]
        ),
        (&json!("cluster_mode"), &json!(2), &json!("default"))
    );
    assert_eq!(
        (&record["pm_exec_path"], &record["name"]),
        (&json!(scene.path("app.js")), &json!("app"))
    );
    assert_eq!(value[0]["pm2_env"]["name"], "app");
    for (given, expected) in [
        (json!({"scriptArgs": ["x"]}), json!(["x"])),
        (
            json!({"rawArgs": ["node", "cli", "--", "y", "-z"]}),
            json!(["y", "-z"]),
        ),
    ] {
        let fake = Fake::default();
        scene
            .act_on(
                &fake,
                "start",
                json!({"what": {"script": "app.js"}, "options": given}),
            )
            .unwrap();
        assert_eq!(fake.asked("prepare")[0][0]["args"], expected);
    }
}

#[test]
fn a_watch_delay_in_camel_case_is_in_seconds() {
    let scene = Scene::new();
    for (options, millis) in [
        (json!({"watchDelay": 2}), 2000),
        (json!({"watchDelay": "0.5"}), 500),
        (json!({"watchDelay": "400ms"}), 400),
        (json!({"watch_delay": 200}), 200),
    ] {
        let fake = Fake::default();
        scene
            .act_on(
                &fake,
                "start",
                json!({"what": {"script": "app.js"}, "options": options}),
            )
            .unwrap();
        assert_eq!(
            fake.asked("prepare")[0][0]["watch_delay"],
            millis,
            "{options}"
        );
    }
}

#[test]
fn a_bad_option_or_a_missing_script_asks_nothing_of_the_daemon() {
    let scene = Scene::new();
    let fake = Fake::default();
    let bad = message(scene.act_on(
        &fake,
        "start",
        json!({"what": {"script": "app.js"}, "options": {"instances": true}}),
    ));
    assert!(
        bad.starts_with(
            "Expect \"instances\" to be a typeof [object Number], but now is [object Boolean]"
        ),
        "{bad}"
    );
    assert_eq!(fake.calls.borrow().len(), 0);
    let missing = message(scene.act_on(&fake, "start", json!({"what": {"script": "nope.js"}})));
    assert_eq!(
        missing,
        format!("Script not found: {}", scene.path("nope.js"))
    );
    assert!(fake.asked("prepare").is_empty());
}

#[test]
fn folders_of_logs_are_made() {
    let scene = Scene::new();
    let fake = Fake::default();
    scene
        .act_on(
            &fake,
            "start",
            json!({"what": {"script": "app.js"}, "options": {"output": "a/b/o.log"}}),
        )
        .unwrap();
    assert!(Path::new(&scene.path("a/b")).is_dir());
    std::fs::write(scene.path("file"), "").unwrap();
    let error = scene
        .act_on(
            &fake,
            "start",
            json!({"what": {"script": "c.js"}, "options": {"output": "file/o.log"}}),
        )
        .unwrap_err();
    assert!(
        error.message.starts_with("Could not create folder") && error.code.is_some(),
        "{error:?}"
    );
}
