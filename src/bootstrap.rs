//! What an administrator does once for the Linux side: packages, a device's mode, ids, a kernel setting.
//! What is shown to the user is what is run.

use crate::script;
use crate::shell::Script;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Installs packages; from `suite` when the default one's do not go with what is installed.
    Packages { packages: Vec<String>, suite: Option<String> },
    /// Lets every user open /dev/net/tun, as udev does elsewhere.
    OpenTun,
    /// Gives `user` 65,536 subordinate ids from `first` on.
    Subids { user: String, first: u32 },
    /// Lifts Ubuntu's AppArmor restriction of user namespaces.
    AllowUserNamespaces,
    /// Lets `user` open /dev/kvm, from the next login on.
    KvmGroup { user: String },
}

impl Task {
    /// What it is, for the question and the progress line.
    pub fn describe(&self) -> String {
        match self {
            Self::Packages { packages, suite: None } => format!("install {}", packages.join(", ")),
            Self::Packages { packages, suite: Some(suite) } => {
                format!("install {} from {suite}", packages.join(", "))
            }
            Self::OpenTun => "let every user open /dev/net/tun".to_owned(),
            Self::Subids { user, .. } => {
                format!("give {user} subordinate ids, which building an image needs")
            }
            Self::KvmGroup { user } => format!("let {user} open /dev/kvm, by its group"),
            Self::AllowUserNamespaces => {
                "lift AppArmor's restriction of user namespaces, which cells need".to_owned()
            }
        }
    }

    /// The commands, as root; each is a line for a shell.
    pub fn commands(&self) -> Vec<String> {
        match self {
            Self::Packages { packages, suite } => {
                let suite = suite.as_ref().map(|suite| format!("-t {suite} ")).unwrap_or_default();
                vec![
                    "apt-get update".to_owned(),
                    format!(
                        "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {suite}{}",
                        packages.join(" ")
                    ),
                ]
            }
            Self::OpenTun => vec![
                "sh -c 'mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200; chmod 0666 /dev/net/tun'"
                    .to_owned(),
            ],
            Self::Subids { user, first } => {
                let ids = format!("{first}-{}", first + 65_535);
                vec![format!("usermod --add-subuids {ids} --add-subgids {ids} {user}")]
            }
            Self::KvmGroup { user } => vec![format!("usermod -aG kvm {user}")],
            Self::AllowUserNamespaces => vec![
                "sh -c 'echo kernel.apparmor_restrict_unprivileged_userns=0 > /etc/sysctl.d/60-mvm.conf'".to_owned(),
                "sysctl -q -e -p /etc/sysctl.d/60-mvm.conf".to_owned(),
            ],
        }
    }

    /// Whether it counts from the next login on.
    pub fn wants_login(&self) -> bool {
        matches!(self, Self::KvmGroup { .. })
    }

    /// The commands as a user would type them.
    pub fn shown(&self) -> String {
        self.commands().iter().map(|command| format!("sudo {command}")).collect::<Vec<_>>().join(" && ")
    }
}

/// From which suite `packages` can be installed beside what is there; nothing means the default.
pub fn choose_suite(packages: &[String]) -> Script<Option<String>> {
    script!("bootstrap/suite", |answer| Ok(answer.text("SUITE").map(str::to_owned))).args(packages)
}

/// Does the tasks, as root.
pub fn admin(tasks: &[Task]) -> Script<()> {
    let lines = tasks
        .iter()
        .flat_map(|task| task.commands().into_iter().flat_map(|command| [task.describe(), command]));
    script!("bootstrap/admin", |_| Ok(())).as_root().args(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_exact() {
        let packages =
            Task::Packages { packages: vec!["passt".into()], suite: Some("bookworm-backports".into()) };
        assert_eq!(
            packages.shown(),
            "sudo apt-get update && sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y \
             --no-install-recommends -t bookworm-backports passt"
        );
        let subids = Task::Subids { user: "dev".into(), first: 165_536 };
        assert_eq!(
            subids.shown(),
            "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 dev"
        );
    }
}
