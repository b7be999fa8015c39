//! Every option that a declaration may contain: one table, from which checking, the command line, the README and the types are made.
//!
//! The order of [`TABLE`] is the order of the members in records and of the messages in errors.

/// Every option, in the order in which records carry them.
pub const TABLE: &[OptionSpec] = &[
    option("script", &[Text])
        .also(&["exec"])
        .about("file, command found in PATH, or command line"),
    option("name", &[Text]).about("what the app is called; default: the script's base name"),
    option("name_prefix", &[Text])
        .of_client()
        .about("of a call with a file: put before the names of its apps, with a colon"),
    option("filter_env", &[Boolean, List, Text])
        .about("inherited variables to leave out: parts of names, one name, or true for all"),
    option("namespace", &[Text]).about("group that commands can name; default: default"),
    option("install_url", &[Text])
        .of_client()
        .about("where a module came from"),
    option("cwd", &[Text]).about("working directory"),
    option("args", &[List, Text])
        .also(&["script_args", "scriptArgs"])
        .about("arguments of the script"),
    option("exec_interpreter", &[Text])
        .also(&["interpreter"])
        .about("program that runs the script; none: the script itself"),
    option("node_args", &[List, Text])
        .also(&["interpreter_args", "interpreterArgs"])
        .about("arguments of the interpreter"),
    option("out_file", &[Text])
        .also(&["out_log", "output", "out"])
        .about("file for stdout; NULL: none"),
    option("error_file", &[Text])
        .also(&["err_log", "err_file", "err", "error"])
        .about("file for stderr; NULL: none"),
    option("log_file", &[Boolean, Text])
        .also(&["log"])
        .about("file for both streams together, beside the other two"),
    option("disable_logs", &[Boolean]).about("write no log files"),
    option("log_type", &[Text]).about("json: one JSON object for each piece of output"),
    option("log_date_format", &[Text]).about("dayjs format put before each line"),
    option("time", &[Boolean]).about("short for log_date_format YYYY-MM-DDTHH:mm:ss"),
    option("env", &[Map, Text]).about("environment variables"),
    option("max_memory_restart", &[Text, Number])
        .bytes()
        .min(0.0)
        .about("restart above this resident size"),
    option("pid_file", &[Text])
        .also(&["pid"])
        .about("file for the process id"),
    option("restart_delay", &[Number])
        .millis()
        .min(0.0)
        .about("wait before an automatic restart"),
    option("exp_backoff_restart_delay", &[Number])
        .millis()
        .min(0.0)
        .about("first wait of a growing series"),
    option("source_map_support", &[Boolean]).about("name original files in stacks"),
    option("disable_source_map_support", &[Boolean]).about("never do so"),
    option("wait_ready", &[Boolean]).about("online only after process.send('ready')"),
    option("instances", &[Number])
        .whole()
        .about("how many processes; 0 or max: one per CPU; negative: CPUs minus that"),
    option("kill_timeout", &[Number])
        .millis()
        .min(0.0)
        .zero_is_default()
        .about("from the stop signal to SIGKILL; default 1600"),
    option("shutdown_with_message", &[Boolean])
        .about("stop by the message shutdown instead of a signal"),
    option("listen_timeout", &[Number])
        .millis()
        .min(0.0)
        .zero_is_default()
        .about("limit for becoming ready; default 3000"),
    option("cron_restart", &[Text, Number])
        .also(&["cron"])
        .about("cron pattern of restarts; 0: none"),
    option("merge_logs", &[Boolean])
        .also(&["combine_logs"])
        .about("one log file for all instances"),
    option("vizion", &[Boolean])
        .default(Default::True)
        .about("read the version of the checkout"),
    option("autostart", &[Boolean])
        .default(Default::True)
        .about("false: list the app without starting it"),
    option("autorestart", &[Boolean])
        .default(Default::True)
        .about("start again after an exit"),
    option("stop_exit_codes", &[List, Number]).about("exit codes after which it stays stopped"),
    option("watch_delay", &[Number])
        .millis()
        .min(0.0)
        .about("quiet time before a restart by watch"),
    option("watch", &[Boolean, List, Text]).about("restart when files change; true, or paths"),
    option("ignore_watch", &[List, Text]).about("paths that watch leaves out"),
    option("watch_options", &[Map]).about("options of the watcher"),
    option("min_uptime", &[Number, Text])
        .millis()
        .min(100.0)
        .zero_is_default()
        .about("uptime from which a start counts as stable; default 1000"),
    option("max_restarts", &[Number])
        .min(0.0)
        .zero_is_default()
        .about("unstable restarts in a row before errored; default 16"),
    option("execute_command", &[Boolean])
        .of_client()
        .about("fork mode whatever the other options say"),
    option("exec_mode", &[Text])
        .matching(Pattern::ExecMode)
        .about("fork or cluster"),
    option("force", &[Boolean])
        .of_client()
        .about("start a script that already runs once more"),
    option("append_env_to_name", &[Boolean])
        .of_client()
        .about("name becomes <name>-<environment>"),
    option("post_update", &[List])
        .of_client()
        .about("commands after a pull"),
    option("trace", &[Boolean]).about("accepted for pm2's sake"),
    option("disable_trace", &[Boolean])
        .of_client()
        .about("sets trace to false"),
    option("v8", &[Boolean]).about("accepted for pm2's sake"),
    option("event_loop_inspector", &[Boolean]).about("accepted for pm2's sake"),
    option("deep_monitoring", &[Boolean]).about("accepted for pm2's sake"),
    option("increment_var", &[Text]).about("variable that grows by one with each instance"),
    option("instance_var", &[Text])
        .default(Default::Text("NODE_APP_INSTANCE"))
        .about("variable that holds the instance number"),
    option("pmx", &[Boolean, Text])
        .default(Default::True)
        .about("report exceptions of Node apps"),
    option("automation", &[Boolean])
        .default(Default::True)
        .about("false: same as pmx false"),
    option("treekill", &[Boolean])
        .default(Default::True)
        .about("a stop ends the descendants too"),
    option("sticky", &[Boolean])
        .about("cluster mode: all TCP connections from one address go to one worker"),
    option("port", &[Number])
        .whole()
        .min(0.0)
        .max_of(65535.0)
        .about("sets the variable PORT"),
    option("username", &[Text])
        .of_client()
        .about("set to the user who starts the app"),
    option("uid", &[Number, Text])
        .also(&["user", "run_as_user", "runAsUser"])
        .about("user to run as, name or number"),
    option("gid", &[Number, Text])
        .also(&["run_as_group", "runAsGroup"])
        .about("group to run as, name or number"),
    option("umask", &[Text, Number])
        .matching(Pattern::Octal)
        .whole()
        .min(0.0)
        .max_of(511.0)
        .about("file permissions to withhold: a number, or octal text such as 027"),
    option("windowsHide", &[Boolean])
        .default(Default::True)
        .about("no console window on Windows"),
    option("kill_retry_time", &[Number])
        .millis()
        .min(0.0)
        .zero_is_default()
        .default(Default::Number(100))
        .about("poll interval of real pm2 while stopping"),
    option("write", &[Boolean])
        .of_client()
        .about("write the declaration to <name>-pm2.json"),
    option("io", &[Map]).about("handed to the app as JSON in the variable io"),
];

