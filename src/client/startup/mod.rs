//! Starting at boot: files for the machine's init system that bring the saved processes back, and their removal.
//!
//! What an init system starts is the copy of the executable in the home, so neither an update of `node_modules` nor a change of Node
//! takes it away. Every file can be had without being written (`print`).

mod image;
mod perform;
mod system;
mod template;
mod wish;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::actions::ActionError;
use super::{Client, launch};
use crate::host::account::Account;
use crate::host::install::Installed;
use crate::host::paths::Home;
use image::Image;
use perform::Step;
use system::System;
use wish::Wish;

/// What pm2 answers to who is not root; what to paste follows.
const NOT_ROOT: &str = "You have to run this with elevated rights";

/// What was made for an init system, or what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// pm2's name of the init system.
    pub platform: &'static str,
    /// What this machine has, as far as its programs tell.
    pub detected: Option<&'static str>,
    /// The name of the service.
    pub service: String,
    /// The file for the init system.
    pub destination: PathBuf,
    /// What is in it.
    pub template: String,
    /// What is run after it is written, or to remove it.
    pub commands: Vec<String>,
    /// Of a removal: what could not be done, and why.
    pub failed: Vec<String>,
}

/// Why there is no service, or still one.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// Only root can do it.
    #[error("{NOT_ROOT}. To do so, copy/paste the following command:\n{command}")]
    NotRoot {
        /// What does the same as root.
        command: String,
    },
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] ActionError),
}

impl From<StartupError> for ActionError {
    fn from(error: StartupError) -> Self {
        match error {
            StartupError::Failed(error) => error,
            not_root @ StartupError::NotRoot { .. } => Self {
                code: Some("EPERM".to_owned()),
                ..Self::new(not_root.to_string())
            },
        }
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Makes the file and has it used.
    Startup,
    /// Takes it away again.
    Unstartup,
}

impl Startup {
    /// As the API hands it out.
    #[must_use]
    pub fn to_json(&self, verb: Verb) -> String {
        let Self {
            platform,
            detected,
            service,
            destination,
            template,
            commands,
            failed,
        } = self;
        let value = match verb {
            Verb::Startup => json!({
                "destination": destination, "template": template, "commands": commands,
                "platform": platform, "detected": detected, "service": service,
            }),
            Verb::Unstartup => json!({
                "commands": commands, "platform": platform, "detected": detected,
                "service": service, "destination": destination, "failed": failed,
            }),
        };
        value.to_string()
    }
}

/// Everything about the service that is to be.
#[derive(Debug)]
struct Service {
    system: System,
    name: String,
    user: Account,
    home: Home,
    /// The copy of the executable that is run at boot.
    program: PathBuf,
    /// `PATH` of the daemon.
    path: String,
    is_online: bool,
    /// The disk it is for, if that is not ours.
    image: Option<Image>,
    /// Its file for the init system, where we write it.
    destination: PathBuf,
    /// The caller's.
    env: Vec<(OsString, OsString)>,
}

/// Makes or removes the service that `payload` (JSON text: `platform`, `options`, `env`, `cwd`, `node`) describes. Starts no daemon; may wait
/// for the commands of the init system, so it is not for a thread that others wait for.
pub fn run(client: &Client, verb: Verb, payload: &str) -> Result<Startup, StartupError> {
    let wish = Wish::read(payload)?;
    let detected = System::detect(&wish.search_path);
    let system = match &wish.platform {
        Some(name) => System::named(name).ok_or_else(|| {
            let allowed = System::names().join(", ");
            ActionError::new(format!(
                "Unknown platform / init system name: {name:?}; allowed are {allowed}"
            ))
        })?,
        None => detected.ok_or_else(|| ActionError::new("Init system not found"))?,
    };
    let service = Service::new(client, system, &wish)?;
    if !wish.is_print && !service.is_allowed() {
        return Err(service.not_root(client, verb));
    }
    let template = match verb {
        Verb::Startup => template::fill(&service),
        Verb::Unstartup => String::new(),
    };
    let steps = service.steps(verb)?;
    let mut startup = Startup {
        platform: system.name(),
        detected: detected.map(System::name),
        destination: service.destination.clone(),
        service: service.name.clone(),
        template,
        commands: steps.iter().map(Step::to_string).collect(),
        failed: Vec::new(),
    };
    if wish.is_print {
        return Ok(startup);
    }
    match verb {
        Verb::Startup => {
            service.install(client)?;
            perform::write(&startup.destination, &startup.template, system.mode())?;
            for step in &steps {
                step.perform(&service.env).map_err(ActionError::new)?;
            }
        }
        // One that cannot be done keeps no other from being done.
        Verb::Unstartup => {
            let failures = steps
                .iter()
                .filter_map(|step| step.perform(&service.env).err());
            startup.failed = failures.collect();
        }
    }
    Ok(startup)
}

impl Service {
    fn new(client: &Client, system: System, wish: &Wish) -> Result<Self, ActionError> {
        let own = Account::current();
        let named = wish.user.as_deref().or(wish.login.as_deref());
        let user = match named {
            Some(name) => Account::named(name).ok_or_else(|| {
                ActionError::new(format!(
                    "the user {name:?} does not exist: option \"user\" must be a login name"
                ))
            })?,
            None => own.clone().ok_or_else(|| {
                ActionError::new("option \"user\" is needed: this user has no name")
            })?,
        };
        if system == System::SystemdUser && own.as_ref() != Some(&user) {
            return Err(ActionError::new(
                "systemd-user is for the user who calls; option \"user\" cannot name another one",
            ));
        }
        let home = match &wish.hp {
            Some(folder) => folder.join(".pm2"),
            // Root's own home is of no use to somebody else.
            None if own.as_ref() != Some(&user) && wish.is_default_home(client.home()) => {
                user.folder.join(".pm2")
            }
            None => client.home().root.clone(),
        };
        let home = Home::new(&home, &|name| wish.variable(name))?;
        let program = home.installed(env!("CARGO_PKG_VERSION")).program;
        for (what, path) in [("PM2_HOME", &home.root), ("the executable", &program)] {
            wish::require_plain(what, &path.to_string_lossy())?;
        }
        let mut service = Self {
            system,
            name: wish
                .service
                .clone()
                .unwrap_or_else(|| system.default_service(&user.name)),
            user,
            home,
            program,
            path: wish.service_path(),
            is_online: wish.is_online,
            image: wish.root.clone().map(Image::new),
            destination: PathBuf::new(),
            env: wish.env.clone(),
        };
        service.destination = service.locate(&system.file(&service))?;
        Ok(service)
    }

