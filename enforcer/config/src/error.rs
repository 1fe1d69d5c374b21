//! The errors of a configuration, each in one line.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::raw::At;

/// Maximum size of a configuration file in bytes.
pub const SIZE_LIMIT: u64 = 16 << 20;

/// All errors found in a file, in the order of its lines. Each is displayed on one line:
/// `enforcer.yaml:7: unknown key "dsn", did you mean "dns"?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: PathBuf,
    errors: Vec<ConfigError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, counted from 1; None if it is about the whole file.
    pub line: Option<u64>,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is larger than [`SIZE_LIMIT`].
    #[error("is larger than {} MiB", SIZE_LIMIT >> 20)]
    TooLarge,
    /// The file is not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// The file has only comments, which is more likely a mistake than a request for the defaults.
    #[error("is empty; the smallest configuration is `workloads: []`")]
    Empty,
    /// The YAML is broken or hostile.
    #[error("{0}")]
    Yaml(String),
    /// A value has the wrong type for its key.
    #[error("{key:?} has to be {expected}")]
    Type {
        /// The key on that line, or the line itself.
        key: String,
        /// What belongs there.
        expected: String,
    },
    /// A key that does not exist.
    #[error("unknown key {key:?}, {}", nearest(key, valid).unwrap_or_else(|| format!("the keys here are {}", valid.join(", "))))]
    UnknownKey {
        /// As typed.
        key: String,
        /// The keys that exist there.
        valid: Vec<&'static str>,
    },
    /// A key that must be there.
    #[error("missing key {0:?}")]
    MissingKey(&'static str),
    /// Of some keys, exactly one must be there.
    #[error("{} {}", if *are_several { "only one can be given of" } else { "missing one of the keys" }, keys.join(", "))]
    OneOf {
        /// The keys.
        keys: &'static [&'static str],
        /// Whether several are there, and not none.
        are_several: bool,
    },
    /// A key that has moved, and is there in both places.
    #[error("{old} has moved to `{new}`, which is given too: leave {old} out")]
    Twice {
        /// Path of the old key.
        old: &'static str,
        /// Path of the new one.
        new: &'static str,
    },
    /// A key that is there twice.
    #[error("the key {0:?} is given twice")]
    DuplicateKey(String),
    /// A value that is not among those that exist.
    #[error("unknown value {value:?}, {}valid are {}", nearest(value, valid).map(|meant| meant + " ").unwrap_or_default(), valid.join(", "))]
    UnknownValue {
        /// As typed.
        value: String,
        /// The values that exist there.
        valid: Vec<&'static str>,
    },
    /// Two workloads with the same cgroup.
    #[error("{cgroup} is already the cgroup of {other}; a cgroup belongs to one workload")]
    SameCgroup {
        /// The cgroup, as it is compared.
        cgroup: String,
        /// The workload that has it, and its line.
        other: String,
    },
    /// Two workloads with the same namespace and name.
    #[error("the workload {workload} is already in line {other}; give one of them another `name`")]
    SameWorkload {
        /// Namespace and name.
        workload: String,
        /// Line of the other one.
        other: u64,
    },
    /// Any other invalid value.
    #[error("{key}: {problem}")]
    Value {
        /// Path of keys, as in `dns.servers`.
        key: &'static str,
        /// What is wrong with it, the value quoted, and how to fix it.
        problem: String,
    },
}

impl ConfigErrors {
    pub(super) fn new(file: &Path, mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| error.line);
        Self {
            file: file.to_owned(),
            errors,
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = error.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}", shortened(error.kind.to_string()))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that is valid and may not be what is meant, or that has consequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line, counted from 1; None if it is about the whole file.
    pub line: Option<u64>,
    /// What is suspicious, and what to do.
    pub text: String,
}

/// `7: text`, to be written behind the name of the file.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}: ")?;
        }
        f.write_str(&shortened(self.text.clone()))
    }
}

/// The errors and warnings found so far.
#[derive(Default)]
pub(super) struct Findings {
    errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
}

impl Findings {
    /// `read` if there are no errors, else the errors.
    pub(super) fn or<T>(self, read: T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() {
            Ok(read)
        } else {
            Err(self.errors)
        }
    }

    /// Adds an error.
    pub(super) fn add(&mut self, line: Option<u64>, kind: ErrorKind) {
        self.errors.push(ConfigError { line, kind });
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, line: Option<u64>, text: String) {
        self.warnings.push(Warning { line, text });
    }

    /// The warnings, in the order of the lines.
    pub(super) fn take_warnings(&mut self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort_by_key(|warning| warning.line);
        warnings
    }

    /// Adds an error about the value of `key`.
    pub(super) fn value(&mut self, key: &'static str, line: Option<u64>, problem: String) {
        self.add(line, ErrorKind::Value { key, problem });
    }

    /// Returns the value, or adds an error.
    pub(super) fn keep<T>(
        &mut self,
        key: &'static str,
        line: Option<u64>,
        value: Result<T, String>,
    ) -> Option<T> {
        value.map_err(|problem| self.value(key, line, problem)).ok()
    }

    /// Returns the result of `read` on the value, or adds an error.
    pub(super) fn read<T, U>(
        &mut self,
        key: &'static str,
        raw: &At<T>,
        read: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<U> {
        self.keep(key, raw.line, read(&raw.value))
    }
}

/// No message needs more characters, but a quoted value may be longer.
const MESSAGE_LIMIT: usize = 400;

fn shortened(message: String) -> String {
    match message.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// Asks whether the most similar word was meant, if one is similar.
fn nearest(typed: &str, valid: &[&'static str]) -> Option<String> {
    let typed = typed.to_lowercase();
    let distance = |word: &&&str| strsim::damerau_levenshtein(&typed, &word.to_lowercase());
    let word = valid.iter().min_by_key(distance)?;
    // A third of the letters may be wrong: more is another word.
    (distance(&word) * 3 <= word.len()).then(|| format!("did you mean {word:?}?"))
}
