//! What was typed, taken apart.

use std::ffi::OsString;

use serde_json::{Map, Value, json};

use crate::client::startup::Verb;

/// A command line that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) command: Command,
    pub(super) is_silent: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Version,
    Resurrect,
    Save {
        force: bool,
    },
    Reload(String),
    Kill,
    /// With `platform` and `options` as the API takes them.
    Startup(Verb, Value),
}

/// Why a command line makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misuse {
    /// No command at all.
    Nothing,
    /// No such command.
    Unknown(String),
    /// What is said as it stands.
    Bare(String),
}

/// Options of `startup` that have a value, and what they are called in the API.
const STARTUP_VALUES: [(&str, &str); 5] = [
    ("-u", "user"),
    ("--user", "user"),
    ("--hp", "hp"),
    ("--service-name", "serviceName"),
    ("--root", "root"),
];

/// Those that are on or off.
const STARTUP_SWITCHES: [(&str, &str); 2] = [("--wait-ip", "waitIp"), ("--print", "print")];

impl Words {
    pub(super) fn read(args: Vec<OsString>) -> Result<Self, Misuse> {
        let mut words = Vec::new();
        let mut options = Map::new();
        let mut silent = std::env::var_os("PM2_SILENT").is_some_and(|value| !value.is_empty());
        let (mut force, mut help, mut version) = (false, false, false);
        let mut rest = args
            .into_iter()
            .map(|arg| arg.to_string_lossy().into_owned());
        while let Some(word) = rest.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let of_startup = |(known, key): &(&str, &'static str)| (*known == name).then_some(*key);
            if let Some(key) = STARTUP_VALUES.iter().find_map(of_startup) {
                let missing =
                    || Misuse::Bare(format!("error: option `{name} <value>' argument missing"));
                options.insert(
                    key.to_owned(),
                    value.or_else(|| rest.next()).ok_or_else(missing)?.into(),
                );
            } else if let Some(key) = STARTUP_SWITCHES.iter().find_map(of_startup) {
                options.insert(key.to_owned(), true.into());
            } else {
                match name {
                    "-s" | "--silent" => silent = true,
                    "-f" | "--force" => force = true,
                    "-h" | "--help" => help = true,
                    "-v" | "-V" | "--version" => version = true,
                    // Accepted by every command of pm2, and of no effect here.
                    "--no-color" | "-a" | "--update-env" => {}
                    _ if name.starts_with('-') && name.len() > 1 => {
                        return Err(Misuse::Bare(format!("error: unknown option `{name}'")));
                    }
                    _ => words.push(word),
                }
            }
        }
        let command = if version {
            Command::Version
        } else if help {
            Command::Help
        } else {
            command(words, force, &options)?
        };
        Ok(Self {
            command,
            is_silent: silent,
        })
    }
}

fn command(
    words: Vec<String>,
    force: bool,
    options: &Map<String, Value>,
) -> Result<Command, Misuse> {
    let mut words = words.into_iter();
    let name = words.next().ok_or(Misuse::Nothing)?;
    let (command, extra) = match name.as_str() {
        "resurrect" => (Command::Resurrect, words.next()),
        "kill" => (Command::Kill, words.next()),
        "save" | "dump" => (Command::Save { force }, words.next()),
        "reload" => {
            let missing = "error: missing required argument `id|name|namespace|all'";
            let target = words
                .next()
                .ok_or_else(|| Misuse::Bare(missing.to_owned()))?;
            (Command::Reload(target), words.next())
        }
        "startup" | "unstartup" => {
            let verb = if name == "startup" {
                Verb::Startup
            } else {
                Verb::Unstartup
            };
            let wish = json!({"platform": words.next(), "options": options});
            (Command::Startup(verb, wish), words.next())
        }
        _ => return Err(Misuse::Unknown(name)),
    };
    match extra {
        Some(word) => Err(Misuse::Bare(format!("Unknown command argument: {word}"))),
        None => Ok(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Misuse> {
        let args = line.split_whitespace().map(OsString::from).collect();
        Words::read(args).map(|words| words.command)
    }

    // Protects what scripts and init files type.
    #[test]
    fn words_and_options_are_found_in_any_order() {
        assert_eq!(read("resurrect"), Ok(Command::Resurrect));
        assert_eq!(read("save --force"), Ok(Command::Save { force: true }));
        assert_eq!(read("-s dump"), Ok(Command::Save { force: false }));
        assert_eq!(read("reload all"), Ok(Command::Reload("all".to_owned())));
        assert_eq!(read("kill -h"), Ok(Command::Help));
        assert_eq!(read("-v"), Ok(Command::Version));
        let options = json!({"user": "www", "hp": "/home/www", "serviceName": "x", "waitIp": true});
        let wish = json!({"platform": "systemd", "options": options});
        for line in [
            "startup systemd -u www --hp /home/www --service-name x --wait-ip",
            "startup --user=www --hp=/home/www --wait-ip systemd --service-name=x",
        ] {
            assert_eq!(
                read(line),
                Ok(Command::Startup(Verb::Startup, wish.clone()))
            );
        }
        let wish = json!({"platform": null, "options": {}});
        assert_eq!(
            read("unstartup"),
            Ok(Command::Startup(Verb::Unstartup, wish))
        );
    }

    // Protects the user who types something else: what is wrong is named.
    #[test]
    fn what_makes_no_sense_is_named() {
        let bare = |text: &str| Err(Misuse::Bare(text.to_owned()));
        assert_eq!(read(""), Err(Misuse::Nothing));
        assert_eq!(read("dance"), Err(Misuse::Unknown("dance".to_owned())));
        assert_eq!(read("kill x"), bare("Unknown command argument: x"));
        assert_eq!(read("kill --now"), bare("error: unknown option `--now'"));
        assert_eq!(
            read("reload"),
            bare("error: missing required argument `id|name|namespace|all'")
        );
        assert_eq!(
            read("startup -u"),
            bare("error: option `-u <value>' argument missing")
        );
    }
}
