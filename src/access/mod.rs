//! What lets other tools into machines: for each a folder on this host with its key, its pinned host key, and the lines
//! that make `ssh mvm-NAME` work. Copies, since on a Mac the machine's own are inside the Lima VM.

mod include;

use std::fmt::Write;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use include::Include;

use crate::disk;
use crate::microvm::{MachineName, Spec, ssh};
use crate::script;
use crate::shell::{Script, quote};

/// What one machine is entered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Who one is there.
    pub user: String,
    /// The private key that may enter.
    pub client: String,
    /// A `known_hosts` of one line.
    pub known_hosts: String,
}

/// Reads the keys of machines; a machine without them is left out.
pub fn keys(names: &[MachineName]) -> Script<Vec<(MachineName, Keys)>> {
    let script = script!("microvm/access", |answer| {
        let text = |line: &str| line.replace('\t', "\n");
        let machines = answer.all("MACHINE").filter_map(|name| {
            let of = |fact: &str| answer.text(&format!("{fact}.{name}")).map(text);
            let spec = of("SPEC").and_then(|text| Spec::parse(&text).ok());
            let user = spec.and_then(|spec| spec.user).map_or("root".to_owned(), |user| user.to_string());
            let keys = Keys { user, client: of("CLIENT_KEY")?, known_hosts: of("KNOWN_HOSTS")? };
            Some((name.parse().ok()?, keys))
        });
        Ok(machines.collect())
    });
    script.args(names.iter().map(MachineName::as_str))
}

/// How ssh is told to run mvm: from anywhere, with none of the caller's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub program: PathBuf,
    /// `--host`.
    pub host: &'static str,
    /// MVM_HOME, where it is not the default.
    pub home: Option<String>,
}

impl Caller {
    /// The line of `ProxyCommand`, in which `%` has a meaning of its own.
    fn proxy_command(&self, name: &MachineName) -> String {
        let mut words: Vec<String> = Vec::new();
        if let Some(home) = &self.home {
            words.extend(["env".to_owned(), format!("MVM_HOME={home}")]);
        }
        words.push(self.program.display().to_string());
        words.extend(["--host", self.host, "proxy", name.as_str()].map(str::to_owned));
        let quoted: Vec<_> =
            words.iter().map(|word| String::from_utf8_lossy(&quote(word.as_bytes())).into_owned()).collect();
        quoted.join(" ").replace('%', "%%")
    }
}

/// What a machine's folder holds; the configuration last.
const FILES: [&str; 3] = ["id_ed25519", "known_hosts", "config"];

