//! The protocol's numbers.

/// `SSH_FXP_*`: kinds of packets.
pub(super) mod kind {
    pub(crate) const INIT: u8 = 1;
    pub(crate) const VERSION: u8 = 2;
    pub(crate) const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub(crate) const READ: u8 = 5;
    pub(crate) const WRITE: u8 = 6;
    pub(crate) const LSTAT: u8 = 7;
    pub(crate) const FSTAT: u8 = 8;
    pub(crate) const SETSTAT: u8 = 9;
    pub(crate) const FSETSTAT: u8 = 10;
    pub(crate) const OPENDIR: u8 = 11;
    pub(crate) const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const RMDIR: u8 = 15;
    pub(crate) const REALPATH: u8 = 16;
    pub(crate) const STAT: u8 = 17;
    pub(crate) const RENAME: u8 = 18;
    pub(crate) const READLINK: u8 = 19;
    pub(crate) const SYMLINK: u8 = 20;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub(crate) const DATA: u8 = 103;
    pub(crate) const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED: u8 = 200;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// `SSH_FX_*`: how a request ended.
pub(super) mod status {
    use rustix::io::Errno;

    pub(crate) const OK: u32 = 0;
    pub(crate) const EOF: u32 = 1;
    const NO_SUCH_FILE: u32 = 2;
    const PERMISSION_DENIED: u32 = 3;
    const FAILURE: u32 = 4;
    const UNSUPPORTED: u32 = 8;
    /// Of version 5. sshfs takes what it does not know for an input/output error, and a failure for missing rights.
    const NO_SPACE: u32 = 14;

    pub(crate) fn of(error: Errno) -> u32 {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => NO_SUCH_FILE,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => PERMISSION_DENIED,
            Errno::NOSYS | Errno::OPNOTSUPP => UNSUPPORTED,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO | Errno::MFILE | Errno::NFILE => NO_SPACE,
            _ => FAILURE,
        }
    }
}

/// `SSH_FXF_*`: how a file is opened.
pub(super) mod open {
    pub(crate) const READ: u32 = 1;
    pub(crate) const WRITE: u32 = 2;
    pub(crate) const APPEND: u32 = 4;
    pub(crate) const CREATE: u32 = 8;
    pub(crate) const TRUNCATE: u32 = 16;
    pub(crate) const EXCLUSIVE: u32 = 32;
}

/// OpenSSH's extensions that are known here, and their versions.
pub(super) const EXTENSIONS: [(&str, &str); 4] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
];
