//! What is to be run and how, read from a declaration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::json::{Members, as_text, is_truthy};
use super::{Backoff, RestartPolicy};

/// A declaration has a member that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The declaration is no object, or its `env` is none.
    #[error("{0} must be an object")]
    NotAnObject(&'static str),
    /// A member that must be there is not.
    #[error("\"{0}\" is required")]
    Missing(String),
    /// A member has a value of the wrong type.
    #[error("\"{field}\" is {given}, allowed: {allowed}")]
    Wrong {
        /// Which member.
        field: String,
        /// The start of its value.
        given: String,
        /// What it may be.
        allowed: &'static str,
    },
}

/// One declaration, resolved by the client, with every member the supervision needs in its own type.
///
/// The environment is not here: the record keeps it as text.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSpec {
    /// `pm_exec_path`.
    pub script: String,
    /// `args`.
    pub args: Vec<String>,
    /// `exec_interpreter`; `None` for `none`: the script is the program.
    pub interpreter: Option<String>,
    /// `node_args`.
    pub interpreter_args: Vec<String>,
    /// `pm_cwd`.
    pub cwd: String,
    /// `exec_mode` is `cluster_mode`.
    pub is_cluster: bool,
    /// `uid`; 0 is taken for not given, as in pm2.
    pub uid: Option<u32>,
    /// `gid`; 0 is taken for not given, as in pm2.
    pub gid: Option<u32>,
    /// `umask`.
    pub umask: Option<u32>,
    /// `pmx`.
    pub pmx: bool,
    /// Where output goes.
    pub logs: LogSpec,
    /// `pm_pid_path`.
    pub pid_path: String,
    /// What governs its life.
    pub rules: Rules,
}

/// Where output goes, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// `pm_out_log_path`.
    pub out: String,
    /// `pm_err_log_path`.
    pub err: String,
    /// `pm_log_path`.
    pub combined: Option<String>,
    /// `disable_logs`.
    pub disabled: bool,
    /// `log_type` is `json`.
    pub json: bool,
    /// `log_date_format`.
    pub date_format: Option<String>,
}

/// The part of a spec that is looked at on every step, and therefore kept in its own types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one option of a declaration, which is a flag there too"
)]
pub struct Rules {
    /// When it is started again.
    pub restart: RestartPolicy,
    /// `autostart`.
    pub autostart: bool,
    /// `exec_mode` is `cluster_mode`.
    #[serde(default)]
    pub is_cluster: bool,
    /// `sticky`: in cluster mode.
    #[serde(default)]
    pub is_sticky: bool,
    /// `wait_ready`.
    pub wait_ready: bool,
    /// `listen_timeout`.
    pub listen_timeout: Option<Duration>,
    /// `kill_timeout`.
    pub kill_timeout: Option<Duration>,
    /// `shutdown_with_message`.
    pub stop_by_message: bool,
    /// `treekill`.
    pub tree: bool,
    /// `max_memory_restart`: above so many resident bytes it is started anew.
    #[serde(default)]
    pub memory_max: Option<u64>,
    /// `cron_restart`: the pattern.
    #[serde(default)]
    pub cron: Option<Box<str>>,
    /// `watch`: changed files restart it. Which files is not the core's business.
    #[serde(default)]
    pub watch: bool,
}

impl ProcessSpec {
    /// Reads a declaration: what `prepare` takes, or a record that came back from a dump.
    pub fn parse(declaration: &Members<'_>) -> Result<Self, SpecError> {
        let read = Reader(declaration);
        let script = read.required("pm_exec_path")?;
        let interpreter = read
            .text("exec_interpreter")?
            .unwrap_or_else(|| "node".to_owned());
        Ok(Self {
            args: read.list("args")?,
            interpreter: (interpreter != "none").then_some(interpreter),
            interpreter_args: read.list("node_args")?,
            cwd: read.text("pm_cwd")?.unwrap_or_else(|| folder_of(&script)),
            is_cluster: read.cluster("exec_mode")?,
            uid: read.account("uid")?,
            gid: read.account("gid")?,
            umask: read
                .number("umask")?
                .and_then(|mask| u32::try_from(mask & 0o777).ok()),
            pmx: read.pmx(),
            logs: LogSpec {
                out: read.required("pm_out_log_path")?,
                err: read.required("pm_err_log_path")?,
                combined: read.text("pm_log_path")?,
                disabled: read.flag("disable_logs", false)?,
                json: read.text("log_type")?.as_deref() == Some("json"),
                date_format: read.text("log_date_format")?,
            },
            pid_path: read.required("pm_pid_path")?,
            rules: Rules::read(&read)?,
            script,
        })
    }