/// The folder of all machines' access.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Below mvm's own state.
    pub fn new(state: &Path) -> Self {
        Self(state.join("ssh"))
    }

    /// What ssh's own configuration includes.
    pub fn include(&self) -> Include {
        Include::of(&self.0.join("*/config"))
    }

    /// The machine's lines for ssh's configuration.
    pub fn config(&self, name: &MachineName, user: &str, caller: &Caller) -> String {
        let folder = self.0.join(name.as_str());
        let alias = ssh::host_alias(name);
        let file = |name: &str| quoted(&folder.join(name)).replace('%', "%%");
        let mut text = format!("Host {alias}\n");
        for (key, value) in [
            ("HostName", alias.clone()),
            ("User", user.to_owned()),
            ("ProxyCommand", caller.proxy_command(name)),
            ("IdentityFile", file("id_ed25519")),
            ("IdentitiesOnly", "yes".to_owned()),
            ("HostKeyAlias", alias.clone()),
            ("UserKnownHostsFile", file("known_hosts")),
            ("GlobalKnownHostsFile", "/dev/null".to_owned()),
            ("StrictHostKeyChecking", "yes".to_owned()),
            ("CheckHostIP", "no".to_owned()),
            ("ServerAliveInterval", "15".to_owned()),
            ("ServerAliveCountMax", "4".to_owned()),
        ] {
            // A String takes whatever is written.
            writeln!(text, "  {key} {value}").unwrap_or_default();
        }
        text
    }

    /// Writes a machine's folder anew.
    pub fn write(&self, name: &MachineName, keys: &Keys, config: &str) -> io::Result<()> {
        let folder = self.0.join(name.as_str());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        // One that was there before keeps its mode.
        fs_err::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        // The configuration last: what it names is there then.
        for (name, text) in FILES.iter().zip([keys.client.as_str(), &keys.known_hosts, config]) {
            // A temporary file is its owner's alone.
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.persist(folder.join(name))?;
        }
        Ok(())
    }

    /// The machines of this caller's Linux side that there are keys for; what is half-made of one says nobody's.
    pub fn known(&self, caller: &Caller) -> io::Result<Vec<MachineName>> {
        let entries = match fs_err::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(names.filter(|name| self.is_of(name, caller)).collect())
    }

    fn is_of(&self, name: &MachineName, caller: &Caller) -> bool {
        let Ok(config) = fs_err::read_to_string(self.0.join(name.as_str()).join("config")) else {
            return true;
        };
        let written = config.lines().find_map(|line| line.trim_start().strip_prefix("ProxyCommand "));
        // The program may have been another one.
        let words = |line: &str| {
            let mut words = shlex::split(line)?;
            let program = if words.first()? == "env" { 2 } else { 0 };
            (program < words.len()).then(|| words.remove(program))?;
            Some(words)
        };
        written.and_then(words) == words(&caller.proxy_command(name))
    }

    /// Where a machine's are, and what they take of the disk.
    pub fn of(&self, name: &MachineName) -> (PathBuf, u64) {
        let folder = self.0.join(name.as_str());
        let bytes = disk::blocks(&folder);
        (folder, bytes)
    }

    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    pub fn has(&self, name: &MachineName) -> bool {
        self.0.join(name.as_str()).join("config").exists()
    }

    /// Whether there is a folder of the machine's which lacks something, or which others may read.
    pub fn is_damaged(&self, name: &MachineName) -> bool {
        use std::os::unix::fs::MetadataExt;
        let folder = self.0.join(name.as_str());
        let is_open = |path: &Path| fs_err::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0);
        let is_empty = |path: &Path| fs_err::metadata(path).map_or(true, |file| file.len() == 0);
        let mut files = FILES.iter().map(|file| folder.join(file));
        folder.exists() && (is_open(&folder) || files.any(|file| is_empty(&file) || is_open(&file)))
    }

    /// Removes a machine's folder, if there is one.
    pub fn forget(&self, name: &MachineName) -> io::Result<()> {
        gone(fs_err::remove_dir_all(self.0.join(name.as_str())))
    }

    pub fn forget_all(&self) -> io::Result<()> {
        gone(fs_err::remove_dir_all(&self.0))
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// As ssh's configuration wants it. Not every editor that reads the file knows of quotes, so they stand only where they must.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([' ', '\t', '#']) { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn caller() -> Caller {
        Caller { program: "/opt/my tools/100%/mvm".into(), host: "native", home: Some("/srv/m".into()) }
    }

    #[test]
    fn the_lines_for_ssh() {
        let folder = Folder::new(Path::new("/home/me/.local/state/mvm"));
        let config = folder.config(&"web".parse().unwrap(), "root", &caller());
        insta::assert_snapshot!(config, @r"
        Host mvm-web
          HostName mvm-web
          User root
          ProxyCommand env 'MVM_HOME=/srv/m' '/opt/my tools/100%%/mvm' --host native proxy web
          IdentityFile /home/me/.local/state/mvm/ssh/web/id_ed25519
          IdentitiesOnly yes
          HostKeyAlias mvm-web
          UserKnownHostsFile /home/me/.local/state/mvm/ssh/web/known_hosts
          GlobalKnownHostsFile /dev/null
          StrictHostKeyChecking yes
          CheckHostIP no
          ServerAliveInterval 15
          ServerAliveCountMax 4
        ");
        let spaced =
            Folder::new(Path::new("/home/a b/mvm")).config(&"web".parse().unwrap(), "root", &caller());
        assert!(spaced.contains("IdentityFile \"/home/a b/mvm/ssh/web/id_ed25519\"\n"), "{spaced}");
    }

    #[test]
    fn keys_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, name) = (Folder::new(dir.path()), "web".parse().unwrap());
        let keys = Keys { user: "me".into(), client: "secret\n".into(), known_hosts: "known\n".into() };
        for _ in 0..2 {
            folder.write(&name, &keys, "Host mvm-web\n").unwrap();
        }
        let mode = |path: &str| {
            fs_err::metadata(dir.path().join("ssh").join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("web"), mode("web/id_ed25519"), mode("web/config")), (0o700, 0o600, 0o600));
        assert!(folder.has(&name) && !folder.is_damaged(&name));
        let key = dir.path().join("ssh/web/id_ed25519");
        fs_err::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(folder.is_damaged(&name));
        // Those of another MVM_HOME are none of this one's.
        folder.write(&name, &keys, &folder.config(&name, "me", &caller())).unwrap();
        let updated = Caller { program: "/usr/bin/mvm".into(), ..caller() };
        assert_eq!(folder.known(&updated).unwrap(), std::slice::from_ref(&name));
        for other in [Caller { home: None, ..caller() }, Caller { host: "lima", ..caller() }] {
            assert_eq!(folder.known(&other).unwrap(), []);
        }
        assert!(folder.of(&name).1 > 0 && !folder.is_damaged(&name));
        fs_err::write(&key, "").unwrap();
        assert!(folder.is_damaged(&name));
        folder.forget(&name).unwrap();
        folder.forget(&name).unwrap();
        assert!(!folder.has(&name));
    }
}
