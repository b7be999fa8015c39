//! What a worker asks for with `queryServer`, and what our primary writes to workers.

use serde::{Deserialize, Serialize};

use crate::model::{JsonText, Members, as_text};

/// Connections the kernel keeps for a server that does not say how many, as Node has it.
const BACKLOG_DEFAULT: u32 = 511;

/// Flag of `flags`: an IPv6 address does not take IPv4 connections.
const FLAG_V6_ONLY: u64 = 1;

/// Flag of `flags`, UDP only: others may bind the same address.
const FLAG_REUSE: u64 = 4;

/// Where to listen, and in which way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp {
        /// The address as a number; `None`: all of both families, or of IPv4 where there is no IPv6.
        host: Option<Box<str>>,
        /// 0: any free one.
        port: u16,
        /// No IPv4 connections on an IPv6 address.
        v6_only: bool,
        /// How many connections may wait.
        backlog: u32,
        /// Whether it is one of several sockets at the same port.
        share: PortShare,
    },
    /// A Unix socket.
    Unix {
        /// The path; one that begins with NUL is a name without a file.
        path: Box<str>,
        /// How many connections may wait.
        backlog: u32,
        /// Everybody may read.
        readable_all: bool,
        /// Everybody may write.
        writable_all: bool,
    },
    /// A UDP port.
    Udp {
        /// The address as a number; `None`: all.
        host: Option<Box<str>>,
        /// The family where no address says it.
        is_v6: bool,
        /// 0: any free one.
        port: u16,
        /// No IPv4 packets on an IPv6 address.
        v6_only: bool,
        /// Others may bind the same address.
        reuse: bool,
    },
}

/// How a TCP socket shares its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortShare {
    /// Not at all.
    Alone,
    /// Others will join it; nobody else may be there.
    First,
    /// It joins those that are there.
    Join,
}

/// The name of a bound TCP or UDP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketName {
    /// The address as a number.
    pub address: Box<str>,
    /// Whether it is of IPv6.
    pub is_v6: bool,
    /// The port; never 0.
    pub port: u16,
}

/// One `queryServer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The same for the same address in all workers.
    pub(super) key: Box<str>,
    /// `None`: a descriptor of ours was asked for, of which there is none to give.
    pub(super) address: Option<ListenAddress>,
    /// What the server wants its siblings to know, as JSON.
    pub(super) data: Box<str>,
}

impl Query {
    /// `None` for what no Node sends.
    pub(super) fn parse(members: &Members<'_>) -> Option<Self> {
        let text = |name: &str| members.get(name).and_then(as_text);
        // A UDP port stays the text that the app gave for it.
        let shown = |raw: &str| as_text(raw).unwrap_or_else(|| raw.to_owned());
        let number = |name: &str| shown(members.get(name)?).parse::<i64>().ok();
        let address = text("address");
        let port = number("port");
        let kind = members.get("addressType")?;
        let fd = members.get("fd").unwrap_or("undefined");
        let flags = number("flags").and_then(|flags| u64::try_from(flags).ok());
        let flags = flags.unwrap_or(0);
        let backlog = number("backlog").and_then(|backlog| u32::try_from(backlog).ok());
        let backlog = backlog.filter(|&backlog| backlog > 0);
        let backlog = backlog.unwrap_or(BACKLOG_DEFAULT);
        let mut key = format!(
            "{}:{}:{}:{fd}",
            address.as_deref().unwrap_or("null"),
            shown(members.get("port").unwrap_or("undefined")),
            shown(kind),
        );
        if port == Some(0) {
            key.push(':');
            key.push_str(members.get("index").unwrap_or("0"));
        }
        let udp = as_text(kind).filter(|kind| kind.starts_with("udp"));
        let has_fd = fd.parse::<i64>().is_ok_and(|fd| fd >= 0);
        let address = if has_fd {
            None
        } else if let Some(kind) = udp {
            Some(ListenAddress::Udp {
                host: address.map(Into::into),
                is_v6: kind == "udp6",
                port: u16::try_from(port?).ok()?,
                v6_only: flags & FLAG_V6_ONLY != 0,
                reuse: flags & FLAG_REUSE != 0,
            })
        } else if kind == "-1" {
            let is_set = |name: &str| members.get(name) == Some("true");
            Some(ListenAddress::Unix {
                path: address?.into(),
                backlog,
                readable_all: is_set("readableAll"),
                writable_all: is_set("writableAll"),
            })
        } else {
            Some(ListenAddress::Tcp {
                host: address.map(Into::into),
                port: u16::try_from(port?).ok()?,
                v6_only: flags & FLAG_V6_ONLY != 0,
                backlog,
                share: PortShare::Alone,
            })
        };
        Some(Self {
            key: key.into(),
            address,
            data: members.get("data").unwrap_or("null").into(),
        })
    }
}

impl ListenAddress {
    /// What Node calls such a handle when it is passed on.
    pub(super) fn handle_type(&self) -> &'static str {
        match self {
            Self::Tcp { .. } | Self::Unix { .. } => "net.Native",
            Self::Udp { .. } => "dgram.Native",
        }
    }

    /// The same address, as a further socket of those that have this name.
    pub(super) fn joining(&self, name: &SocketName) -> Self {
        match self {
            Self::Tcp {
                v6_only, backlog, ..
            } => Self::Tcp {
                host: Some(name.address.clone()),
                port: name.port,
                v6_only: *v6_only,
                backlog: *backlog,
                share: PortShare::Join,
            },
            Self::Unix { .. } | Self::Udp { .. } => self.clone(),
        }
    }
}

/// One message of our primary. `fields` are its own members, each JSON.
pub(super) fn message(fields: &[(&str, &str)], seq: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("{");
    for (name, raw) in fields {
        // Writing to a String cannot fail.
        let _ = write!(text, "\"{name}\":{raw},");
    }
    let _ = write!(text, "\"cmd\":\"NODE_CLUSTER\",\"seq\":{seq}}}");
    text
}

/// The envelope of a message that travels with a descriptor.
pub(super) fn envelope(kind: &str, message: &str) -> JsonText {
    JsonText::from_valid(format!(
        "{{\"cmd\":\"NODE_HANDLE\",\"type\":\"{kind}\",\"msg\":{message}}}"
    ))
}
