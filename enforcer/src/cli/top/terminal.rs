//! The terminal while `enforcer top` has it, and what happens meanwhile. However that ends, the terminal is as it was before.
//!
//! ```text
//! keys, resizes (a thread) -->.
//! answers, once a second ---->+-> State -> a frame
//! SIGTERM, SIGINT, SIGHUP --->'-> the end
//! ```

use std::{path::PathBuf, process::ExitCode, thread};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{INTERVAL, now};
use crate::{
    control::{self, Observed},
    top::{self, Next, State},
};

/// Keys that wait while a frame is drawn.
const KEYS: usize = 64;

/// The end by a signal, as shells tell it.
const ENDED_BY_SIGNAL: i32 = 128;

/// Shows the state until somebody ends it.
///
/// # Errors
/// If the terminal cannot be read or written.
pub(super) async fn show(folder: PathBuf, state: State) -> Result<ExitCode> {
    let signals = Signals::new()?;
    let session = Session {
        folder,
        state,
        asked: JoinSet::new(),
    };
    // Panics restore it, too, before they are told.
    let shown = match ratatui::try_init() {
        // The cursor is back once this is dropped.
        Ok(mut terminal) => session.run(&mut terminal, signals).await,
        Err(error) => Err(error).context("taking the terminal"),
    };
    let restored = ratatui::try_restore().context("restoring the terminal");
    match shown? {
        End::Key => restored.map(|()| ExitCode::SUCCESS),
        End::Signal(number) => {
            // The terminal may be gone; and this returns only if it cannot be done.
            signal_hook::low_level::emulate_default_handler(number).ok();
            Ok(u8::try_from(ENDED_BY_SIGNAL + number).map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}

/// Why it ends.
enum End {
    Key,
    Signal(i32),
}

struct Session {
    folder: PathBuf,
    state: State,
    /// The question that is not answered yet.
    asked: JoinSet<Result<Observed>>,
}

impl Session {
    async fn run(mut self, terminal: &mut DefaultTerminal, mut signals: Signals) -> Result<End> {
        let mut events = events();
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            terminal
                .draw(|frame| top::draw(frame, &mut self.state))
                .context("writing to the terminal")?;
            tokio::select! {
                number = signals.next() => return Ok(End::Signal(number)),
                event = events.recv() => {
                    let mut event = event.context("the terminal is gone")?;
                    // What has come meanwhile needs no frame of its own.
                    loop {
                        if self.take(event?) == Next::Quit {
                            return Ok(End::Key);
                        }
                        let Ok(next) = events.try_recv() else { break };
                        event = next;
                    }
                }
                _ = tick.tick() => self.ask(),
                Some(answer) = self.asked.join_next() => {
                    match answer.context("asking the enforcer")? {
                        Ok(answer) => self.state.update(answer, now()),
                        Err(error) => self.state.fail(format!("{error:#}"), now()),
                    }
                }
            }
        }
    }

    /// Asks the enforcer, unless it is paused, or has not answered yet.
    fn ask(&mut self) {
        self.state.pass(Timestamp::now());
        if self.asked.is_empty() && !self.state.is_paused() {
            let folder = self.folder.clone();
            self.asked
                .spawn(async move { control::ask_observed(&folder).await });
        }
    }

    fn take(&mut self, event: Event) -> Next {
        match event {
            Event::Key(key) => self.state.key(key),
            _ => Next::Draw,
        }
    }
}

/// What the terminal tells, until nobody listens.
fn events() -> mpsc::Receiver<std::io::Result<Event>> {
    let (sink, events) = mpsc::channel(KEYS);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_end = event.is_err();
            if sink.blocking_send(event).is_err() || is_end {
                return;
            }
        }
    });
    events
}

/// The signals that end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.hangup.recv() => libc::SIGHUP,
        }
    }
}
