//! Images of others: of a real registry, of files that real tools write; and what boots of them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mvm::digest::Sha256;

use crate::common::tunnel::Tunnel;
use crate::common::{install, is_root, skipped, which};
use crate::host::{Host, Seen, any_host, wait_until};

/// The tools that make the images; `None` where they are missing, which is said.
fn tools() -> Option<()> {
    let tools = ["umoci", "skopeo", "docker-registry", "busybox", "unsquashfs", "musl-gcc"].map(|program| {
        match program {
            "busybox" => (program, "busybox-static"),
            "unsquashfs" => (program, "squashfs-tools"),
            "musl-gcc" => (program, "musl-tools"),
            _ => (program, program),
        }
    });
    install(&tools);
    let missing: Vec<_> = tools.iter().filter(|(program, _)| which(program).is_none()).collect();
    if missing.is_empty() {
        return Some(());
    }
    skipped(&format!("images of others: {missing:?} are not installed"));
    None
}

/// A folder that the other user can read.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), "chmod 0755 .");
    dir
}

fn sh(dir: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-euc", line]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A program that says where it is, what it got, and ends with 7.
const PROGRAM: &str = r#"cat >app.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int n, char **words) {
  char here[4096];
  printf("%s in %s with %s\n", n > 1 ? words[1] : "nothing", getcwd(here, sizeof here), getenv("GREETING"));
  return 7;
}
C"#;

/// A registry, until it is dropped.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, "", "")
    }

    /// `more` of its configuration, and of its part `http`.
    fn start_with(dir: &Path, more: &str, http: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{more}http: {{addr: '{address}'{http}}}\n",
            dir.join("registry").display()
        );
        fs_err::write(dir.join("registry.yml"), config).unwrap();
        let log = fs_err::File::create(dir.join("registry.log")).unwrap().into_parts().0;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("registry.yml"))
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        wait_until("the registry", || std::net::TcpStream::connect(&address).is_ok());
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Removes an image, and those of that name which an earlier run may have left.
fn forget(host: &Host, image: &str) {
    while host.mvm(&["image", "rm", image]).code == 0 {}
}

#[test]
fn a_static_program_alone_is_an_image() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    let dir = folder();
    sh(dir.path(), &format!("{PROGRAM}\nmkdir -p tree/work; musl-gcc -static -O1 -o tree/app app.c"));
    sh(
        dir.path(),
        "umoci init --layout oci; umoci new --image oci:app; umoci insert --rootless --image oci:app tree/app /app; \
         umoci insert --rootless --image oci:app tree/work /work; \
         umoci config --image oci:app --config.env 'GREETING=a \"b\" $c' --config.workingdir /work --config.cmd /app",
    );
    let registry = Registry::start(dir.path());
    let image = format!("{}/test/app:1", registry.address);
    sh(dir.path(), &format!("skopeo copy -q --dest-tls-verify=false oci:oci:app docker://{image}"));

    host.forget("alone");
    let seen = host.mvm(&["dev", "alone", "--image", &image, "--", "/app", "called"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (7, "called in /work with a \"b\" $c\n"), "{seen}");
    let seen = host.mvm(&["exec", "alone", "--", "/app", "a  b"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (7, "a  b in /work with a \"b\" $c\n"), "{seen}");
    host.ok(&["cp", "alone:/app", &host_path(&host, "app.back")]);
    // The very same needs no download, and a second machine no copy.
    let seen = host.ok(&["image", "pull", &image]);
    assert!(seen.stderr.contains("is up to date"), "{seen}");
    host.forget("alone2");
    let seen = host.mvm(&["--offline", "dev", "alone2", "--image", &image, "--", "/app"]);
    assert_eq!(seen.code, 7, "{seen}");
    host.ok(&["destroy", "alone2", "--yes"]);
    // Used by a machine, it stays.
    let seen = host.mvm(&["image", "rm", &image]);
    assert!(seen.code == 1 && seen.stderr.contains("is used by alone"), "{seen}");
    let seen = host.ok(&["stop", "alone"]);
    assert!(!seen.stderr.contains("force"), "{seen}");
    host.ok(&["destroy", "alone", "--yes"]);
    forget(&host, &image);
}

/// With certificates and a login of its own, behind a proxy: as companies have it.
#[test]
fn a_registry_with_a_login_behind_a_proxy() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    install(&[("openssl", "openssl"), ("htpasswd", "apache2-utils")]);
    if which("htpasswd").is_none() {
        return skipped("a registry with a login: htpasswd is not installed");
    }
    let dir = folder();
    sh(
        dir.path(),
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -addext basicConstraints=critical,CA:TRUE
         openssl req -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=registry
         echo subjectAltName=DNS:registry.mvm.invalid >names
         openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out pem -extfile names
         htpasswd -Bbn joe secret >passwords; mkdir tree login; echo hello >tree/file
         echo '{\"auths\":{\"registry.mvm.invalid\":{\"auth\":\"'$(printf joe:secret | base64)'\"}}}' >login/config.json
         chmod 0755 login; chmod 0644 ca.pem login/config.json
         umoci init --layout oci; umoci new --image oci:x; umoci insert --rootless --image oci:x tree /",
    );
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let login = format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", path("passwords"));
    let tls = format!(", tls: {{certificate: {}, key: {}}}", path("pem"), path("key.pem"));
    let registry = Registry::start_with(dir.path(), &login, &tls);
    let to = format!("docker://{}/team/app:1", registry.address);
    sh(dir.path(), &format!("skopeo copy -q --dest-tls-verify=false --dest-creds joe:secret oci:oci:x {to}"));
    let proxy = Tunnel::start(&registry.address);
    let image = "registry.mvm.invalid/team/app:1";
    let pull = |settings: &[(&str, &str)]| {
        let args = ["image", "pull", image];
        let mut command = host.mvm_command(&args);
        command.env("MVM_RETRIES", "0").env("HTTPS_PROXY", proxy.url());
        Seen::new(&args, command.envs(settings.iter().copied()).output().unwrap())
    };
    let (ca, login) = (path("ca.pem"), path("login"));
    let (trusts, knows) = (("MVM_CA_FILE", ca.as_str()), ("DOCKER_CONFIG", login.as_str()));
    for (settings, part) in [
        (&[knows][..], "certificate"),
        (&[trusts], "without a login"),
        (&[trusts, knows, ("NO_PROXY", "mvm.invalid")], "cannot reach"),
    ] {
        let seen = pull(settings);
        assert!(seen.code == 1 && seen.stderr.contains(part), "{part}: {seen}");
    }
    let seen = pull(&[trusts, knows]);
    assert!(seen.code == 0 && seen.stderr.contains("is there"), "{seen}");
    assert!(proxy.asked().iter().all(|line| line == "CONNECT registry.mvm.invalid:443 HTTP/1.1"));
    forget(&host, image);
}