/// Options named `env_<environment>`: variables that apply when that environment is asked for.
pub const NAMED_ENVIRONMENT: OptionSpec =
    option("env_*", &[Map, Text]).about("variables of one named environment");

/// What precedes the environment's name in a key of [`NAMED_ENVIRONMENT`].
pub const NAMED_ENVIRONMENT_PREFIX: &str = "env_";

/// One option: what it may be called, what it may hold, and what follows when it is absent.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its one name in records.
    pub name: &'static str,
    /// Other names beside the generated camelCase one ([`camel_case`]), the one that wins first.
    pub aliases: &'static [&'static str],
    /// The types it may have, in the order in which errors name them. A text for an option whose first type is a list is split.
    pub types: &'static [Kind],
    /// What the number means.
    pub unit: Unit,
    /// What a record holds when nobody says anything.
    pub default: Default,
    /// The smallest number allowed.
    pub min: Option<f64>,
    /// The greatest number allowed, if it is less than any number of its unit may be ([`OptionSpec::max`]).
    pub max: Option<f64>,
    /// The number must be whole.
    pub whole: bool,
    /// The form a text must have.
    pub pattern: Option<Pattern>,
    /// True when 0 means "not given".
    // Compat: pm2 loses a falsy value of such keys before it looks at it (Config.validateJSON), so files that say 0 run with the default;
    // pinned by `zero_for_an_option_with_a_default_is_no_value`.
    pub zero_means_default: bool,
    /// Who acts on it.
    pub scope: Scope,
    /// What it does, in a few words.
    pub about: &'static str,
}

/// A JSON type as pm2 names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A number or numeric text.
    Number,
    /// Text.
    Text,
    /// An array.
    List,
    /// An object.
    Map,
}
use Kind::{Boolean, List, Map, Number, Text};

impl Kind {
    /// The name as errors show it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Boolean => "Boolean",
            Number => "Number",
            Text => "String",
            List => "Array",
            Map => "Object",
        }
    }
}

/// What a number measures; decides which suffixes a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    None,
    /// Bytes: `K`, `M`, `G`, powers of 1024.
    Bytes,
    /// Milliseconds: `ms`, `s`, `m`, `h`.
    Milliseconds,
}

