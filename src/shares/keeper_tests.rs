use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A machine whose sessions tell of themselves in a file, and are mounted until their input or they end.
struct Fake {
    begun: PathBuf,
    mounts: Vec<MountSpec>,
    ready: Sender<()>,
}

impl Machine for Fake {
    fn session(&self, _: &MountSpec) -> Call {
        let line = "echo $$ >>\"$0\"; echo mvm: mounted >&2; exec cat";
        Call::new(["sh".into(), "-c".into(), line.into(), self.begun.clone().into_os_string()])
    }

    fn say_ready(&mut self) {
        self.ready.send(()).unwrap_or_default();
    }

    fn runs(&mut self) -> Runs {
        Runs::Yes(self.mounts.clone())
    }
}

fn place(state: &Path) -> Place {
    Place::new(state, "test", &"web".parse().unwrap())
}

/// Starts a keeper; returns when it says that it can be asked.
fn start(state: &Path) -> Receiver<()> {
    let ((ready, is_ready), (end, ended)) = (channel(), channel());
    let (place, begun) = (place(state), state.join("begun"));
    let mounts = vec![format!("{}:/work", state.display()).parse().unwrap()];
    std::thread::spawn(move || {
        keep(&place, &mut Fake { begun, mounts, ready }).unwrap();
        end.send(()).unwrap_or_default();
    });
    is_ready.recv().unwrap();
    ended
}

/// The processes of the sessions that were begun.
fn begun(state: &Path) -> Vec<String> {
    let text = fs_err::read_to_string(state.join("begun")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn states(state: &Path) -> Option<Vec<State>> {
    let mounts = vec![format!("{}:/work", state.display()).parse().unwrap()];
    let statuses = place(state).ask(&Request::Share(mounts)).unwrap()?;
    Some(statuses.iter().map(|status| status.state).collect())
}

fn end(state: &Path, ended: &Receiver<()>) {
    place(state).ask(&Request::Share(Vec::new())).unwrap();
    ended.recv().unwrap();
}

#[test]
fn of_many_that_begin_at_once_one_keeps_and_all_can_ask_it() {
    let state = tempfile::tempdir().unwrap();
    let keepers: Vec<_> = std::thread::scope(|scope| {
        let many: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let ended = start(state.path());
                    // Whoever was told so can ask.
                    assert_eq!(states(state.path()), Some(vec![State::Mounted]));
                    ended
                })
            })
            .collect();
        many.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(begun(state.path()).len(), 1);
    place(state.path()).ask(&Request::Share(Vec::new())).unwrap();
    for ended in &keepers {
        ended.recv().unwrap();
    }
    assert!(!place(state.path()).lock().exists() && !place(state.path()).socket().exists());
}

#[test]
fn a_keeper_whose_machine_was_removed_leaves_the_next_of_that_name_alone() {
    let state = tempfile::tempdir().unwrap();
    let first = start(state.path());
    assert_eq!(states(state.path()), Some(vec![State::Mounted]));
    // As `mvm destroy` does; a machine of the same name is made at once, and runs.
    place(state.path()).forget();
    let second = start(state.path());
    assert_eq!(states(state.path()), Some(vec![State::Mounted]));
    let sessions = begun(state.path());
    let [old, _] = sessions.as_slice() else { panic!("{sessions:?}") };
    // The first machine's session ends: with it the first keeper, and neither takes what is the second one's.
    let killed = crate::shell::run(&Call::new(["kill", old]), &mut |_| {}).unwrap();
    assert!(killed.status.success());
    first.recv().unwrap();
    assert_eq!(begun(state.path()), sessions);
    assert_eq!(states(state.path()), Some(vec![State::Mounted]));
    end(state.path(), &second);
}
