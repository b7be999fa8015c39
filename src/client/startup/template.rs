//! The files of the init systems: text with holes, and what goes into them in each one's own quotes.

use super::Service;
use super::system::System;

impl System {
    fn template(self) -> &'static str {
        match self {
            Self::Systemd => include_str!("templates/systemd.service"),
            Self::SystemdUser => include_str!("templates/systemd-user.service"),
            Self::Upstart | Self::SystemV => include_str!("templates/sysv.sh"),
            Self::OpenRc => include_str!("templates/openrc.sh"),
            Self::Launchd => include_str!("templates/launchd.plist"),
            Self::Rcd => include_str!("templates/rcd.sh"),
            Self::RcdOpenBsd => include_str!("templates/rcd-openbsd.sh"),
            Self::Smf => include_str!("templates/smf.xml"),
        }
    }
}

/// The file of a service.
pub(super) fn fill(service: &Service) -> String {
    let home = service.home.root.to_string_lossy();
    let program = service.program.to_string_lossy();
    let user = service.user.name.as_str();
    let path = service.path.as_str();
    let name = service.name.as_str();
    let values: Vec<(&str, String)> = match service.system {
        System::Systemd | System::SystemdUser => {
            let (after, wants, target) = if service.is_online {
                let online = "network-online.target";
                (online, "Wants=network-online.target\n", online)
            } else {
                ("network.target", "", "multi-user.target")
            };
            vec![
                ("user", unit_line(user)),
                ("path", unit_word(&format!("PATH={path}"))),
                ("home", unit_word(&format!("PM2_HOME={home}"))),
                ("program", unit_word(&program)),
                ("heir", unit_line(&service.home.heir_file.to_string_lossy())),
                ("after", after.to_owned()),
                ("wants", wants.to_owned()),
                ("target", target.to_owned()),
            ]
        }
        System::Launchd | System::Smf => {
            let command = command(service);
            // Who imports it enables it then; who only finds it at boot does as it says.
            let enabled = service.image.is_some().to_string();
            let values = [
                ("enabled", &*enabled),
                ("service", name),
                ("user", user),
                ("path", path),
                ("home", &home),
                ("program", &program),
                ("command", &command),
            ];
            values.map(|(key, value)| (key, xml(value))).to_vec()
        }
        System::Upstart | System::SystemV | System::OpenRc | System::Rcd | System::RcdOpenBsd => {
            let pid_file = service.home.pid_file.to_string_lossy();
            let description = format!("pm2, the processes of {user}");
            let quoted = [
                ("user", user),
                ("program", &program),
                ("pid_file", &pid_file),
                ("command", &command(service)),
                ("description", &description),
            ];
            let mut values = quoted.map(|(key, value)| (key, shell_word(value))).to_vec();
            // Plain: in comments, and where the name of a service can hold nothing that needs quotes.
            values.push(("plain_user", user.to_owned()));
            values.push(("service", name.to_owned()));
            values
        }
    };
    fill_holes(service.system.template(), &values)
}

/// In one pass, so that no value is taken for a hole.
fn fill_holes(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, (hole, after))) = rest
        .split_once("{{")
        .and_then(|(before, after)| Some((before, after.split_once("}}")?)))
    {
        filled.push_str(before);
        let value = values.iter().find(|(key, _)| *key == hole);
        debug_assert!(
            value.is_some(),
            "the hole {hole} of a template has no value"
        );
        filled.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    filled + rest
}

/// The executable with what it needs to know, as a shell's command line: `su` gives it the user's rights and not always a sound environment.
fn command(service: &Service) -> String {
    let words = [
        "env".to_owned(),
        format!("HOME={}", service.user.folder.display()),
        format!("PATH={}", service.path),
        format!("PM2_HOME={}", service.home.root.display()),
        service.program.to_string_lossy().into_owned(),
    ];
    words.map(|word| shell_word(&word)).join(" ")
}

/// One word for a POSIX shell.
pub(super) fn shell_word(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// One word of a systemd unit, where `%` begins a specifier.
fn unit_word(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", unit_line(&text))
}

/// What a unit takes to the end of the line, without quotes.
fn unit_line(text: &str) -> String {
    text.replace('%', "%%")
}

fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
