//! The daemon's own log: `pm2.log`, which is its standard output and error, and `log:PM2` on the bus.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use nix::fcntl::OFlag;

use super::dates::DateFormat;
use super::shared::Shared;
use crate::host::files::open_to_write;
use crate::host::process;
use crate::model::BusEvent;

/// Before each line, unless `PM2_LOG_DATE_FORMAT` says otherwise.
const DATE_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

/// Writes what the daemon has to say about itself.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Rc<Shared>,
    path: PathBuf,
    date: RefCell<DateFormat>,
}

impl Journal {
    /// A journal in `path`, with `PM2_LOG_DATE_FORMAT` if it is set.
    pub(crate) fn new(shared: &Rc<Shared>, path: PathBuf, format: Option<&str>) -> Self {
        let format = format.filter(|format| !format.is_empty());
        Self {
            shared: Rc::clone(shared),
            path,
            date: RefCell::new(DateFormat::new(format.unwrap_or(DATE_FORMAT))),
        }
    }

    /// An ordinary line.
    pub(crate) fn log(&self, text: &str) {
        self.line(text, "PM2 log");
    }

    /// A line about something that went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.line(text, "PM2 error");
    }

    /// Continues in the file that is at the path now: after somebody rotated it.
    pub(crate) fn reopen(&self) {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = open_to_write(&self.path, &mut options, OFlag::empty());
        if let Ok(file) = file {
            // It worked when the daemon was started; if not now, the old file stays in use.
            let _unchanged = process::redirect_output(file.as_fd());
        }
    }

    fn line(&self, text: &str, prefix: &str) {
        let wall_ms = Shared::now().wall_ms;
        let line = format!(
            "{}: {prefix}: {text}\n",
            self.date.borrow_mut().text(wall_ms)
        );
        // A full disk must not end the daemon.
        let _lost = std::io::stdout().lock().write_all(line.as_bytes());
        if self.shared.bus.is_heard() {
            let event = BusEvent::daemon_log(wall_ms, text);
            self.shared
                .bus
                .publish(&event.name, event.payload.as_str().as_bytes());
        }
    }
}