/// A path that the user who runs mvm may write to.
fn host_path(host: &Host, name: &str) -> String {
    host.home.join(name).to_string_lossy().into_owned()
}

#[test]
fn musl_and_a_shell_are_an_image() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    let dir = folder();
    sh(
        dir.path(),
        &format!(
            "{PROGRAM}\nmkdir -p tree/bin tree/lib tree/etc; musl-gcc -O1 -o tree/bin/app app.c; \
             cp /lib/ld-musl-*.so.1 tree/lib/; cp -L \"$(command -v busybox)\" tree/bin/busybox; \
             for name in sh ls id reboot sleep grep cat; do ln -s busybox tree/bin/$name; done; \
             mkdir tree/sbin; ln -s /bin/busybox tree/sbin/init; \
             printf 'root:x:0:0:root:/root:/bin/sh\\nweb:x:1000:1000::/:/bin/sh' >tree/etc/passwd; \
             tar -C tree --owner=0 --group=0 -czf musl.tar.gz ."
        ),
    );
    let file = dir.path().join("musl.tar.gz");
    host.forget("musl");
    forget(&host, "musl");
    host.ok(&["image", "import", file.to_str().unwrap(), "--as", "musl"]);
    // A user is made without any tool of the image's, beside the one that it has.
    let line = "app one; echo $?; id; ls /etc/passwd";
    let seen = host.mvm(&["dev", "musl", "--image", "musl", "--user", "me", "--", line]);
    assert_eq!(
        seen.stdout,
        "one in /home/me with (null)\n7\nuid=1001(me) gid=1001(me) groups=1001(me)\n/etc/passwd\n",
        "{seen}"
    );
    let seen = host.mvm(&["ssh", "musl", "-u", "root", "--", "app one; id -un"]);
    assert_eq!(seen.stdout, "one in /root with (null)\nroot\n", "{seen}");
    let id = host.ok(&["exec", "musl", "-u", "web", "--", "id", "-un"]).stdout;
    assert_eq!(id, "web\n");
    // An init that would start gettys alone is none: PID 1 is mvm's, and reaps what nobody waits for.
    let line = "cat /proc/1/comm; (sleep 0.1 &); sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null || echo none";
    let seen = host.ok(&["exec", "musl", "-u", "root", "--", "sh", "-c", line]);
    assert_eq!(seen.stdout, "pid1\nnone\n", "{seen}");
    // The image's own `reboot` ends the machine as mvm's stop does.
    host.mvm(&["exec", "musl", "-u", "root", "--", "reboot"]);
    wait_until("the end of the machine", || host.status("musl")["state"] == "stopped");
    host.ok(&["destroy", "musl", "--yes"]);
    forget(&host, "musl");
}