    /// Where we find what the machine of this service calls `path`.
    fn locate(&self, path: &Path) -> Result<PathBuf, ActionError> {
        match &self.image {
            Some(image) => image.locate(path),
            None => Ok(path.to_owned()),
        }
    }

    fn steps(&self, verb: Verb) -> Result<Vec<Step>, ActionError> {
        let old = self.locate(Path::new(system::OLD_SCRIPT))?;
        let is_old = verb == Verb::Unstartup && old.exists();
        match &self.image {
            Some(image) if is_old => image.adapt(system::old_steps()),
            Some(image) => image.steps(self, verb),
            None if is_old => Ok(system::old_steps()),
            None => Ok(self.system.steps(self, verb)),
        }
    }

    /// Whether this user may do it. What stays below a folder or concerns nobody else needs no more than that.
    fn is_allowed(&self) -> bool {
        nix::unistd::geteuid().is_root()
            || self.system == System::SystemdUser
            || self.image.is_some()
    }

    /// Puts the executable into the home of that machine, in the name of its user.
    fn install(&self, client: &Client) -> Result<(), ActionError> {
        let executable = launch::executable(client).map_err(|error| error.to_action_error())?;
        let opened = File::open(&executable).map_err(|error| {
            ActionError::new(format!("failed to open {}: {error}", executable.display()))
        })?;
        let folder = self.locate(self.program.parent().unwrap_or(&self.home.root))?;
        let copies = Installed::within(&folder);
        let installed = self.user.perform(|| copies.copy_from(&opened));
        let failed = |error| {
            ActionError::new(format!(
                "failed to act as the user {}: {error}",
                self.user.name
            ))
        };
        installed.map_err(failed)??;
        Ok(())
    }

    /// The error for who is not root, with what to paste.
    fn not_root(&self, client: &Client, verb: Verb) -> StartupError {
        let program = launch::executable(client).map_or_else(
            |_| "pm2".to_owned(),
            |program| program.to_string_lossy().into_owned(),
        );
        let verb = match verb {
            Verb::Startup => "startup",
            Verb::Unstartup => "unstartup",
        };
        let home = self.home.root.parent().unwrap_or(&self.user.folder);
        let words = [
            program.as_str(),
            verb,
            self.system.name(),
            "-u",
            &self.user.name,
            "--hp",
            &home.to_string_lossy(),
        ]
        .map(template::shell_word);
        let command = format!("sudo env PATH=$PATH {}", words.join(" "));
        StartupError::NotRoot { command }
    }
}

#[cfg(test)]
mod tests;
