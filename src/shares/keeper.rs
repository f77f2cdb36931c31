//! The keeper: one loop that owns what is shared and decides, a thread for each session, one for those who ask.

use std::io::{BufRead, BufReader, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::session::{self, End, Running};
use super::{Place, Request, State, Status};
use crate::lock::Lock;
use crate::microvm::MountSpec;
use crate::shell::Call;

/// How long someone who asked waits for mounts that are under way.
const SETTLING: Duration = Duration::from_mins(1);
/// What cannot be is tried again now and then: a package may have been installed, a folder made.
const RELUCTANCE: Duration = Duration::from_mins(1);
/// How long a Linux side that does not answer is taken to be asleep.
const ABSENCE: Duration = Duration::from_mins(10);

/// The machine, as the keeper sees it.
pub trait Machine {
    /// The session in which it mounts one of its folders.
    fn session(&self, mount: &MountSpec) -> Call;

    /// Tells whoever started the keeper that it can be asked.
    fn say_ready(&mut self);

    fn runs(&mut self) -> Runs;
}

/// Whether a machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// With these folders.
    Yes(Vec<MountSpec>),
    No,
    /// The Linux side does not answer.
    Unknown(String),
}

/// The lock of the one keeper that a machine has; nothing where another one has it, and can be asked. (One that just begins cannot
/// yet, and whoever only looks whether there is one has the lock for a moment as well.)
fn take(place: &Place) -> Result<Option<Lock>> {
    let until = Instant::now() + SETTLING;
    loop {
        if let Some(lock) = Lock::try_file(&place.lock())? {
            return Ok(Some(lock));
        }
        if UnixStream::connect(place.socket()).is_ok() {
            return Ok(None);
        }
        if Instant::now() > until {
            return Err(std::io::Error::other("another keeper has the lock, and does not answer"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Serves the machine's folders until it ends.
pub fn keep(place: &Place, machine: &mut dyn Machine) -> Result<()> {
    super::make_private(&place.folder)?;
    let Some(lock) = take(place)? else {
        machine.say_ready();
        return Ok(());
    };
    let Runs::Yes(mounts) = machine.runs() else {
        place.forget();
        return Ok(());
    };
    fs_err::remove_file(place.socket()).unwrap_or_default();
    // Nobody would miss a keeper that cannot be.
    let listener = UnixListener::bind(place.socket()).inspect_err(|_| place.forget_lock())?;
    let (events, inbox) = channel();
    let sender = events.clone();
    std::thread::spawn(move || listen(&listener, &sender));
    machine.say_ready();
    let mut keeper = Keeper {
        machine,
        is_the_one: &|| lock.is_at(&place.lock()),
        events,
        shares: Vec::new(),
        askers: Vec::new(),
        next: 0,
        let_go: false,
        absent: None,
    };
    keeper.share(&mounts);
    keeper.attend(&inbox);
    // Those who come now find nobody, rather than someone who is leaving. What is there may be another one's by now.
    if (keeper.is_the_one)() {
        place.forget();
    }
    keeper.end(&inbox);
    Ok(())
}

enum Event {
    Asked(Request, UnixStream),
    Mounted(u64),
    Ended(u64, End),
}

fn listen(listener: &UnixListener, events: &Sender<Event>) {
    for stream in listener.incoming().flatten() {
        let mut line = String::new();
        let read = stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .and_then(|()| BufReader::new(&stream).read_line(&mut line));
        if let (Ok(_), Ok(request)) = (read, serde_json::from_str(&line)) {
            events.send(Event::Asked(request, stream)).unwrap_or_default();
        }
    }
}

/// A folder that is to be shared.
struct Share {
    mount: MountSpec,
    /// Of its session, the one that is or the one that was.
    id: u64,
    session: Option<Running>,
    state: State,
    why: Option<String>,
    /// When the state began.
    since: Instant,
    /// How often it broke without having held.
    failures: u32,
    again: Option<Instant>,
    /// It is not wanted any more, and goes when its session has ended.
    leaving: bool,
}

impl Share {
    fn settle(&mut self, state: State, why: Option<String>) {
        (self.state, self.why, self.since) = (state, why, Instant::now());
    }

    fn is_settled(&self) -> bool {
        !self.leaving && self.state != State::Mounting
    }
}

struct Keeper<'a> {
    machine: &'a mut dyn Machine,
    /// Whether this is the machine's keeper. The machine may have been removed, and another one of its name made meanwhile, which
    /// has a keeper of its own: two would take each other's mounts away for ever.
    is_the_one: &'a dyn Fn() -> bool,
    events: Sender<Event>,
    shares: Vec<Share>,
    /// Those who wait until everything is settled, and until when they do.
    askers: Vec<(UnixStream, Instant)>,
    next: u64,
    let_go: bool,
    /// Since when the Linux side does not answer.
    absent: Option<Instant>,
}

/// When a session that broke is begun again: at once where it had held, then ever later.
fn pause(held: bool, failures: u32) -> Duration {
    if held { Duration::ZERO } else { Duration::from_secs(1 << failures.min(5)) }
}

impl Keeper<'_> {
    /// The loop, until nothing is left to be kept.
    fn attend(&mut self, inbox: &Receiver<Event>) {
        while !self.shares.is_empty() {
            let now = Instant::now();
            let next = self.shares.iter().filter_map(|share| share.again);
            let next = next.chain(self.askers.iter().map(|(_, until)| *until)).min();
            let wait = next.map_or(Duration::from_hours(1), |at| at.saturating_duration_since(now));
            let runs_on = match inbox.recv_timeout(wait) {
                Ok(Event::Asked(request, stream)) => self.asked(&request, stream),
                Ok(Event::Mounted(id)) => self.mounted(id),
                Ok(Event::Ended(id, end)) => self.ended(id, end),
                Err(RecvTimeoutError::Timeout) => self.begin_what_is_due(),
                Err(RecvTimeoutError::Disconnected) => false,
            };
            self.answer_askers();
            if !runs_on {
                break;
            }
        }
    }

    /// Ends what is left, and waits for it: its sessions are this process's children.
    fn end(&mut self, inbox: &Receiver<Event>) {
        for share in &mut self.shares {
            share.leaving = true;
            share.session.iter().for_each(session::kill);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while self.shares.iter().any(|share| share.session.is_some()) {
            let Ok(event) = inbox.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                break;
            };
            if let Event::Ended(id, _) = event {
                self.shares.retain(|share| share.id != id);
            }
        }
    }

    fn asked(&mut self, request: &Request, stream: UnixStream) -> bool {
        match request {
            Request::Status => answer(&stream, &self.statuses()),
            Request::Share(mounts) => {
                self.share(mounts);
                self.askers.push((stream, Instant::now() + SETTLING));
            }
            Request::LetGo => {
                self.let_go = true;
                answer(&stream, &self.statuses());
            }
        }
        true
    }

    /// Those who asked for everything are told how it went.
    fn answer_askers(&mut self) {
        let settled = self.shares.iter().all(Share::is_settled);
        let statuses = self.statuses();
        self.askers.retain(|(stream, until)| {
            let due = settled || *until <= Instant::now();
            if due {
                answer(stream, &statuses);
            }
            !due
        });
    }

    fn statuses(&self) -> Vec<Status> {
        let wanted = self.shares.iter().filter(|share| !share.leaving);
        wanted
            .map(|share| Status { mount: share.mount.clone(), state: share.state, why: share.why.clone() })
            .collect()
    }

    /// These, and no others. What is broken is tried at once.
    fn share(&mut self, mounts: &[MountSpec]) {
        self.let_go = false;
        for share in self.shares.iter_mut().filter(|share| !mounts.contains(&share.mount)) {
            share.leaving = true;
            share.session.iter().for_each(session::kill);
        }
        self.shares.retain(|share| !share.leaving || share.session.is_some());
        for mount in mounts {
            let known = self.shares.iter_mut().find(|share| !share.leaving && share.mount == *mount);
            match known {
                Some(share) if share.session.is_none() => share.again = Some(Instant::now()),
                Some(_) => {}
                None => self.shares.push(Share {
                    mount: mount.clone(),
                    id: 0,
                    session: None,
                    state: State::Mounting,
                    why: None,
                    since: Instant::now(),
                    failures: 0,
                    again: Some(Instant::now()),
                    leaving: false,
                }),
            }
        }
        self.begin_what_is_due();
    }

    /// Begins sessions whose time has come. A place in the machine has to be free for the next folder.
    fn begin_what_is_due(&mut self) -> bool {
        if !(self.is_the_one)() {
            return false;
        }
        for index in 0..self.shares.len() {
            let share = &self.shares[index];
            let taken =
                self.shares.iter().any(|other| other.leaving && other.mount.guest == share.mount.guest);
            if share.again.is_none_or(|at| at > Instant::now()) || share.leaving || taken {
                continue;
            }
            self.next += 1;
            let (id, call) = (self.next, self.machine.session(&share.mount));
            let share = &mut self.shares[index];
            let running = Running::default();
            (share.id, share.again, share.session) = (id, None, Some(running.clone()));
            share.settle(State::Mounting, None);
            let (mount, events) = (share.mount.clone(), self.events.clone());
            std::thread::spawn(move || {
                let (mounted, is_mounted) = channel();
                let told = events.clone();
                std::thread::spawn(move || {
                    for () in is_mounted {
                        told.send(Event::Mounted(id)).unwrap_or_default();
                    }
                });
                let end = session::run(&call, &mount, &running, &mounted);
                events.send(Event::Ended(id, end)).unwrap_or_default();
            });
        }
        true
    }

    fn mounted(&mut self, id: u64) -> bool {
        if let Some(share) = self.shares.iter_mut().find(|share| share.id == id) {
            share.settle(State::Mounted, None);
        }
        true
    }

    /// Whether there is anything to be kept after this.
    fn ended(&mut self, id: u64, end: End) -> bool {
        tracing::info!(id, ?end, "a session ended");
        let let_go = self.let_go;
        let Some(share) = self.shares.iter_mut().find(|share| share.id == id) else { return true };
        share.session = None;
        if share.leaving || let_go {
            self.shares.retain(|share| share.id != id);
            return self.begin_what_is_due();
        }
        if !(self.is_the_one)() {
            return false;
        }
        let held = share.state == State::Mounted && share.since.elapsed() > Duration::from_secs(10);
        share.failures = if held { 0 } else { share.failures + 1 };
        let (why, pause) = match end {
            End::Refused(why) => (why, RELUCTANCE),
            End::Broke(why) => (why, pause(held, share.failures)),
        };
        share.settle(State::Broken, Some(why));
        share.again = Some(Instant::now() + pause);
        match self.machine.runs() {
            Runs::Yes(_) => {
                self.absent = None;
                true
            }
            Runs::No => false,
            Runs::Unknown(why) => {
                tracing::info!(why, "the Linux side does not answer");
                self.absent.get_or_insert_with(Instant::now).elapsed() < ABSENCE
            }
        }
    }
}

/// Whoever asked may have gone.
fn answer(mut stream: &UnixStream, statuses: &[Status]) {
    let line = serde_json::to_string(statuses).unwrap_or_default();
    writeln!(stream, "{line}").unwrap_or_default();
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
