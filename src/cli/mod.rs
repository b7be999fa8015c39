//! The command line: pm2's words, as far as they are there. The first are those that an init system uses, which has no Node.
//!
//! **Invariant:** nothing here decides what a command means: that is `client`'s. What people read goes through [`Printer`], and a command
//! ends in one of pm2's exit codes.

mod commands;
mod printer;
mod service;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::client::{Client, ClientConfig, LaunchSettings, ServiceManager};
use printer::Printer;
use words::{Command, Misuse, Words};

/// How to use what is there.
const USAGE: &str = "usage: pm2 [options] <command>

  pm2 resurrect                       start what was saved
  pm2 save [--force]                  save the list of processes
  pm2 reload <name|id|namespace|all>  replace processes without a gap
  pm2 kill                            end every process, and the daemon
  pm2 startup [platform]              bring the saved processes back at boot
  pm2 unstartup [platform]            do so no more

  -s, --silent   print nothing          -v, --version   print the version
";

/// pm2's commands that are to come; whoever types one is told so instead of being told that there is no such thing.
const TO_COME: &str = "start stop restart delete del list ls l ps status jlist prettylist describe show desc info logs log monit flush \
    reloadLogs scale reset env pid id send attach sendSignal trigger inspect update updatePM2 set unset get multiset conf config serve expose install \
    uninstall package publish ecosystem init completion report logrotate deploy pull forward backward startOrRestart startOrReload \
    startOrGracefulReload cleardump ping slist monitor unmonitor";

/// Carries a command line out; `args` are the words after the program's name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let words = match Words::read(args) {
        Ok(words) => words,
        Err(misuse) => return refuse(&misuse),
    };
    let printer = Printer::new(words.is_silent);
    match words.command {
        Command::Version => printer.plain(env!("CARGO_PKG_VERSION")),
        Command::Help => printer.plain(USAGE.trim_end()),
        _ => {
            let done = perform(&printer, words.command);
            return done.unwrap_or_else(|error| {
                printer.error(&error);
                ExitCode::FAILURE
            });
        }
    }
    ExitCode::SUCCESS
}

fn perform(printer: &Printer, command: Command) -> Result<ExitCode, String> {
    let config = ClientConfig::from_environment().map_err(|error| error.to_string())?;
    let client = Client::new(config).map_err(|error| error.text())?;
    // Of all commands, only this one is the start of a service.
    let manager = ServiceManager::from_environment().filter(|_| command == Command::Resurrect);
    client.set_launch(LaunchSettings {
        manager: manager.clone(),
        ..LaunchSettings::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    match command {
        Command::Startup(verb, wish) => service::startup(printer, &client, verb, &wish),
        Command::Resurrect => {
            runtime.block_on(commands::resurrect(printer, &client, manager.as_ref()))
        }
        Command::Save { force } => runtime.block_on(commands::save(printer, &client, force)),
        Command::Reload(target) => runtime.block_on(commands::reload(printer, &client, &target)),
        Command::Kill => runtime.block_on(commands::kill(printer, &client)),
        Command::Version | Command::Help => Ok(ExitCode::SUCCESS),
    }
}

fn refuse(misuse: &Misuse) -> ExitCode {
    let printer = Printer::new(false);
    match misuse {
        Misuse::Nothing => printer.plain(USAGE.trim_end()),
        Misuse::Unknown(word) if TO_COME.split_whitespace().any(|known| known == word) => {
            printer.error(&format!(
                "the command {word} is not there yet: use the programmatic API"
            ));
        }
        Misuse::Unknown(_) => {
            printer.error("Command not found");
            printer.plain(USAGE.trim_end());
        }
        Misuse::Bare(text) => printer.bare_error(text),
    }
    ExitCode::FAILURE
}
