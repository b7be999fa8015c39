//! Restart, reload, stop and delete of processes that exist.

use serde_json::json;

use super::super::run;
use super::super::testing::{Fake, block_on};
use super::{Scene, message, target};

#[test]
fn targets_are_found_by_name_namespace_path_pattern_id_and_all() {
    let scene = Scene::new();
    for (wanted, ids) in [
        (json!("web"), vec![0, 1]),
        (json!("shop"), vec![0, 1]),
        (json!("./app.js"), vec![0, 1]),
        (json!("/w.b/"), vec![0, 1]),
        (json!(1), vec![1]),
        (json!("1"), vec![1]),
        (json!("7"), vec![2]),
        (json!(7), vec![2]),
        (json!("all"), vec![0, 1, 2]),
    ] {
        for (action, method) in [
            ("restart", "restartProcessId"),
            ("stop", "stopProcessId"),
            ("reload", "reloadProcessId"),
            ("delete", "deleteProcessId"),
        ] {
            let fake = scene.fake();
            let value = scene.act_on(&fake, action, target(wanted.clone())).unwrap();
            let answered: Vec<_> = value
                .as_array()
                .unwrap()
                .iter()
                .map(|process| process["pm_id"].as_u64().unwrap())
                .collect();
            assert_eq!(answered, ids, "{action} {wanted}");
            assert_eq!(fake.asked(method).len(), ids.len());
            assert_eq!(fake.asked("getMonitorData").len(), 1, "one list is enough");
        }
    }
}

#[test]
fn what_is_not_found_is_said_in_pm2s_words() {
    let scene = Scene::new();
    let fake = scene.fake();
    assert_eq!(
        message(scene.act_on(&fake, "restart", target("nope"))),
        "process or namespace not found"
    );
    assert_eq!(
        message(scene.act_on(&fake, "stop", target("/nope/"))),
        "process name not found"
    );
    assert_eq!(
        message(scene.act_on(&Fake::default(), "delete", target("all"))),
        "process name not found"
    );
    assert_eq!(
        message(scene.act_on(&fake, "restart", target(99))),
        "God db process id unknown"
    );
    assert_eq!(
        message(scene.act_on(&fake, "reload", target(99))),
        "PM2 ID unknown"
    );
    assert_eq!(
        message(scene.act_on(&fake, "stop", target("99"))),
        "99 : id unknown"
    );
    assert!(
        message(scene.act_on(&fake, "stop", target("/(/")))
            .starts_with("Invalid regular expression: /(/")
    );
    assert_eq!(
        message(scene.act_on(
            &fake,
            "scale",
            json!({"what": {"target": "nope"}, "count": 2})
        )),
        "App not found"
    );
    assert_eq!(
        message(scene.act_on(&fake, "reset", target("nope"))),
        "Unknown process name"
    );
    assert_eq!(
        message(scene.act_on(&fake, "reset", target(99))),
        "99 id unknown"
    );
    assert_eq!(
        message(scene.act_on(&fake, "dance", target("web"))),
        "unknown action dance"
    );
    assert_eq!(
        scene.act_on(&fake, "describe", target("nope")).unwrap(),
        json!([])
    );
}

#[test]
fn values_are_pm2s_few_members_in_its_order() {
    let scene = Scene::new();
    let fake = scene.fake();
    let payload = json!({"what": {"target": 0}, "cwd": "/", "pm2_home": scene.path("home")});
    let text = block_on(run(&fake, "restart", &payload.to_string())).unwrap();
    assert_eq!(
        text,
        r#"[{"name":"web","namespace":"shop","pm_id":0,"status":"online","restart_time":0,"pm2_env":{"name":"web","namespace":"shop","pm_id":0,"status":"online","restart_time":0,"env":{"X":"1"}}}]"#
    );
}

#[test]
fn a_plain_restart_sends_what_pm2_sends() {
    // The recorded call 047: other daemons understand exactly this.
    let scene = Scene::new();
    let fake = scene.fake();
    scene.act_on(&fake, "restart", target("web")).unwrap();
    assert_eq!(
        fake.asked("restartProcessId")[0].to_string(),
        r#"[{"id":0,"env":{"current_conf":{"km_link":false},"web":{}}}]"#
    );
    assert_eq!(
        fake.asked("notifyByProcessId")[1].to_string(),
        r#"[{"id":1,"action_name":"restart","manually":true}]"#
    );
}

#[test]
fn stop_and_delete_switch_watching_off_first() {
    let scene = Scene::new();
    for (action, method) in [("stop", "stopProcessId"), ("delete", "deleteProcessId")] {
        let fake = scene.fake();
        scene.act_on(&fake, action, target(1)).unwrap();
        let calls = fake.calls.borrow();
        let words: Vec<_> = calls[1..]
            .iter()
            .map(|(method, args)| format!("{method} {args}"))
            .collect();
        assert_eq!(words[0], format!("stopWatch [\"{method}\",1]"));
        assert_eq!(words[1], format!("{method} [1]"));
        assert_eq!(
            words[2],
            format!(
                "notifyByProcessId [{{\"id\":1,\"action_name\":\"{action}\",\"manually\":true}}]"
            )
        );
    }
}