/// A tree with systemd, as a `docker save` would have it: that of the image `debian`, without its SSH server.
#[test]
fn systemd_is_an_image() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    if !is_root() {
        return skipped("an image with systemd: unpacking one needs root");
    }
    let dir = folder();
    let images = host.ok(&["image", "ls", "--json"]).stdout;
    let images: serde_json::Value = serde_json::from_str(&images).unwrap();
    let debian = images.as_array().unwrap().iter().find(|image| image["name"] == "debian:bookworm").unwrap();
    let base = PathBuf::from(debian["folder"].as_str().unwrap()).join("base");
    sh(
        dir.path(),
        &format!(
            "unsquashfs -q -n -d tree '{}' >&2; rm -rf tree/usr/sbin/sshd tree/usr/lib/modules tree/usr/share/man; \
             tar -C tree -cf layer.tar . --xattrs; rm -rf tree",
            base.display()
        ),
    );
    let diff_id = Sha256::of_file(&dir.path().join("layer.tar")).unwrap();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Env":["FLAVOUR=systemd"]}},"rootfs":{{"diff_ids":["sha256:{diff_id}"]}}}}"#,
        if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }
    );
    fs_err::write(dir.path().join("config.json"), config).unwrap();
    let manifest = r#"[{"Config":"config.json","RepoTags":["x:1"],"Layers":["layer.tar"]}]"#;
    fs_err::write(dir.path().join("manifest.json"), manifest).unwrap();
    sh(dir.path(), "tar -cf saved.tar manifest.json config.json layer.tar; rm layer.tar");
    let file = dir.path().join("saved.tar");
    host.forget("sysd");
    forget(&host, "sysd");
    host.ok(&["image", "import", file.to_str().unwrap(), "--as", "sysd"]);
    let seen = host.ok(&["dev", "sysd", "--image", "sysd", "--", "echo $FLAVOUR; cat /proc/1/comm"]);
    assert!(seen.stdout.starts_with("systemd\n"), "{seen}");
    let state =
        host.mvm(&["ssh", "sysd", "--", "until systemctl is-system-running --wait 2>/dev/null | grep .; do sleep 0.2; done; cat /proc/1/comm"]).stdout;
    assert_eq!(state, "running\nsystemd\n");
    // The modules of the kernel that it was given.
    host.inside("sysd", "modprobe dummy && test -e /sys/module/dummy");
    host.ok(&["stop", "sysd"]);
    host.ok(&["destroy", "sysd", "--yes"]);
    forget(&host, "sysd");
}

/// Layers with all that layers may hold come to what umoci makes of them.
#[test]
fn a_base_is_what_umoci_unpacks() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    if !is_root() {
        return skipped("a base compared with umoci's: it needs root");
    }
    install(&[("getfattr", "attr"), ("setcap", "libcap2-bin")]);
    let dir = folder();
    sh(
        dir.path(),
        r#"umoci init --layout oci; umoci new --image oci:x; umoci unpack --image oci:x bundle; root=bundle/rootfs
mkdir -p $root/etc/gone $root/opaque/old $root/dev "$root/a name/$(printf 'not\377utf8')" $root/tmp
echo one >$root/etc/one; echo gone >$root/etc/gone/file; echo old >$root/opaque/old/file; echo text >$root/linked
ln $root/linked $root/second; ln -s ../../outside $root/link; ln -s /absolute $root/absolute
mknod $root/dev/zero c 1 5; mkfifo $root/fifo; truncate -s 50M $root/sparse; echo end >>$root/sparse
chown 1234:4321 $root/etc/one; chmod 4755 $root/linked; chmod 1777 $root/tmp
cp /bin/true $root/capable; setcap cap_net_raw+ep $root/capable; setfattr -n user.note -v kept $root/etc/one
for n in $(seq 2000); do : >"$root/a name/$n"; done
umoci repack --image oci:x bundle; rm -rf bundle; umoci unpack --image oci:x bundle
rm -rf $root/etc/gone $root/opaque; mkdir $root/opaque; echo new >$root/opaque/new; echo two >$root/etc/one
ln $root/second $root/third; rm $root/absolute; mkdir $root/absolute; touch -d @1000000000 $root/etc/one
umoci repack --image oci:x bundle; rm -rf bundle; umoci unpack --image oci:x bundle; chmod -R a+rX oci"#,
    );
    let layout = dir.path().join("oci");
    forget(&host, "compared");
    host.ok(&["image", "import", layout.to_str().unwrap(), "--as", "compared"]);
    let seen = host.ok(&["image", "inspect", "compared"]);
    let image: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
    sh(dir.path(), &format!("unsquashfs -q -n -d ours '{}/base' >&2", image["folder"].as_str().unwrap()));
    let tree = |root: &str| {
        sh(
            &dir.path().join(root),
            r"find . -mindepth 1 \( -type d -printf '%P|%y|%m|%U:%G|%l|%T@\n' -o -printf '%P|%y|%m|%U:%G|%s|%n|%l|%T@\n' \) |
              LC_ALL=C sed 's/\.0000000000$//' | LC_ALL=C sort | base64 -w 0; echo
              find . -type f -exec sha256sum {} + | LC_ALL=C sort | base64 -w 0; echo
              getfattr -R -h -d -m - . | base64 -w 0; find dev -printf '%P ' -exec stat -c '%t:%T' {} \;",
        )
    };
    let (theirs, ours) = (tree("bundle/rootfs"), tree("ours"));
    for (theirs, ours) in theirs.lines().zip(ours.lines()) {
        if theirs != ours {
            let plain = |text: &str| sh(dir.path(), &format!("echo {text} | base64 -d"));
            assert_eq!(plain(theirs), plain(ours));
        }
    }
    assert_eq!(theirs, ours);
    forget(&host, "compared");
}

