//! `startup` and `unstartup`.

use std::process::ExitCode;

use serde_json::Value;

use super::commands::payload;
use super::printer::Printer;
use crate::client::Client;
use crate::client::startup::{self, Startup, StartupError, Verb};

/// Makes or removes the service, and shows what was done or would be.
pub(super) fn startup(
    printer: &Printer,
    client: &Client,
    verb: Verb,
    wish: &Value,
) -> Result<ExitCode, String> {
    let made = match startup::run(client, verb, &payload(wish)) {
        Ok(made) => made,
        Err(StartupError::NotRoot { command }) => {
            let what = match verb {
                Verb::Startup => "setup",
                Verb::Unstartup => "unsetup",
            };
            printer.say(&format!(
                "To {what} the Startup Script, copy/paste the following command:"
            ));
            printer.plain(&command);
            return Ok(ExitCode::FAILURE);
        }
        Err(StartupError::Failed(error)) => return Err(error.message),
    };
    if let Some(detected) = made.detected {
        printer.say(&format!("Init System found: {detected}"));
    }
    match verb {
        Verb::Startup => installed(printer, &made, &wish["options"]),
        Verb::Unstartup => removed(printer, &made),
    }
    Ok(ExitCode::SUCCESS)
}

fn installed(printer: &Printer, made: &Startup, options: &Value) {
    let Startup {
        platform,
        template,
        destination,
        commands,
        ..
    } = made;
    printer.plain(&format!("Platform {platform}\nTemplate\n{template}"));
    printer.plain(&format!(
        "Target path\n{}\nCommand list",
        destination.display()
    ));
    for command in commands {
        printer.plain(command);
    }
    if options["print"] == true {
        return;
    }
    printer.say(&format!(
        "Wrote init configuration in {}",
        destination.display()
    ));
    for command in commands {
        printer.say(&format!("[v] Executed: {command}"));
    }
    // What follows is about this machine.
    if options["root"].is_string() {
        return;
    }
    printer.say("Freeze a process list on reboot via:");
    printer.plain("$ pm2 save");
    printer.say("Remove init script via:");
    printer.plain(&format!("$ pm2 unstartup {platform}"));
}

/// Compat: succeeds also when a command failed, which is said.
fn removed(printer: &Printer, made: &Startup) {
    for failure in &made.failed {
        printer.error(failure);
    }
    if made.failed.is_empty() {
        printer.say("Init file disabled.");
    }
}