/// What a record holds for an option that was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nothing: the member is absent.
    Absent,
    /// `true`.
    True,
    /// A number.
    Number(i64),
    /// A text.
    Text(&'static str),
}

/// The form that a text must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// `fork`, `cluster`, with or without `_mode`.
    ExecMode,
    /// Octal digits.
    Octal,
}

/// Who acts on an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The daemon: it changes how the app runs.
    App,
    /// The client: it changes what is asked of the daemon.
    Client,
}

/// Thirty years: whoever says more has slipped, and sums of two must stay far from every limit.
const MILLIS_MAX: f64 = 1e12;

/// Beyond 2^53 JavaScript cannot tell a number from its neighbour.
const NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// The option with this one name.
#[must_use]
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    TABLE.iter().find(|spec| spec.name == name)
}

/// The camelCase form of a name: `max_memory_restart` is also `maxMemoryRestart`.
#[must_use]
pub fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (index, word) in name.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => {
                out.extend(first.to_uppercase());
                out.push_str(letters.as_str());
            }
            _ => out.push_str(word),
        }
    }
    out
}

const fn option(name: &'static str, types: &'static [Kind]) -> OptionSpec {
    OptionSpec {
        name,
        aliases: &[],
        types,
        unit: Unit::None,
        default: Default::Absent,
        min: None,
        max: None,
        whole: false,
        pattern: None,
        zero_means_default: false,
        scope: Scope::App,
        about: "",
    }
}

impl OptionSpec {
    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn bytes(mut self) -> Self {
        self.unit = Unit::Bytes;
        self
    }

    const fn millis(mut self) -> Self {
        self.unit = Unit::Milliseconds;
        self
    }

    const fn min(mut self, min: f64) -> Self {
        self.min = Some(min);
        self
    }

    const fn max_of(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    const fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    const fn default(mut self, default: Default) -> Self {
        self.default = default;
        self
    }

    const fn matching(mut self, pattern: Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    const fn zero_is_default(mut self) -> Self {
        self.zero_means_default = true;
        self
    }

    const fn of_client(mut self) -> Self {
        self.scope = Scope::Client;
        self
    }

    const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// The greatest number it may hold. Negative ones may be as far from 0.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max.unwrap_or(match self.unit {
            Unit::Milliseconds => MILLIS_MAX,
            Unit::None | Unit::Bytes => NUMBER_MAX,
        })
    }

    /// Is this one of its names?
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name) || camel_case(self.name) == name
    }

    /// What may be given, in words for an error message.
    #[must_use]
    pub fn allowed(&self) -> String {
        if self.pattern == Some(Pattern::ExecMode) {
            return "fork, cluster, fork_mode or cluster_mode".into();
        }
        if self.name == "cron_restart" {
            return "a cron pattern of five or six parts, or 0".into();
        }
        let mut words: Vec<String> = Vec::new();
        for kind in self.types {
            let word = match kind {
                Boolean => "true or false",
                Number if self.name == "instances" => "a whole number or \"max\"",
                Number if self.whole => "a whole number",
                Number => match self.unit {
                    Unit::None => "a number",
                    Unit::Bytes => "bytes or text like \"150M\"",
                    Unit::Milliseconds => "milliseconds or text like \"500ms\", \"4s\", \"1.5h\"",
                },
                Text if self.unit != Unit::None => continue,
                Text => "text",
                List => "a list",
                Map => "an object",
            };
            words.push(word.into());
        }
        let text = words.join(" or ");
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{text}, {min} to {max}"),
            (Some(min), None) => format!("{text}, at least {min}"),
            (None, _) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_options_share_a_name() {
        // Two options under one name would make it chance which of them is meant.
        let mut names: Vec<String> = Vec::new();
        for spec in TABLE {
            names.push(spec.name.into());
            let camel = camel_case(spec.name);
            if camel != spec.name {
                names.push(camel);
            }
            names.extend(spec.aliases.iter().map(|alias| (*alias).to_owned()));
        }
        names.sort();
        let before = names.len();
        names.dedup();
        let after: Vec<_> = names.iter().collect();
        assert_eq!(before, after.len(), "{after:?}");
    }

    #[test]
    fn camel_case_raises_every_word_but_the_first() {
        assert_eq!(
            camel_case("exp_backoff_restart_delay"),
            "expBackoffRestartDelay"
        );
        assert_eq!(camel_case("v8"), "v8");
        assert_eq!(camel_case("windowsHide"), "windowsHide");
    }

    #[test]
    fn every_option_says_what_it_is_for_and_what_it_takes() {
        for spec in TABLE {
            assert!(!spec.about.is_empty(), "{}", spec.name);
            assert!(!spec.allowed().is_empty(), "{}", spec.name);
        }
    }
}