#[test]
fn a_hundred_restarts_are_under_way_together_and_answered_in_order() {
    let scene = Scene::new();
    let many: Vec<_> = (0..100)
        .map(|_| ("w", "default", "/x.js", "online"))
        .collect();
    let fake = Fake::with(&many);
    let value = scene.act_on(&fake, "restart", target("w")).unwrap();
    let ids: Vec<_> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["pm_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
    assert_eq!(fake.waiting.borrow().1, 64);
    assert_eq!(fake.asked("getMonitorData").len(), 1);
    for (payload, most) in [
        (
            json!({"what": {"target": "w"}, "options": {"parallel": 5}}),
            5,
        ),
        (
            json!({"what": {"target": "w"}, "env": {"PM2_CONCURRENT_ACTIONS": "3"}}),
            3,
        ),
    ] {
        let fake = Fake::with(&many);
        scene.act_on(&fake, "restart", payload).unwrap();
        assert_eq!(fake.waiting.borrow().1, most);
    }
    let fake = Fake::with(&many);
    scene.act_on(&fake, "reload", target("w")).unwrap();
    assert_eq!(
        fake.waiting.borrow().1,
        2,
        "a reload doubles each instance, so few go at once"
    );
}

#[test]
fn the_first_failing_id_ends_the_operation_with_its_error() {
    let scene = Scene::new();
    let mut fake = scene.fake();
    fake.refusals.push(("stopProcessId", "[1]", "no"));
    let error = scene
        .act_on(
            &fake,
            "stop",
            json!({"what": {"target": "all"}, "options": {"parallel": 1}}),
        )
        .unwrap_err();
    assert_eq!(
        (
            error.message.as_str(),
            error.errors.len(),
            error.value.is_none()
        ),
        ("no", 0, true)
    );
    assert_eq!(fake.deeds(), ["stopProcessId [0]", "stopProcessId [1]"]);
}

#[test]
fn restart_options_change_attributes_in_any_spelling() {
    let scene = Scene::new();
    let fake = scene.fake();
    let options = json!({"maxMemoryRestart": "100M", "kill_timeout": "4s", "nodeArgs": "null", "autorestart": true, "exec_mode": "cluster", "out": "o.log", "env": {"A": 1}});
    scene
        .act_on(
            &fake,
            "restart",
            json!({"what": {"target": "web"}, "options": options}),
        )
        .unwrap();
    let asked = fake.asked("restartProcessId");
    let expected = json!({"node_args": "null", "max_memory_restart": 104_857_600, "kill_timeout": 4000, "autorestart": true, "km_link": false,
        "pm_out_log_path": scene.path("o-1.log")});
    assert_eq!(
        asked[1][0]["env"],
        json!({"current_conf": expected, "A": 1, "web": {}})
    );
    let bad = message(scene.act_on(
        &fake,
        "restart",
        json!({"what": {"target": "web"}, "options": {"killTimeout": "soon"}}),
    ));
    assert!(bad.starts_with("Expect \"kill_timeout\" to be a typeof [object Number], but now is [object String] (given: \"soon\""), "{bad}");
    let named = message(scene.act_on(
        &fake,
        "reload",
        json!({"what": {"target": "web"}, "options": {"env": "production"}}),
    ));
    assert_eq!(
        named,
        "Using --env [env] without passing the ecosystem.config.js does not work"
    );
}

#[test]
fn update_env_sends_the_callers_environment_but_not_who_the_caller_is() {
    let scene = Scene::new();
    let fake = scene.fake();
    let env = json!({"A": "1", "pm_id": "3", "name": "caller", "NODE_APP_INSTANCE": "0"});
    scene
        .act_on(
            &fake,
            "restart",
            json!({"what": {"target": 0}, "options": {"updateEnv": true}, "env": env}),
        )
        .unwrap();
    assert_eq!(
        fake.asked("restartProcessId")[0][0]["env"],
        json!({"A": "1", "current_conf": {"km_link": false}})
    );
}

#[test]
fn one_reload_at_a_time_unless_forced() {
    let scene = Scene::new();
    let fake = scene.fake();
    let lock = scene.path("home/reload.lock");
    scene.act_on(&fake, "reload", target("web")).unwrap();
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    std::fs::write(&lock, now.to_string()).unwrap();
    assert_eq!(
        message(scene.act_on(&fake, "reload", target("web"))),
        "Reload in progress"
    );
    scene
        .act_on(
            &fake,
            "gracefulReload",
            json!({"what": {"target": "web"}, "options": {"force": true}}),
        )
        .unwrap();
    assert_eq!(
        fake.asked("notifyByProcessId").last().unwrap()[0]["action_name"],
        "graceful reload"
    );
    std::fs::write(&lock, (now - 31_000).to_string()).unwrap();
    assert_eq!(
        message(scene.act_on(&fake, "reload", target("nope"))),
        "process or namespace not found"
    );
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "");
}

#[test]
fn modules_are_left_out_of_all_and_meant_by_their_name() {
    let scene = Scene::new();
    let fake = scene.fake();
    fake.processes.borrow_mut()[0]["pm2_env"]["pmx_module"] = json!(true);
    let count = |action: &str, wanted: &str| {
        scene
            .act_on(&fake, action, target(wanted))
            .map(|value| value.as_array().unwrap().len())
    };
    assert_eq!(count("restart", "all").unwrap(), 2);
    for action in ["restart", "reload", "stop", "delete", "getProcessIdByName"] {
        assert_eq!(count(action, "web").unwrap(), 2, "{action}");
    }
}
