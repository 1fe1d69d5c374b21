//! A control socket that says what a test wants shown.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use enforcer::control::{Observed, Status, path};
use tempfile::TempDir;

use crate::fixture::folder;

/// What is said of each question, which is its number.
type Story = Box<dyn FnMut(usize) -> (Status, Observed) + Send>;

/// A socket in a state folder of its own.
pub struct Teller {
    folder: TempDir,
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    story: Arc<Mutex<Story>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Says the same until told otherwise.
    ///
    /// # Errors
    /// If there is no room for a socket.
    pub fn new(status: Status, observed: Observed) -> Result<Self> {
        Self::with(Box::new(move |_| (status.clone(), observed.clone())))
    }

    /// Says what `story` has for each question.
    ///
    /// # Errors
    /// If there is no room for a socket.
    pub fn with(story: Story) -> Result<Self> {
        let mut teller = Self {
            folder: folder("enforcer-teller-")?,
            asked: Arc::default(),
            is_over: Arc::default(),
            story: Arc::new(Mutex::new(story)),
            thread: None,
        };
        teller.begin()?;
        Ok(teller)
    }

    /// From now on, another story.
    pub fn tell(&self, status: Status, observed: Observed) {
        *self.story.lock().unwrap_or_else(PoisonError::into_inner) =
            Box::new(move |_| (status.clone(), observed.clone()));
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// How often it was asked what was observed.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers again after an end.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn begin(&mut self) -> Result<()> {
        let path = path(self.folder.path());
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
        self.is_over.store(false, Ordering::Relaxed);
        let (asked, is_over) = (Arc::clone(&self.asked), Arc::clone(&self.is_over));
        let story = Arc::clone(&self.story);
        self.thread = Some(thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                // Who asks may be gone.
                drop(answer(&stream, &asked, &story));
            }
        }));
        Ok(())
    }

    /// Answers no more.
    ///
    /// # Errors
    /// If the socket cannot be removed.
    pub fn end(&mut self) -> Result<()> {
        let path = path(self.folder.path());
        self.is_over.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&path));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        std::fs::remove_file(&path).with_context(|| format!("removing {}", Path::new(&path).display()))
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.end()
        {
            eprintln!("{error:#}");
        }
    }
}

fn answer(stream: &UnixStream, asked: &AtomicUsize, story: &Mutex<Story>) -> Result<()> {
    let mut question = String::new();
    BufReader::new(stream).read_line(&mut question)?;
    let is_status = question.contains("status");
    let number = if is_status {
        asked.load(Ordering::Relaxed)
    } else {
        asked.fetch_add(1, Ordering::Relaxed)
    };
    let (status, observed) = story.lock().unwrap_or_else(PoisonError::into_inner)(number);
    let mut text = if is_status {
        serde_json::to_vec(&status)?
    } else {
        serde_json::to_vec(&observed)?
    };
    text.push(b'\n');
    let mut stream = stream;
    Ok(stream.write_all(&text)?)
}
