//! What Lima tells about the instance, by `limactl list --format`: its JSON loses the errors (pkg/store/instance.go).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Os;
use crate::shell::{Answer, AnswerError};

/// Lima's words for an instance's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Its processes live; it may still be booting.
    Running,
    Stopped,
    /// Some of its processes live, or they do not answer; for some seconds at each start, too.
    Broken,
    /// Its file cannot be read, or asks for a newer Lima.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub status: Status,
    /// Lima's folder of it.
    pub dir: PathBuf,
    pub vm_type: String,
    pub cpus: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes, as the VM sees it.
    pub disk: u64,
    pub ssh_port: u16,
    /// The version that made it.
    pub lima_version: String,
    /// The VM's user.
    pub user: String,
    pub errors: Vec<String>,
}

/// The Go template that makes `limactl list` answer as scripts do.
pub(super) const FORMAT: &str = "::mvm::\nSTATUS={{.Status}}\nDIR={{.Dir}}\nVM_TYPE={{.VMType}}\nCPUS={{.CPUs}}\nMEMORY={{.Memory}}\n\
     DISK={{.Disk}}\nSSH_PORT={{.SSHLocalPort}}\nLIMA_VERSION={{.LimaVersion}}\n\
     USER={{with .Config}}{{with .User.Name}}{{.}}{{end}}{{end}}\n{{range .Errors}}ERROR={{.}}\n{{end}}";

impl Instance {
    /// Reads the answer to [`FORMAT`]; `None` when there is no such instance.
    pub fn parse(stdout: &str) -> Result<Option<Self>, AnswerError> {
        let Some(answer) = Answer::parse(stdout) else {
            return Ok(None);
        };
        let text = |key: &str| answer.text(key).unwrap_or_default().to_owned();
        let number = |key: &str| text(key).parse().unwrap_or(0);
        let status = match text("STATUS").as_str() {
            "Running" => Status::Running,
            "Stopped" => Status::Stopped,
            "Broken" => Status::Broken,
            other => Status::Unknown(other.to_owned()),
        };
        Ok(Some(Self {
            status,
            dir: answer.get::<PathBuf>("DIR")?,
            vm_type: text("VM_TYPE"),
            cpus: number("CPUS"),
            memory: number("MEMORY"),
            disk: number("DISK"),
            ssh_port: answer.optional("SSH_PORT")?.unwrap_or(0),
            lima_version: text("LIMA_VERSION"),
            user: text("USER"),
            errors: answer.all("ERROR").map(str::to_owned).collect(),
        }))
    }

    /// What connects to it; written at each start.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh.config")
    }

    /// What its disk takes on this host, in bytes; 0 before it was made. (`diffdisk` until Lima 2.0.)
    pub fn disk_used(&self) -> u64 {
        let used = |name: &str| fs_err::metadata(self.dir.join(name)).map_or(0, |file| file.blocks() * 512);
        used("disk") + used("diffdisk") + used("basedisk")
    }

    /// Whether its folder is there without Lima's file: no limactl can start, stop or delete it then.
    pub fn has_lost_its_file(&self) -> bool {
        self.dir.is_dir() && !self.file().exists()
    }

    /// Lima's file of it.
    pub fn file(&self) -> PathBuf {
        self.dir.join("lima.yaml")
    }

    /// Whether its disk was never made: the download did not come to its end.
    pub fn is_half_created(&self) -> bool {
        !["disk", "diffdisk"].iter().any(|name| self.dir.join(name).exists())
    }
}

/// What Lima's sockets leave for the folder `home`: `HOME/mvm/ssh.sock.` and 16 digits must fit a socket's address.
pub(super) fn check_home(home: &Path, os: Os) -> Result<(), String> {
    let longest = if matches!(os, Os::MacOs(..)) { 73 } else { 77 };
    let length = home.as_os_str().len();
    if length <= longest {
        return Ok(());
    }
    Err(format!(
        "Lima's folder {} is too long by {} characters for the sockets in it",
        home.display(),
        length - longest
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_with_its_errors() {
        let stdout = "::mvm::\nSTATUS=Broken\nDIR=/h/.lima/mvm\nVM_TYPE=qemu\nCPUS=4\nMEMORY=8589934592\nDISK=107374182400\n\
                      SSH_PORT=60022\nLIMA_VERSION=2.2.0\nUSER=dev\nERROR=host agent is running but driver is not\n\n";
        let instance = Instance::parse(stdout).unwrap().unwrap();
        assert_eq!((instance.status, instance.cpus, instance.ssh_port), (Status::Broken, 4, 60022));
        assert_eq!(instance.errors, ["host agent is running but driver is not"]);
        assert_eq!(Instance::parse("").unwrap(), None);
        let unknown = Instance::parse("::mvm::\nSTATUS=\nDIR=/x\nSSH_PORT=0\n").unwrap().unwrap();
        assert_eq!(unknown.status, Status::Unknown(String::new()));
    }

    #[test]
    fn long_homes_are_refused_with_their_excess() {
        assert_eq!(check_home(Path::new("/Users/someone/.lima"), Os::MacOs(15, 0)), Ok(()));
        let why = check_home(Path::new(&"x".repeat(80)), Os::Linux).unwrap_err();
        assert!(why.contains("by 3 characters"), "{why}");
    }
}
