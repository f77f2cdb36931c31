//! The fault matrix: every command that changes something × each of its steps × all that may befall it there. After each,
//! every command works, the data are there, and nothing is left (aftermath.rs). docs/reliability.md is written from a run:
//! `MVM_MATRIX=all MVM_UPDATE_DOCS=1 cargo test --test it matrix`. Without `MVM_MATRIX` some of the cells are run;
//! `MVM_MATRIX=TEXT` is for those whose name has it.

mod aftermath;
mod fault;
mod host;
mod report;
mod rows;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fault::{Fault, Struck};
use host::{Before, Host, Vmm};
use report::{Done, Outcome};
use rows::{EXCUSED_COMMANDS, EXCUSED_PLACES, PORT, ROWS, Row};

use crate::common::process::{command_line, kill, lives, wait_until};
use crate::common::{install, said, skipped};

/// A place in the matrix.
#[derive(Clone, Copy)]
struct Cell {
    row: &'static Row,
    place: &'static str,
    fault: Fault,
}

impl Cell {
    fn name(&self) -> String {
        format!(
            "{} from {}, at {}: {}",
            self.row.command.join(" "),
            self.row.from(),
            self.place,
            self.fault.title()
        )
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for row in ROWS {
        for &place in row.places {
            let faults = Fault::ALL.into_iter().filter(|fault| row.has(place, *fault));
            cells.extend(faults.map(|fault| Cell { row, place, fault }));
        }
    }
    cells
}

/// Those of this run.
fn chosen(wanted: &str) -> Vec<Cell> {
    let (all, not_here): (Vec<_>, Vec<_>) = cells().into_iter().partition(|cell| cell.row.vmm.can_be());
    if !not_here.is_empty() {
        skipped("the matrix' rows of Firecracker: they need root, x86-64 and a /dev/kvm");
    }
    match wanted {
        "all" => all,
        // Of each row, place and fault some.
        "" => all.into_iter().step_by(SHARE).collect(),
        text => all.into_iter().filter(|cell| cell.name().contains(text)).collect(),
    }
}

/// Of so many cells one is in each run. A prime, so that it is not always the same fault.
const SHARE: usize = 13;

/// The library that sets a program's clock, where it is installed.
fn faketime() -> Option<String> {
    install(&[("faketime", "faketime")]);
    let dir = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    Path::new(&dir).exists().then_some(dir)
}

/// That library leaves what its processes share where those are killed, and a later one of the same PID fails for it.
fn forget_the_shared() {
    for file in fs_err::read_dir("/dev/shm").unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let pid = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|prefix| name.strip_prefix(prefix));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Two cells may come to the same one.
            fs_err::remove_file(file.path()).ok();
        }
    }
}

