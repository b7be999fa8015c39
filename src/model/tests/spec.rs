//! Reading declarations.

use super::*;

const LEAST: &str = r#""pm_exec_path":"/srv/app.js","pm_out_log_path":"/l/o.log","pm_err_log_path":"/l/e.log","pm_pid_path":"/p/a.pid""#;

fn parse(more: &str) -> Result<ProcessSpec, SpecError> {
    let text = if more.is_empty() {
        format!("{{{LEAST}}}")
    } else {
        format!("{{{LEAST},{more}}}")
    };
    ProcessSpec::parse(&Members::parse(&text).unwrap())
}

#[test]
fn what_is_not_given_has_pm2s_defaults() {
    let spec = parse("").unwrap();
    assert_eq!(spec.interpreter.as_deref(), Some("node"));
    assert_eq!(spec.cwd, "/srv");
    assert!(
        spec.rules.autostart
            && spec.rules.tree
            && spec.pmx
            && !spec.is_cluster
            && !spec.rules.wait_ready
    );
    assert_eq!(spec.rules.restart, RestartPolicy::default());
}

#[test]
fn command_line_spellings_of_values_are_understood() {
    let spec = parse(
        r#""autorestart":"false","stop_exit_codes":[0,"3"],"min_uptime":"5s","max_restarts":"4","kill_timeout":"800.7","uid":0,"args":"one","node_args":["--a",1],"watch":null,"exec_interpreter":"none""#,
    )
    .unwrap();
    assert!(!spec.rules.restart.automatic);
    assert_eq!(spec.rules.restart.stop_codes, [0, 3]);
    assert_eq!(spec.rules.restart.min_uptime_ms, 5000);
    assert_eq!(spec.rules.restart.restarts_max, 4);
    assert_eq!(spec.rules.kill_timeout, Some(Duration::from_millis(800)));
    assert_eq!(spec.uid, None);
    assert_eq!(spec.command(), ("/srv/app.js", vec!["one"]));
}

#[test]
fn a_wrong_type_names_field_value_and_what_is_allowed() {
    for (member, text) in [
        (
            r#""max_restarts":[1]"#,
            r#""max_restarts" is [1], allowed: a number, 0 or more"#,
        ),
        (
            r#""kill_timeout":-5"#,
            r#""kill_timeout" is -5, allowed: a number, 0 or more"#,
        ),
        (
            r#""autorestart":"maybe""#,
            r#""autorestart" is "maybe", allowed: true or false"#,
        ),
        (
            r#""args":{"a":1}"#,
            r#""args" is {"a":1}, allowed: a list of texts, or one text"#,
        ),
        (
            r#""exec_mode":"spoon""#,
            r#""exec_mode" is "spoon", allowed: "fork_mode" or "cluster_mode""#,
        ),
        (r#""pm_cwd":7"#, r#""pm_cwd" is 7, allowed: text"#),
        (
            r#""min_uptime":"5 days""#,
            r#""min_uptime" is "5 days", allowed: milliseconds, or a number with h, m or s"#,
        ),
        (
            r#""stop_exit_codes":[{}]"#,
            r#""stop_exit_codes" is [{}], allowed: an exit code or a list of them"#,
        ),
        (r#""pm_exec_path":null"#, r#""pm_exec_path" is required"#),
    ] {
        assert_eq!(parse(member).unwrap_err().to_string(), text);
    }
}

#[test]
fn the_script_comes_between_the_interpreters_arguments_and_its_own() {
    let spec = parse(r#""node_args":["--x"],"args":["y"]"#).unwrap();
    assert_eq!(spec.command(), ("node", vec!["--x", "/srv/app.js", "y"]));
}
