//! Actions on declared apps.

use serde_json::{Value, json};

use super::super::testing::Fake;
use super::Scene;

#[test]
fn declared_apps_are_started_together_in_their_order() {
    let scene = Scene::new();
    let fake = Fake::default();
    let apps: Vec<_> = (0..40)
        .map(|number| json!({"name": format!("n{number}"), "script": "app.js"}))
        .collect();
    let value = scene
        .act_on(&fake, "start", json!({"what": {"apps": apps}}))
        .unwrap();
    let names: Vec<_> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        (0..40)
            .map(|number| format!("n{number}"))
            .collect::<Vec<_>>()
    );
    assert_eq!(fake.waiting.borrow().1, 40);
    assert_eq!(
        scene
            .act_on(&fake, "start", json!({"what": {"apps": []}}))
            .unwrap(),
        json!([])
    );
    assert_eq!(
        scene
            .act_on(&fake, "start", json!({"what": {"apps": {"apps": []}}}))
            .unwrap(),
        json!([])
    );
}

#[test]
fn a_declared_app_that_is_managed_is_restarted_with_what_is_declared() {
    let scene = Scene::new();
    let fake = scene.fake();
    let apps = json!([{"name": "web", "script": "app.js", "env": {"A": 1}, "env_production": {"A": 2}, "kill_timeout": 5}, {"name": "new", "script": "c.js"}]);
    let value = scene
        .act_on(
            &fake,
            "start",
            json!({"what": {"apps": apps}, "options": {"env": "production"}}),
        )
        .unwrap();
    let asked = fake.asked("restartProcessId");
    assert_eq!(asked.len(), 2);
    let conf = &asked[1][0]["env"]["current_conf"];
    assert_eq!(
        (
            &conf["kill_timeout"],
            &conf["autorestart"],
            conf.get("script"),
            conf.get("env")
        ),
        (&json!(5), &json!(true), None, None)
    );
    assert_eq!(
        (&asked[1][0]["env"]["A"], asked[1][0]["env"].get("PATH")),
        (&json!(2), None)
    );
    assert_eq!(fake.asked("prepare").len(), 1);
    assert_eq!(value.as_array().unwrap().len(), 3);
    // Without variables of its own it takes the caller's.
    let fake = scene.fake();
    scene
        .act_on(
            &fake,
            "restart",
            json!({"what": {"apps": {"name": "web", "script": "app.js"}}}),
        )
        .unwrap();
    assert!(
        fake.asked("restartProcessId")[0][0]["env"]
            .get("PATH")
            .is_some()
    );
}

#[test]
fn one_failing_app_does_not_keep_the_others_from_starting() {
    let scene = Scene::new();
    let mut fake = Fake::default();
    fake.refusals
        .push(("prepare", "[{\"name\":\"refused\"", "spawn failed"));
    let apps = json!([{"name": "good", "script": "app.js"}, {"name": "gone", "script": "gone.js"}, {"name": "none"}, {"name": "refused", "script": "app.js"}]);
    let error = scene
        .act_on(&fake, "start", json!({"what": {"apps": apps}}))
        .unwrap_err();
    assert_eq!(
        error.errors,
        [
            format!("Script not found: {}", scene.path("gone.js")),
            "No script path - aborting".to_owned(),
            "spawn failed".to_owned()
        ]
    );
    let text: Value = serde_json::from_str(&error.to_json()).unwrap();
    assert_eq!(
        (
            &text["value"][0]["name"],
            text["errors"].as_array().unwrap().len()
        ),
        (&json!("good"), 3)
    );
}

#[test]
fn a_bad_option_in_any_app_starts_nothing_and_is_one_error() {
    let scene = Scene::new();
    let fake = Fake::default();
    let apps = json!([{"name": "a", "script": "app.js"}, {"name": "b", "script": "app.js", "kill_timeout": "x"}, {"name": "c", "script": "app.js", "min_uptime": 5}]);
    let error = scene
        .act_on(&fake, "start", json!({"what": {"apps": apps}}))
        .unwrap_err();
    assert!(error.errors.is_empty());
    assert!(
        error
            .message
            .contains(", app: b),The minimum of \"min_uptime\" is 100, but now is 5"),
        "{error}"
    );
    assert_eq!(fake.calls.borrow().len(), 0);
}

#[test]
fn options_of_the_caller_reach_the_declared_apps() {
    let scene = Scene::new();
    let names = |options: Value, apps: Value| {
        let fake = Fake::default();
        scene
            .act_on(
                &fake,
                "start",
                json!({"what": {"apps": apps}, "options": options}),
            )
            .unwrap();
        fake.asked("prepare")
            .iter()
            .map(|args| args[0].clone())
            .collect::<Vec<_>>()
    };
    let two = json!([{"name": "a", "script": "app.js"}, {"name": "b b", "script": "app.js", "namespace": "own"}]);
    assert_eq!(names(json!({"only": "a,zz"}), two.clone())[0]["name"], "a");
    assert_eq!(names(json!({"only": "b b"}), two.clone()).len(), 1);
    let records = names(
        json!({"namespace": "ns", "name_prefix": "p", "watch": true, "instances": 2}),
        two,
    );
    assert_eq!(
        (&records[0]["namespace"], &records[1]["namespace"]),
        (&json!("ns"), &json!("own"))
    );
    assert_eq!(
        (
            &records[0]["name"],
            &records[0]["watch"],
            &records[0]["instances"]
        ),
        (&json!("p:a"), &json!(true), &json!(2))
    );
    let appended = names(
        json!({"env": "prod"}),
        json!({"name": "a", "script": "app.js", "append_env_to_name": true}),
    );
    assert_eq!(appended[0]["name"], "a-prod");
}

#[test]
fn stop_and_delete_of_declared_apps_go_by_name_and_give_full_processes() {
    let scene = Scene::new();
    for action in ["stop", "delete"] {
        for apps in [
            json!({"name": "web", "script": "app.js", "kill_timeout": "bad"}),
            json!([{"script": "web.js"}]),
            json!({"pm2": [{"name": "web"}, {"name": "nobody"}]}),
        ] {
            let fake = scene.fake();
            let value = scene
                .act_on(&fake, action, json!({"what": {"apps": apps}}))
                .unwrap();
            assert_eq!(value.as_array().unwrap().len(), 2);
            assert!(value[0].get("monit").is_some());
        }
    }
    let fake = scene.fake();
    assert_eq!(
        scene
            .act_on(&fake, "stop", json!({"what": {"apps": {"name": "nobody"}}}))
            .unwrap(),
        json!([])
    );
}

#[test]
fn files_of_text_are_read_too() {
    let scene = Scene::new();
    let fake = Fake::default();
    let what =
        json!({"apps_text": "apps:\n  - name: y\n    script: app.js\n", "file": "/x/eco.yml"});
    scene
        .act_on(&fake, "start", json!({ "what": what }))
        .unwrap();
    assert_eq!(fake.asked("prepare")[0][0]["name"], "y");
}