    /// What is executed: the program, and its arguments without the program itself.
    #[must_use]
    pub fn command(&self) -> (&str, Vec<&str>) {
        match &self.interpreter {
            Some(interpreter) => {
                let script = std::iter::once(self.script.as_str());
                let before = self.interpreter_args.iter().map(String::as_str);
                (
                    interpreter,
                    before
                        .chain(script)
                        .chain(self.args.iter().map(String::as_str))
                        .collect(),
                )
            }
            None => (&self.script, self.args.iter().map(String::as_str).collect()),
        }
    }
}

impl Rules {
    fn read(read: &Reader<'_, '_>) -> Result<Self, SpecError> {
        let default = RestartPolicy::default();
        Ok(Self {
            restart: RestartPolicy {
                automatic: read.flag("autorestart", true)?,
                stop_codes: read.codes("stop_exit_codes")?,
                min_uptime_ms: read.span("min_uptime")?.unwrap_or(default.min_uptime_ms),
                restarts_max: read
                    .number("max_restarts")?
                    .map_or(default.restarts_max, |max| {
                        u32::try_from(max).unwrap_or(u32::MAX)
                    }),
                delay: read.number("restart_delay")?.map(Duration::from_millis),
                backoff: read
                    .number("exp_backoff_restart_delay")?
                    .filter(|first| *first > 0)
                    .map(|first_ms| Backoff { first_ms }),
            },
            autostart: read.flag("autostart", true)?,
            is_cluster: read.cluster("exec_mode")?,
            is_sticky: read.flag("sticky", false)?,
            wait_ready: read.flag("wait_ready", false)?,
            // 0 means the default: pm2 takes the first of the two that is not 0.
            listen_timeout: read
                .number("listen_timeout")?
                .filter(|ms| *ms > 0)
                .map(Duration::from_millis),
            kill_timeout: read
                .number("kill_timeout")?
                .filter(|ms| *ms > 0)
                .map(Duration::from_millis),
            stop_by_message: read.flag("shutdown_with_message", false)?,
            tree: read.flag("treekill", true)?,
            memory_max: read.bytes("max_memory_restart")?.filter(|max| *max > 0),
            // Compat: 0 ends a schedule (behaviour 15.3).
            cron: read
                .scalar("cron_restart")?
                .filter(|pattern| pattern != "0" && pattern != "false")
                .map(Into::into),
            watch: read.raw("watch").is_some_and(is_truthy),
        })
    }
}

