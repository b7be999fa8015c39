//! What must hold for any bytes that are read back: what one daemon or keeper leaves to the next, and what is saved on disk.
//! Shared by the fuzz targets and by the replay of the corpus in `cargo test`.

use std::fs::File;
use std::os::fd::AsFd as _;

use pm2::daemon::probe;
use pm2::host::dump;
use pm2::host::handles;
use pm2::host::roster;
use pm2::keeper::proto::{Channel, Handover, ProtoError, Received, Report, Request};

/// What a socket takes at once, whatever its buffers are.
const FRAMES_MAX: usize = 64 * 1024;

/// Where a roster names the boot that it is of.
const BOOT: std::ops::Range<usize> = 8..64;

/// The records of a daemon: as a file, and as what stands behind a checksum that is right. The checks themselves are in the probe.
pub(crate) fn records(input: &[u8]) {
    _ = probe::records(input);
    _ = probe::records(&probe::sealed(input));
}

/// What a keeper leaves to its successor: what is understood is the same once it is written again, and no descriptor is there twice.
pub(crate) fn handover(input: &[u8]) {
    if let Some(record) = Handover::decode(input) {
        assert_eq!(Handover::decode(&record.encode()).as_ref(), Some(&record));
        assert!(record.children.iter().all(|child| child.pid > 1));
    }
}

/// What keeper and daemon say to each other: read, or refused for good; never waited for.
pub(crate) fn keeper(input: &[u8]) {
    let input = &input[..input.len().min(FRAMES_MAX)];
    let null = File::open("/dev/null").expect("it is there");
    for is_request in [true, false] {
        let (ours, theirs) = handles::stream_pair().expect("a pair of sockets");
        let fds = [null.as_fd(), null.as_fd()];
        let sent = handles::send_with_fds(ours.as_fd(), input, &fds);
        assert!(sent.is_ok_and(|sent| sent == input.len()) || input.is_empty());
        drop(ours);
        let mut channel = Channel::new(theirs).expect("a socket");
        loop {
            let is_over = if is_request {
                is_over(&channel.receive::<Request>())
            } else {
                is_over(&channel.receive::<Report>())
            };
            if is_over {
                break;
            }
        }
    }
}

fn is_over<M>(received: &Result<Received<M>, ProtoError>) -> bool {
    match received {
        Ok(Received::Message(_)) => false,
        Ok(Received::Closed) | Err(_) => true,
        Ok(Received::Nothing) => panic!("the other end has gone"),
    }
}

/// Who was started: however the file is damaged, each slot names one process at most, and never one that is everybody's parent. Cut
/// anywhere, it names the same as far as it goes.
pub(crate) fn roster(input: &[u8]) {
    let boot = input.get(BOOT).unwrap_or_default();
    let boot = boot.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ok(boot) = std::str::from_utf8(boot) else {
        return;
    };
    let Some(entries) = roster::read(input, boot) else {
        return;
    };
    assert!(entries.is_sorted_by(|(one, _), (next, _)| one < next));
    assert!(entries.iter().all(|(_, entry)| entry.pid > 1));
    assert!(entries.len() <= roster::SLOTS_MAX);
    let half = roster::read(&input[..input.len() / 2], boot).unwrap_or_default();
    assert!(entries.starts_with(&half));
}

/// A saved list: what is one is read the same once it is written again.
pub(crate) fn dump(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some(records) = dump::parse(&text) {
        let again = serde_json::to_string(&records).expect("objects have text keys");
        assert_eq!(dump::parse(&again), Some(records));
    }
}