/// What was exported is the same image where there is no network.
#[test]
fn an_export_is_imported_without_a_network() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    let dir = folder();
    sh(
        dir.path(),
        "mkdir -p tree/bin; cp -L \"$(command -v busybox)\" tree/bin/busybox; tar -C tree -cf b.tar .",
    );
    let tar = dir.path().join("b.tar");
    host.forget("again");
    for image in ["first", "again"] {
        forget(&host, image);
    }
    host.ok(&["image", "import", tar.to_str().unwrap(), "--as", "first"]);
    let file = host_path(&host, "first.mvm");
    fs_err::remove_file(&file).unwrap_or_default();
    host.ok(&["image", "export", "first", "-o", &file]);
    host.ok(&["image", "rm", "first"]);
    let seen = host.ok(&["--offline", "image", "import", &file]);
    assert!(seen.stderr.contains("The image `first` is there"), "{seen}");
    host.ok(&["--offline", "image", "import", &file, "--as", "again"]);
    let seen =
        host.ok(&["--offline", "dev", "again", "--image", "again", "--", "/bin/busybox", "uname", "-n"]);
    assert_eq!(seen.stdout, "again\n");
    host.ok(&["destroy", "again", "--yes"]);
    // Cut off or changed it is refused, and nothing of it stays.
    forget(&host, "again");
    sh(dir.path(), &format!("truncate -s -100000 '{file}'"));
    let seen = host.mvm(&["image", "import", &file, "--as", "again"]);
    assert!(seen.code == 1 && seen.stderr.contains("it is cut off"), "{seen}");
    let listed = host.ok(&["image", "ls"]).stdout;
    assert!(!listed.contains("again"), "{listed}");
    forget(&host, "first");
    fs_err::remove_file(&file).unwrap();
}

/// Killed at its longest step: nothing looks like an image then, and the next one works.
#[test]
fn a_cut_off_import_leaves_no_image() {
    let (host, Some(())) = (any_host(), tools()) else { return };
    let dir = folder();
    sh(
        dir.path(),
        "mkdir -p tree/bin tree/many; cp -L \"$(command -v busybox)\" tree/bin/busybox; head -c 60M /dev/urandom >tree/noise; \
         (cd tree/many; mkdir $(seq 100); for folder in *; do (cd $folder; touch $(seq 1000)); done); tar -C tree -cf b.tar .",
    );
    let file = dir.path().join("b.tar").to_string_lossy().into_owned();
    let import = ["image", "import", &file, "--as", "cutoff"];
    let is_there = || host.ok(&["image", "ls"]).stdout.contains("cutoff");
    host.forget("cutoff");
    forget(&host, "cutoff");
    let mut child = host.mvm_command(&import).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("==> Compressing")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_there());
    host.ok(&import);
    assert!(is_there());
    let seen = host.ok(&[
        "dev",
        "cutoff",
        "--image",
        "cutoff",
        "--",
        "/bin/busybox ls /many/7 | /bin/busybox wc -l",
    ]);
    assert_eq!(seen.stdout, "1000\n");
    host.ok(&["destroy", "cutoff", "--yes"]);
    forget(&host, "cutoff");
}