/// The folder a path is in.
fn folder_of(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

/// Longest delay or timeout taken: anything above is as good as for ever, and sums of two must not overflow.
const NUMBER_MAX: f64 = 1e12;

/// How much of a wrong value is shown.
const GIVEN_MAX: usize = 60;

/// Typed access to members. `null` is as good as absent, and the texts `true`, `false` and numeric texts are taken for
/// what they say, because they arrive so from command lines and dumps.
struct Reader<'r, 'a>(&'r Members<'a>);

impl Reader<'_, '_> {
    fn raw(&self, field: &str) -> Option<&str> {
        self.0.get(field).filter(|raw| *raw != "null")
    }

    fn wrong(field: &str, raw: &str, allowed: &'static str) -> SpecError {
        SpecError::Wrong {
            field: field.to_owned(),
            given: raw.chars().take(GIVEN_MAX).collect(),
            allowed,
        }
    }

    fn text(&self, field: &str) -> Result<Option<String>, SpecError> {
        let Some(raw) = self.raw(field) else {
            return Ok(None);
        };
        as_text(raw)
            .map(|text| Some(text).filter(|text| !text.is_empty()))
            .ok_or_else(|| Self::wrong(field, raw, "text"))
    }

    fn required(&self, field: &str) -> Result<String, SpecError> {
        self.text(field)?
            .ok_or_else(|| SpecError::Missing(field.to_owned()))
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, SpecError> {
        match self.raw(field) {
            None | Some("\"\"") => Ok(default),
            Some("true" | "\"true\"" | "1") => Ok(true),
            Some("false" | "\"false\"" | "0") => Ok(false),
            Some(raw) => Err(Self::wrong(field, raw, "true or false")),
        }
    }

    /// A flag that may be any text, which means yes.
    fn pmx(&self) -> bool {
        self.raw("pmx")
            .is_none_or(|raw| raw == "\"\"" || (raw != "\"false\"" && is_truthy(raw)))
    }

    fn number(&self, field: &str) -> Result<Option<u64>, SpecError> {
        let Some(raw) = self.raw(field).filter(|raw| *raw != "\"\"") else {
            return Ok(None);
        };
        number_of(raw)
            .map(Some)
            .ok_or_else(|| Self::wrong(field, raw, "a number, 0 or more"))
    }

    fn account(&self, field: &str) -> Result<Option<u32>, SpecError> {
        let number = self.number(field)?.filter(|number| *number > 0);
        number
            .map(|number| {
                u32::try_from(number)
                    .map_err(|_| Self::wrong(field, &number.to_string(), "a 32 bit number"))
            })
            .transpose()
    }

    /// Text, or the text of a number.
    fn scalar(&self, field: &str) -> Result<Option<String>, SpecError> {
        match self.raw(field) {
            Some(raw) if !raw.starts_with(['"', '[', '{']) => Ok(Some(raw.to_owned())),
            _ => self.text(field),
        }
    }

    /// Bytes, or text with a unit.
    fn bytes(&self, field: &str) -> Result<Option<u64>, SpecError> {
        let Some(raw) = self.raw(field).filter(|raw| *raw != "\"\"") else {
            return Ok(None);
        };
        if let Some(number) = number_of(raw) {
            return Ok(Some(number));
        }
        let text = as_text(raw).unwrap_or_default();
        let unit: Option<u32> = match text.chars().last() {
            Some('G') => Some(30),
            Some('M') => Some(20),
            Some('K') => Some(10),
            _ => None,
        };
        unit.and_then(|unit| {
            let count: f64 = text[..text.len() - 1].parse().ok()?;
            number_of(&(count * f64::from(1_u32 << unit)).to_string())
        })
        .map(Some)
        .ok_or_else(|| Self::wrong(field, raw, "bytes, or a number with K, M or G"))
    }

    /// Milliseconds, or text with a unit.
    fn span(&self, field: &str) -> Result<Option<u64>, SpecError> {
        let Some(raw) = self.raw(field) else {
            return Ok(None);
        };
        if let Some(number) = number_of(raw) {
            return Ok(Some(number));
        }
        let text = as_text(raw).unwrap_or_default();
        let unit = match text.chars().last() {
            Some('h') => Some(3_600_000),
            Some('m') => Some(60_000),
            Some('s') => Some(1000),
            _ => None,
        };
        unit.and_then(|unit| {
            text[..text.len() - 1]
                .parse::<u32>()
                .ok()
                .map(|count| u64::from(count) * unit)
        })
        .map(Some)
        .ok_or_else(|| Self::wrong(field, raw, "milliseconds, or a number with h, m or s"))
    }

    fn cluster(&self, field: &str) -> Result<bool, SpecError> {
        match self.raw(field) {
            None | Some("\"fork_mode\"" | "\"fork\"" | "\"\"") => Ok(false),
            Some("\"cluster_mode\"" | "\"cluster\"") => Ok(true),
            Some(raw) => Err(Self::wrong(field, raw, "\"fork_mode\" or \"cluster_mode\"")),
        }
    }

    /// A list of texts; one text is a list of one.
    fn list(&self, field: &str) -> Result<Vec<String>, SpecError> {
        let Some(raw) = self.raw(field).filter(|raw| *raw != "\"\"") else {
            return Ok(Vec::new());
        };
        let items: Vec<serde_json::Value> = match serde_json::from_str(raw) {
            Ok(serde_json::Value::Array(items)) => items,
            Ok(one @ serde_json::Value::String(_)) => vec![one],
            _ => return Err(Self::wrong(field, raw, "a list of texts, or one text")),
        };
        items
            .into_iter()
            .map(|item| match item {
                serde_json::Value::String(text) => Ok(text),
                serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Ok(item.to_string()),
                _ => Err(Self::wrong(field, raw, "a list of texts, or one text")),
            })
            .collect()
    }

    /// Exit codes: one, or a list; numbers, or texts that begin with one.
    fn codes(&self, field: &str) -> Result<Vec<i32>, SpecError> {
        let allowed = "an exit code or a list of them";
        let Some(raw) = self.raw(field).filter(|raw| *raw != "\"\"") else {
            return Ok(Vec::new());
        };
        let items = match serde_json::from_str(raw) {
            Ok(serde_json::Value::Array(items)) => items,
            Ok(one) => vec![one],
            Err(_) => return Err(Self::wrong(field, raw, allowed)),
        };
        items
            .iter()
            .map(|item| {
                let code = match item {
                    serde_json::Value::String(text) => text.trim().parse().ok(),
                    other => other.as_i64().and_then(|code| i32::try_from(code).ok()),
                };
                code.ok_or_else(|| Self::wrong(field, raw, allowed))
            })
            .collect()
    }
}

/// A number, or numeric text, that is not negative; fractions are cut off.
fn number_of(raw: &str) -> Option<u64> {
    let text = as_text(raw);
    let number: f64 = text.as_deref().unwrap_or(raw).trim().parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: between 0 and NUMBER_MAX"
    )]
    (number.is_finite() && number >= 0.0).then(|| number.min(NUMBER_MAX) as u64)
}

#[cfg(test)]
#[path = "tests/spec.rs"]
mod tests;
