//! User accounts, and doing file work in their name.

use nix::libc;
use nix::unistd::{Gid, Uid, User};
use std::ffi::CString;
use std::io;
use std::path::PathBuf;

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its own group.
    pub gid: u32,
    /// Its folder.
    pub folder: PathBuf,
}

impl Account {
    /// The account of this name; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        User::from_name(name).ok().flatten().map(Self::from)
    }

    /// The account that this process runs as; `None` if its number has no name.
    #[must_use]
    pub fn current() -> Option<Self> {
        User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .map(Self::from)
    }

    /// Does file work with the rights of this account and no others. What it makes belongs to the account, and no link that the account
    /// laid leads it to where the account itself could not go. For root only, unless it is our own account.
    pub fn perform<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        if nix::unistd::geteuid().as_raw() == self.uid {
            return Ok(work());
        }
        let name = CString::new(self.name.as_str())?;
        let groups = nix::unistd::getgrouplist(&name, Gid::from_raw(self.gid))?;
        let groups: Vec<libc::gid_t> = groups.into_iter().map(Gid::as_raw).collect();
        // These rights belong to a thread, so it has one that ends with them.
        let outcome = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.become_for_files(&groups)?;
                Ok(work())
            });
            worker.join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Changes the file rights of the calling thread, and of no other.
    fn become_for_files(&self, groups: &[libc::gid_t]) -> io::Result<()> {
        let (uid, gid) = (self.uid, self.gid);
        // SAFETY: system calls that take numbers, or length and pointer of a list that outlives the call. The bare `setgroups` changes
        // this thread only; libc's would change the whole process.
        let (changed, is_user, is_group) = unsafe {
            let changed = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
            libc::setfsgid(gid);
            libc::setfsuid(uid);
            // They say nothing of failure, but what is in force: an impossible number changes nothing.
            let is_user = libc::setfsuid(libc::uid_t::MAX).cast_unsigned() == uid;
            let is_group = libc::setfsgid(libc::gid_t::MAX).cast_unsigned() == gid;
            (changed, is_user, is_group)
        };
        if changed == 0 && is_user && is_group {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        let User {
            name,
            uid,
            gid,
            dir,
            ..
        } = user;
        Self {
            name,
            uid: Uid::as_raw(uid),
            gid: gid.as_raw(),
            folder: dir,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    // Protects root: files made for a user are the user's, and a link the user laid leads nowhere that the user cannot go.
    #[test]
    fn work_in_somebodys_name_has_that_ones_rights_and_ends_with_it() {
        let Some(nobody) = Account::named("nobody").filter(|_| nix::unistd::geteuid().is_root())
        else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        let closed = folder.path().join("closed");
        for (path, mode) in [(folder.path(), 0o755), (&*open, 0o777), (&*closed, 0o700)] {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink(&closed, open.join("link")).unwrap();
        let made = open.join("made");
        let (inside, through) = nobody
            .perform(|| {
                let through = fs::write(open.join("link/made"), "").map_err(|error| error.kind());
                (fs::write(&made, ""), through)
            })
            .unwrap();
        inside.unwrap();
        let owner = fs::metadata(&made).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (nobody.uid, nobody.gid));
        assert_eq!(through, Err(io::ErrorKind::PermissionDenied));
        // We are who we were.
        fs::write(closed.join("ours"), "").unwrap();
    }

    #[test]
    fn an_account_is_found_by_name_or_not_at_all() {
        assert_eq!(Account::named("root").unwrap().uid, 0);
        assert!(Account::named("no-such-user-here").is_none());
        let own = Account::current().unwrap();
        assert_eq!(own.perform(|| 7).unwrap(), 7);
    }
}
