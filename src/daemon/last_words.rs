//! What a process that failed wrote to its error log, for whoever started it and waits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use crate::model::{PmId, RunId};

/// How much of the end of the log is looked at. A stack with a few long paths fits.
const BYTES_MAX: u64 = 4096;
/// How many lines are shown.
const LINES_MAX: usize = 20;

/// Where the last run of each process in cluster mode began in its error log.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    runs: HashMap<PmId, Beginning>,
}

#[derive(Debug)]
struct Beginning {
    run: RunId,
    path: PathBuf,
    length: u64,
}

impl LastWords {
    /// A run begins, and so does what it writes.
    pub(crate) fn begin(&mut self, id: PmId, run: RunId, path: PathBuf) {
        let length = std::fs::metadata(&path).map_or(0, |file| file.len());
        self.runs.insert(id, Beginning { run, path, length });
    }

    /// The process is not listed any more.
    pub(crate) fn forget(&mut self, id: PmId) {
        self.runs.remove(&id);
    }

    /// The last lines that were written since the run began; empty if there are none, or nobody knows.
    pub(crate) fn of(&self, id: PmId, run: RunId) -> String {
        let begun = self.runs.get(&id).filter(|begun| begun.run == run);
        begun
            .and_then(|begun| begun.read().ok())
            .unwrap_or_default()
    }
}

impl Beginning {
    fn read(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        // A log that became shorter was emptied meanwhile.
        let from = if end < self.length { 0 } else { self.length };
        let from = from.max(end.saturating_sub(BYTES_MAX));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let shown = lines.len().saturating_sub(LINES_MAX);
        Ok(lines[shown..].join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: what an earlier run wrote is not blamed on this one, and a flood is cut.
    #[test]
    fn only_the_last_lines_of_the_run_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.log");
        std::fs::write(&path, "before\n").unwrap();
        let mut words = LastWords::default();
        words.begin(PmId(0), RunId(1), path.clone());
        assert_eq!(words.of(PmId(0), RunId(1)), "");
        let lines: Vec<String> = (0..40).map(|n| format!("line {n}\n")).collect();
        let lines = lines.concat();
        std::fs::write(&path, format!("before\n{lines}")).unwrap();
        let shown = words.of(PmId(0), RunId(1));
        assert!(shown.starts_with("line 20\n") && shown.ends_with("line 39"));
        assert_eq!(words.of(PmId(0), RunId(2)), "", "of another run");
        words.forget(PmId(0));
        assert_eq!(words.of(PmId(0), RunId(1)), "");
    }
}