/// A command that is struck in the midst. Nothing where there is nothing to strike.
fn strike(host: &Host, cell: &Cell, port: usize) -> Result<Option<Outcome>, String> {
    let ports = format!("{}:80", 28_000 + port);
    let args: Vec<&str> =
        cell.row.command.iter().map(|word| if *word == PORT { ports.as_str() } else { word }).collect();
    let (reached, passed) = (host.path("at/reached"), host.path("at/reached.passed"));
    let mut command = host.command(&args);
    command.env("MVM_CHECKPOINT", format!("{}={}", cell.place, reached.display()));
    if matches!(cell.fault, Fault::ClockAhead | Fault::ClockBack) {
        let Some(library) = faketime() else { return Ok(None) };
        forget_the_shared();
        fs_err::write(host.path("clock"), "+0\n").unwrap();
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", host.path("clock"))
            .env("FAKETIME_NO_CACHE", "1")
            // Debian 12's does not know this one.
            .env("FAKETIME_DISABLE_SHM", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    let (mut mvm, files) = host::start(&mut command);
    let deadline = Instant::now() + Duration::from_mins(2);
    while !reached.exists() {
        let over = mvm.try_wait().unwrap().is_some();
        if Instant::now() > deadline || (over && !waits_for(|| reached.exists())) {
            mvm.kill().ok();
            let output = host::end((mvm, files), cell.place)?;
            return Err(format!(
                "it never came to {}: {}",
                cell.place,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let at = fs_err::read_to_string(&reached).unwrap().trim().parse().unwrap();
    let mut second = None;
    let done = match cell.fault {
        Fault::TwoAtOnce => {
            let mut other = host::start(&mut host.command(&args));
            // It waits for the first, or has nothing to wait for.
            waits_for(|| other.0.try_wait().unwrap().is_some());
            second = Some(other);
            true
        }
        Fault::Cut if cell.place == "sends image/pack" => {
            let file = fs_err::OpenOptions::new().write(true).open(host.path("app.tar")).unwrap();
            file.set_len(5_000).unwrap();
            true
        }
        fault => fault.strike(host, &mut Struck { mvm: &mut mvm, at }),
    };
    fs_err::write(&passed, "").unwrap();
    let output = host::end((mvm, files), &cell.name())?;
    // A script goes on without mvm, and may be making a machine still.
    wait_until("the end of the script", || !lives(at));
    if let Some(second) = second {
        let _ = host::end(second, &cell.name())?;
    }
    make_archive(host);
    Ok(done.then(|| Outcome::of(output.status)))
}

/// A while, for what need not come about.
fn waits_for(mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..50 {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// What `image import` takes.
fn make_archive(host: &Host) {
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["bin/sh", "etc/passwd"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(8_000);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, &[b'x'; 8_000][..]).unwrap();
    }
    fs_err::write(host.path("app.tar"), tar.into_inner().unwrap()).unwrap();
}

fn run(host: &Host, cell: &Cell, number: usize) -> Result<Option<Outcome>, String> {
    make_archive(host);
    host.prepare(cell.row.vmm, cell.row.before)?;
    if cell.row.command.starts_with(&["image", "rm"]) {
        let _ = host.ok(&["image", "import", "app.tar", "--as", "app"])?;
    }
    let outcome = strike(host, cell, number)?;
    if outcome.is_some() {
        aftermath::check(host, cell.row, number.is_multiple_of(2))?;
    }
    Ok(outcome)
}

#[test]
fn whatever_happens_at_each_step_the_next_command_converges() {
    let wanted = std::env::var("MVM_MATRIX").unwrap_or_default();
    let cells = chosen(&wanted);
    assert!(!cells.is_empty(), "no cell is called {wanted}");
    if faketime().is_none() {
        skipped("the matrix' columns of the clock: libfaketime is not installed");
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // Most of a cell is waiting.
    let workers = 3 * std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let Some(mut host) = Host::new() else { return };
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(number) else { return };
                    let began = Instant::now();
                    let result = run(&host, cell, number);
                    if !matches!(result, Ok(Some(_))) {
                        // What it left is not the next one's.
                        host.end_all();
                    }
                    if !wanted.is_empty() {
                        said(&format!("{} ({} ms): {result:?}", cell.name(), began.elapsed().as_millis()));
                    }
                    if result.is_err() {
                        host.renew_stranger();
                    }
                    done.lock().unwrap().push(Done { cell: *cell, result });
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    let failed: Vec<_> = done
        .iter()
        .filter_map(|done| Some(format!("{}\n    {}", done.cell.name(), done.result.as_ref().err()?)))
        .collect();
    if ["", "all"].contains(&wanted.as_str())
        && std::env::var_os("MVM_UPDATE_DOCS").is_some()
        && !done.is_empty()
    {
        report::write(&done, self::cells().len());
    }
    assert!(failed.is_empty(), "{} of {} cells:\n{}", failed.len(), done.len(), failed.join("\n"));
}

#[test]
fn a_fork_whose_names_another_one_took_removes_none_of_its_machines() {
    let Some(host) = Host::new() else { return };
    host.prepare(Vmm::Qemu, Before::Running).unwrap();
    let reached = host.path("at/reached");
    let mut command = host.command(&["fork", "web", "-n", "2", "--", "true"]);
    command.env("MVM_CHECKPOINT", format!("sends microvm/fork={}", reached.display()));
    let second = host::start(&mut command);
    wait_until("the second fork", || reached.exists());
    host.ok(&["fork", "web", "-n", "2"]).unwrap();
    fs_err::write(host.path("at/reached.passed"), "").unwrap();
    let output = host::end(second, "the second fork").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("there is a machine `web-1` already"), "{said}");
    for name in ["web-1", "web-2"] {
        host.ok(&["exec", name, "--", "true"]).unwrap();
    }
    host.end_all();
}

#[test]
fn every_place_is_in_the_matrix() {
    let mut known: BTreeSet<String> =
        mvm::checkpoint::IN_SCRIPTS.iter().map(|&name| name.to_owned()).collect();
    // Those of the scripts are all there are.
    let mut in_scripts = BTreeSet::new();
    for file in crate::scripts::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/scripts")) {
        let text = fs_err::read_to_string(&file).unwrap();
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("checkpoint "));
        in_scripts.extend(names.map(str::to_owned));
    }
    assert_eq!(known, in_scripts, "src/checkpoint.rs lists the places of the scripts");
    known.extend(mvm::checkpoint::SENT.iter().map(|script| format!("sends {script}")));
    let rows = ROWS.iter().flat_map(|row| row.places).copied();
    let tried: BTreeSet<String> =
        rows.chain(EXCUSED_PLACES.iter().map(|(place, _)| *place)).map(str::to_owned).collect();
    assert_eq!(known, tried, "each place is in a row, or excused");
}

#[test]
fn every_script_is_one_that_changes_something_or_only_reads() {
    const READ: &[&str] = &[
        "bootstrap/suite",
        "gc/list",
        "golden/list",
        "image/export",
        "image/unpack",
        "lima/clock",
        "look",
        "microvm/access",
        "microvm/awake",
        // It is started beside the others, and does what microvm/destroy does.
        "microvm/leash",
        "microvm/timeline",
        "microvm/top",
        "microvm/traffic",
        "microvm/why",
        "names",
        "snapshot/diff",
        "snapshot/list",
        "verify/host",
        "verify/machine",
    ];
    let used = crate::scripts::uses(&crate::scripts::sources());
    let used: BTreeSet<&str> =
        used.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "a/b").collect();
    let known: BTreeSet<&str> = READ.iter().chain(mvm::checkpoint::SENT).copied().collect();
    assert_eq!(used, known, "src/checkpoint.rs lists the scripts that change something");
}

#[test]
fn every_command_is_in_the_matrix() {
    let command = mvm::cli::command();
    for sub in command.get_subcommands() {
        let name = sub.get_name();
        let tried = ROWS.iter().any(|row| row.command[0] == name);
        let excused = EXCUSED_COMMANDS.iter().any(|(excused, _)| *excused == name);
        assert!(tried != excused, "`mvm {name}` is in the matrix, or excused");
    }
}

#[test]
fn the_report_is_of_this_matrix() {
    report::is_of(&cells());
}

/// A VMM that its guest took over neither fills mvm's memory nor steers the terminal, and what it says of itself is not believed.
#[test]
fn a_hostile_vmm_is_suspended_and_resumed_as_it_was_started() {
    let Some(host) = Host::new() else { return };
    host.prepare(host::Vmm::Qemu, host::Before::Running).unwrap();
    let vmm = host.pid("vmm").unwrap();
    kill("USR1", vmm);
    wait_until("another command line", || command_line(vmm).contains("/etc/shadow"));
    let seen = host.mvm(&["suspend", "web"]).unwrap();
    assert!(seen.code == 1 && seen.stderr.contains("xxxx"), "{seen}");
    assert!(seen.stderr.len() < 2_000 && !seen.stderr.contains(['\x1b', '\x07']), "{seen}");
    for command in ["suspend", "resume"] {
        let _ = host.ok(&[command, "web"]).unwrap();
    }
    assert!(command_line(host.pid("vmm").unwrap()).contains("qemu-system"));
}

/// As one that is emulated, on a busy host.
#[test]
fn a_guest_without_a_timer_is_started_once_more() {
    let Some(host) = Host::new() else { return };
    host.prepare(host::Vmm::Qemu, host::Before::Nothing).unwrap();
    let seen = host.ok(&["start", "busy", "-d", "--disk", "64M", "--memory", "128M"]).unwrap();
    assert_eq!(seen.stderr.matches("once more").count(), 1, "{seen}");
    let _ = host.ok(&["stop", "busy"]).unwrap();
    assert!(!host.machine("busy").join("initrd.new").exists());
}

/// The short form of benches/soak.sh, with machines that are up at once; tests/vm has real ones.
#[test]
fn much_use_leaves_nothing_behind() {
    let Some(host) = Host::new() else { return };
    let soak = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/soak.sh");
    let mut command = host.program("bash", &["-s", "--", "5", "5", "30", "50"]);
    command.env("MVM", env!("CARGO_BIN_EXE_mvm")).stdin(fs_err::File::open(soak).unwrap().into_parts().0);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
