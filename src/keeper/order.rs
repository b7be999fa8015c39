//! The order for one process, as the daemon gives it and the keeper carries it out.

use super::frame::{Frame, Reader};
use crate::host::handles::FDS_MAX;
use crate::host::spawn::Plan;
use std::os::fd::OwnedFd;

/// A process to start.
#[derive(Debug)]
pub struct Spawn {
    /// The daemon's number for this attempt.
    pub run: u64,
    /// What to execute and how.
    pub plan: Plan,
    /// What becomes descriptor 0, 1, 2, …; a missing one of the first three is `/dev/null`, a later one is closed. The
    /// fourth, descriptor 3, is the IPC channel. At most [`FDS_MAX`].
    pub fds: Vec<Option<OwnedFd>>,
    /// Descriptors to store under these keys, if there is a process: as with [`super::proto::Request::Store`], and whether or not the
    /// daemon lives to hear of it. With `fds` at most [`FDS_MAX`].
    pub keep: Vec<(String, OwnedFd)>,
    /// Gets the number of the process before the program is executed: see [`crate::host::spawn::Gifts`].
    pub witness: Option<OwnedFd>,
    /// Where the process enters itself, for whoever comes after both of us.
    pub roster: Option<Roster>,
}

/// A place in the roster.
#[derive(Debug)]
pub struct Roster {
    /// The file.
    pub file: OwnedFd,
    /// Which slot.
    pub slot: u32,
    /// The inodes of the process's pipes.
    pub pipes: [u64; 3],
}

impl Spawn {
    pub(super) fn encode(self, frame: &mut Frame) -> &mut Frame {
        let Self {
            run,
            plan,
            fds,
            keep,
            witness,
            roster,
        } = self;
        frame.u64(run).text(plan.program.as_bytes());
        for list in [&plan.argv, &plan.env] {
            frame.count(list.len());
            for text in list {
                frame.text(text.as_bytes());
            }
        }
        frame.text(plan.cwd.as_bytes());
        frame
            .optional(plan.uid)
            .optional(plan.gid)
            .optional(plan.umask);
        frame.u8(plan.groups.is_some().into());
        if let Some(groups) = plan.groups {
            frame.count(groups.len());
            for group in groups {
                frame.u32(group);
            }
        }
        frame.count(fds.len());
        for fd in fds {
            frame.u8(fd.is_some().into());
            frame.fds.extend(fd);
        }
        frame.count(keep.len());
        for (key, fd) in keep {
            frame.text(key.as_bytes());
            frame.fds.push(fd);
        }
        frame.u8(witness.is_some().into());
        frame.fds.extend(witness);
        frame.u8(roster.is_some().into());
        if let Some(Roster { file, slot, pipes }) = roster {
            frame.fds.push(file);
            frame.u32(slot).u64(pipes[0]).u64(pipes[1]).u64(pipes[2]);
        }
        frame
    }

    pub(super) fn decode(reader: &mut Reader) -> Option<Self> {
        let run = reader.u64()?;
        let program = reader.c_string()?;
        let argv = reader.list(Reader::c_string)?;
        let env = reader.list(Reader::c_string)?;
        let cwd = reader.c_string()?;
        let (uid, gid, umask) = (reader.optional()?, reader.optional()?, reader.optional()?);
        let groups = match reader.u8()? {
            0 => None,
            _ => Some(reader.list(Reader::u32)?),
        };
        let fds = reader.list(|reader| match reader.u8()? {
            0 => Some(None),
            _ => Some(Some(reader.fds.pop_front()?)),
        })?;
        if fds.len() > FDS_MAX {
            return None;
        }
        let keep = reader.list(|reader| Some((reader.string()?, reader.fds.pop_front()?)))?;
        let witness = if reader.flag()? {
            Some(reader.fds.pop_front()?)
        } else {
            None
        };
        let roster = if reader.flag()? {
            Some(Roster {
                file: reader.fds.pop_front()?,
                slot: reader.u32()?,
                pipes: [reader.u64()?, reader.u64()?, reader.u64()?],
            })
        } else {
            None
        };
        Some(Self {
            run,
            plan: Plan {
                program,
                argv,
                env,
                cwd,
                uid,
                gid,
                groups,
                umask,
            },
            fds,
            keep,
            witness,
            roster,
        })
    }
}
