//! Why something cannot be watched.

use std::io;
use std::path::Path;

use notify::ErrorKind;

/// What has gone, or is not ours to read.
pub(super) fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}

/// Why a path cannot be watched, and what helps.
pub(super) fn told(error: &notify::Error, path: &Path) -> String {
    let path = path.display();
    match &error.kind {
        ErrorKind::MaxFilesWatch => format!(
            "{path}: the limit of watched folders is reached (ENOSPC); raise fs.inotify.max_user_watches or ignore more with ignore_watch"
        ),
        ErrorKind::Io(cause) if cause.raw_os_error() == Some(nix::libc::EMFILE) => format!(
            "{path}: the limit of watchers is reached (EMFILE); raise fs.inotify.max_user_instances"
        ),
        _ => format!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: whoever reads the log learns what to do about the system's limits.
    #[test]
    fn a_limit_of_the_system_is_named_with_what_helps() {
        let text = told(
            &notify::Error::new(ErrorKind::MaxFilesWatch),
            Path::new("/srv/app"),
        );
        assert!(
            text.contains("/srv/app")
                && text.contains("ENOSPC")
                && text.contains("max_user_watches")
        );
    }
}
