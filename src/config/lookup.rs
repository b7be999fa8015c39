//! What the pure rules must ask the outside world.

/// Answers about files, programs and accounts of the machine. The client asks the real one, tests a pretended one. All paths are absolute.
pub trait Lookup {
    /// Is there something at this path that is not a folder?
    fn is_file(&self, path: &str) -> bool;
    /// Is there a folder at this path?
    fn is_folder(&self, path: &str) -> bool;
    /// May the caller read it?
    fn is_readable(&self, path: &str) -> bool;
    /// May the caller execute it?
    fn is_executable(&self, path: &str) -> bool;
    /// The first bytes of the file, at most a few hundred; none if it cannot be read.
    fn head(&self, path: &str) -> Option<Vec<u8>>;
    /// Where a program without a slash in its name lies in `PATH`.
    fn find_in_path(&self, program: &str) -> Option<String>;
    /// The account with this name or, failing that, this number.
    fn user(&self, name: &str) -> Option<Account>;
    /// The number of the group with this name or, failing that, this number.
    fn group(&self, name: &str) -> Option<u32>;
    /// May the caller become somebody else?
    fn is_root(&self) -> bool;
    /// The caller's own account name.
    fn user_name(&self) -> String;
    /// The caller's home directory.
    fn home_folder(&self) -> String;
}

/// One entry of the account database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its home directory.
    pub home: String,
}
