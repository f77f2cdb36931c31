//! All layers of an image to the cache, several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use super::registry::{Described, PullError, Registry};
use crate::download::{Fetched, OnEvent};
use crate::image::merge::{Blob, Layer};
use crate::shell::Event;

/// As many as Docker brings at once.
const AT_ONCE: usize = 3;

/// Brings the layers; each is verified, and what is in the cache is not fetched again.
pub fn layers(
    registry: &Registry<'_>,
    described: &Described,
    on_event: OnEvent<'_>,
) -> Result<Vec<Layer>, PullError> {
    let wanted = &described.manifest.layers;
    let next = AtomicUsize::new(0);
    let fetched: Mutex<Vec<Option<Fetched>>> = Mutex::new(vec![None; wanted.len()]);
    let failed: Mutex<Option<PullError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        let (sender, told) = mpsc::channel();
        for _ in 0..AT_ONCE.min(wanted.len()) {
            let sender = sender.clone();
            scope.spawn(|| {
                // The sender is this thread's, and goes with it.
                let sender = sender;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(layer) = wanted.get(number) else { return };
                    let what = format!("layer {} of {}", number + 1, wanted.len());
                    let brought = registry.layer(layer, &what, &mut |event| {
                        sender.send(Told::of(event)).unwrap_or_default();
                    });
                    match brought {
                        Ok(file) => lock(&fetched)[number] = Some(file),
                        Err(error) => {
                            // What is under way comes to its end, and stays in the cache.
                            next.store(wanted.len(), Ordering::Relaxed);
                            lock(&failed).get_or_insert(error);
                        }
                    }
                }
            });
        }
        drop(sender);
        for event in told {
            event.tell(on_event);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    let fetched = fetched.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(fetched
        .into_iter()
        .flatten()
        .map(|file| Layer { blob: Blob { path: file.path, offset: 0, bytes: file.bytes }, diff_id: None })
        .collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An event on its way between threads.
enum Told {
    Progress { what: String, done: u64, total: Option<u64> },
    Step(String),
    Detail(String),
    Log(String),
}

impl Told {
    fn of(event: Event<'_>) -> Self {
        match event {
            Event::Progress { what, done, total } => Self::Progress { what: what.to_owned(), done, total },
            Event::Step(text) => Self::Step(text.to_owned()),
            Event::Detail(text) => Self::Detail(text.to_owned()),
            Event::Log(text) => Self::Log(text.to_owned()),
        }
    }

    fn tell(&self, on_event: OnEvent<'_>) {
        on_event(match self {
            Self::Progress { what, done, total } => Event::Progress { what, done: *done, total: *total },
            Self::Step(text) => Event::Step(text),
            Self::Detail(text) => Event::Detail(text),
            Self::Log(text) => Event::Log(text),
        });
    }
}
