//! Whoever watches an enforcer all the time: Prometheus scraping its metrics, and three monitors; also each enforcer that
//! follows one that has ended.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{daemon::Place, openmetrics::scrape};

/// How many monitors there are.
const MONITORS: usize = 3;

/// Between two scrapes, and before another monitor follows one that has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// Watches until it is dropped.
pub struct Onlookers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    monitors: [Mutex<Option<Child>>; MONITORS],
    scrapes: AtomicU64,
    lines: AtomicU64,
}

impl Onlookers {
    /// Of the enforcer of a place, whose metrics are told at `listener`. The enforcer need not run yet.
    pub fn of(place: &Place, listener: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let scraping = Arc::clone(&shared);
        let mut threads = vec![thread::spawn(move || scraping.scrape(listener))];
        for number in 0..MONITORS {
            let mut command = place.command(&["monitor", "-o", "json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            let watching = Arc::clone(&shared);
            threads.push(thread::spawn(move || {
                watching.monitor(number, || command.spawn().ok());
            }));
        }
        Self { shared, threads }
    }

    /// How many scrapes were answered, all of them as they have to be, and how many lines the monitors have read.
    pub fn seen(&self) -> (u64, u64) {
        let Shared { scrapes, lines, .. } = &*self.shared;
        (scrapes.load(Ordering::Relaxed), lines.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn scrape(&self, listener: SocketAddr) {
        while !self.is_over.load(Ordering::Relaxed) {
            if scrape(listener).is_ok() {
                self.scrapes.fetch_add(1, Ordering::Relaxed);
            }
            thread::park_timeout(PAUSE);
        }
    }

    fn monitor(&self, number: usize, mut start: impl FnMut() -> Option<Child>) {
        let slot = &self.monitors[number];
        loop {
            let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let mut child = start();
            let lines = child.as_mut().and_then(|child| child.stdout.take());
            *held = child;
            drop(held);
            for line in lines.into_iter().flat_map(|lines| BufReader::new(lines).lines()) {
                let count = u64::from(line.is_ok());
                self.lines.fetch_add(count, Ordering::Relaxed);
            }
            end(&mut slot.lock().unwrap_or_else(PoisonError::into_inner));
            thread::park_timeout(PAUSE);
        }
    }
}

/// Ends a monitor, if there is one. That it has ended by itself is no error.
fn end(slot: &mut Option<Child>) {
    if let Some(mut child) = slot.take() {
        child.kill().ok();
        child.wait().ok();
    }
}

impl Drop for Onlookers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for slot in &self.shared.monitors {
            end(&mut slot.lock().unwrap_or_else(PoisonError::into_inner));
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
