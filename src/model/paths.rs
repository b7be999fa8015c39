//! How log and pid paths are made those of one process.

use super::PmId;

/// `app.log` and `app-7.log` become `app-<id>.log`; a path with another ending stays.
pub(super) fn log_path_of(path: &str, id: PmId) -> String {
    numbered(path, ".log", id)
}

/// `app.pid` and `app-7.pid` become `app-<id>.pid`; a path with another ending stays.
pub(super) fn pid_path_of(path: &str, id: PmId) -> String {
    numbered(path, ".pid", id)
}

fn numbered(path: &str, ending: &str, id: PmId) -> String {
    let Some(stem) = path.strip_suffix(ending) else {
        return path.to_owned();
    };
    let stem = match stem.rsplit_once('-') {
        Some((before, digits))
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            before
        }
        _ => stem,
    };
    format!("{stem}-{id}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_before_the_ending_is_replaced_by_the_id() {
        for (path, expected) in [
            ("/l/clu-out.log", "/l/clu-out-7.log"),
            ("/l/clu-out-31.log", "/l/clu-out-7.log"),
            ("/l/clu-out-x.log", "/l/clu-out-x-7.log"),
            ("/l/-.log", "/l/--7.log"),
            ("/l/a.txt", "/l/a.txt"),
            ("/dev/null", "/dev/null"),
            ("", ""),
        ] {
            assert_eq!(log_path_of(path, PmId(7)), expected);
        }
        assert_eq!(pid_path_of("/p/z.pid", PmId(16)), "/p/z-16.pid");
        assert_eq!(pid_path_of("/p/z.foo", PmId(16)), "/p/z.foo");
    }
}
