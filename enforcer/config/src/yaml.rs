//! Reads text into the raw types, and converts the YAML crate's errors to those of the configuration.

use serde_yaml::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, MessageFormatter, budget::BudgetBreach,
};

use super::{
    error::{ConfigError, ErrorKind},
    raw::Raw,
};

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Raw, ConfigError> {
    let options = serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    if text
        .lines()
        .all(|line| line.trim_start().starts_with('#') || matches!(line.trim(), "" | "---"))
    {
        return Err(ConfigError {
            line: None,
            kind: ErrorKind::Empty,
        });
    }
    serde_yaml::from_str_with_options(text, options).map_err(|error| config_error(&error, text))
}

fn config_error(error: &Error, text: &str) -> ConfigError {
    if let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = error {
        return config_error(error, text);
    }
    let line = error
        .location()
        .map(|location| location.line())
        .filter(|line| *line > 0);
    let wrong_type = |expected: &str| ErrorKind::Type {
        key: key_in_line(text, line),
        expected: expected.to_owned(),
    };
    let kind = match error {
        Error::SerdeUnknownField { field, expected, .. } => ErrorKind::UnknownKey {
            key: field.clone(),
            valid: expected.clone(),
        },
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => ErrorKind::UnknownValue {
            value: variant.clone(),
            valid: expected.clone(),
        },
        Error::SerdeMissingField { field, .. } => ErrorKind::MissingKey(field),
        Error::DuplicateMappingKey { key, .. } => ErrorKind::DuplicateKey(key.clone().unwrap_or_default()),
        Error::MultipleDocuments { .. } => {
            ErrorKind::Yaml("a second document begins here; only one is allowed".into())
        }
        Error::InvalidScalar { ty: "boolean", .. } => wrong_type("true or false"),
        Error::InvalidScalar { ty, .. } if ty.starts_with(['u', 'i']) => {
            wrong_type("a whole number, not negative")
        }
        Error::InvalidScalar { ty, .. } => wrong_type(&format!("a {ty}")),
        Error::NullIntoString { .. } => wrong_type("a text, but is empty"),
        Error::SerdeInvalidType { unexpected, .. } | Error::SerdeInvalidValue { unexpected, .. } => {
            wrong_type(&format!("something other than {unexpected}"))
        }
        Error::Unexpected { expected, .. } => wrong_type(&format!("a {}", kind_for_users(expected))),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::UnexpectedValueForUnitEnumVariant { .. } => wrong_type("one word"),
        Error::Budget { breach, .. } => ErrorKind::Yaml(too_much(breach)),
        other => ErrorKind::Yaml(one_line(&DefaultMessageFormatter.format_message(other))),
    };
    ConfigError { line, kind }
}

/// The users' word for the crate's name of a kind of node.
fn kind_for_users(kind: &str) -> &str {
    match kind {
        "string scalar" | "scalar" => "single value",
        "mapping start" => "mapping (`key: value` lines)",
        "sequence start" => "list (`- value` lines or `[value]`)",
        other => other,
    }
}

/// The text before the colon in a line, or all of it.
fn key_in_line(text: &str, line: Option<u64>) -> String {
    let index = line.and_then(|line| usize::try_from(line - 1).ok());
    let content = index.and_then(|index| text.lines().nth(index)).unwrap_or("");
    let content = content.trim().trim_start_matches("- ");
    let key = content.split_once(':').map_or(content, |(key, _)| key);
    key.chars().take(60).collect()
}

fn too_much(breach: &BudgetBreach) -> String {
    format!(
        "exceeds the limits of a configuration file: {}",
        one_line(&format!("{breach:?}"))
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
