//! Memory that outlives the process that uses it.

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

/// A file in memory with this content, to be read from its beginning.
pub fn file(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("pm2-memory", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

/// A file in memory, mapped. Whoever has a descriptor of it sees what was written last, also by a process that was killed.
///
/// Contract: of all processes that have it mapped, only one runs for good; the others have ended or never write.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    fd: OwnedFd,
}

impl Mapping {
    /// New, and all zeros.
    pub fn new(length: usize) -> io::Result<Self> {
        let fd = memfd_create("pm2-memory", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(
            &fd,
            libc::off_t::try_from(length).unwrap_or(libc::off_t::MAX),
        )?;
        Self::of(fd, length)
    }

    /// One that an earlier process made. An error if it is shorter than `length`, which would be fatal to touch.
    pub fn of(fd: OwnedFd, length: usize) -> io::Result<Self> {
        let size = nix::sys::stat::fstat(&fd)?.st_size;
        if usize::try_from(size).map_or(true, |size| size < length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice; nothing that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, fd.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length, fd })
    }

    /// What is there.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as `self` lives, and by the contract nobody else writes.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The same, to be changed.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// A descriptor for another process.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_wrote_another_reads() {
        let mut one = Mapping::new(100).unwrap();
        one.bytes_mut()[99] = 7;
        let copy = one.copy().unwrap();
        drop(one);
        assert_eq!(Mapping::of(copy, 100).unwrap().bytes()[99], 7);
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let copy = Mapping::new(100).unwrap().copy().unwrap();
        assert!(Mapping::of(copy, 101).is_err());
    }
}
