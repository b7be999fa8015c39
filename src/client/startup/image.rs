//! A folder that stands for the `/` of another machine: its files are changed, and nothing here is told or changed.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::super::actions::ActionError;
use super::perform::Step;
use super::system::System;
use super::{Service, Verb};

/// How many links one path may lead over, as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// The disk of another machine.
#[derive(Debug)]
pub(super) struct Image {
    root: PathBuf,
}

impl Image {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where we find what that machine calls `path`. A link leads where it leads there, so never out of the image: many a `/home` or
    /// `/var/lock` is a link with an absolute path, which to us would be a folder of our own.
    pub(super) fn locate(&self, path: &Path) -> Result<PathBuf, ActionError> {
        let mut found = PathBuf::new();
        let mut rest = reversed_names(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                found.pop();
                continue;
            }
            found.push(&name);
            let Ok(target) = fs::read_link(self.root.join(&found)) else {
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(ActionError::new(format!(
                    "too many links lead to {} in {}",
                    path.display(),
                    self.root.display()
                )));
            }
            found.pop();
            if target.is_absolute() {
                found.clear();
            }
            rest.extend(reversed_names(&target));
        }
        Ok(self.root.join(found))
    }

    /// What has the machine start the service at its next boot, or no more.
    pub(super) fn steps(&self, service: &Service, verb: Verb) -> Result<Vec<Step>, ActionError> {
        let steps = match (service.system, verb) {
            (System::Systemd, _) if !self.has_links(service) => self.with_systemctl(service, verb),
            (System::SystemdUser, Verb::Startup) => vec![
                Step::Link {
                    path: self.wanted(service)?,
                    target: service.system.file(service),
                },
                Step::Touch(self.locate(&lingering(service))?),
            ],
            (System::SystemdUser, Verb::Unstartup) => vec![
                Step::Remove(self.wanted(service)?),
                Step::Remove(service.destination.clone()),
            ],
            (system, _) => return self.adapt(system.steps(service, verb)),
        };
        Ok(steps)
    }

    /// The steps of a machine that runs, for this one.
    pub(super) fn adapt(&self, steps: Vec<Step>) -> Result<Vec<Step>, ActionError> {
        let mut adapted = Vec::new();
        for step in steps {
            adapted.push(match step {
                Step::Tell(_) => continue,
                Step::Run(words) => {
                    let mut all = vec!["chroot".to_owned(), self.root.display().to_string()];
                    all.extend(words);
                    Step::Run(all)
                }
                Step::Touch(path) => Step::Touch(self.locate(&path)?),
                Step::Link { path, target } => Step::Link {
                    path: self.locate(&path)?,
                    target,
                },
                Step::Remove(path) => Step::Remove(self.locate(&path)?),
            });
        }
        Ok(adapted)
    }

    /// systemd's own way with images asks nothing that runs, and needs neither root nor programs in the image.
    fn with_systemctl(&self, service: &Service, verb: Verb) -> Vec<Step> {
        let root = format!("--root={}", self.root.display());
        let systemctl = |verb| Step::run(["systemctl", &root, verb, &service.name]);
        match verb {
            Verb::Startup => vec![systemctl("enable")],
            Verb::Unstartup => vec![
                systemctl("disable"),
                Step::Remove(service.destination.clone()),
            ],
        }
    }

    /// Whether the file is elsewhere than its name says. Then `systemctl --root` would follow the links out of the image.
    fn has_links(&self, service: &Service) -> bool {
        let file = service.system.file(service);
        self.root.join(file.strip_prefix("/").unwrap_or(&file)) != service.destination
    }

    /// The link that `systemctl --user enable` makes. With `--root` it refuses to.
    fn wanted(&self, service: &Service) -> Result<PathBuf, ActionError> {
        let file = service.system.file(service);
        let folder = self.locate(&file.with_file_name("default.target.wants"))?;
        Ok(folder.join(file.file_name().unwrap_or_default()))
    }
}

/// The file that `loginctl enable-linger` makes.
fn lingering(service: &Service) -> PathBuf {
    Path::new("/var/lib/systemd/linger").join(&service.user.name)
}

/// The names on the way, the first one last.
fn reversed_names(path: &Path) -> Vec<OsString> {
    let is_name =
        |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let parts = path.components().rev().filter(is_name);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}
