//! Positions in a document.

use std::fmt;

/// The way from a document's root to one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(Vec<Step>);

/// One step of a [`Field`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a sequence, counted from 0.
    Index(usize),
}

impl Field {
    /// The steps in order; without steps it is the document itself.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl FromIterator<Step> for Field {
    fn from_iter<T: IntoIterator<Item = Step>>(steps: T) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// `spec.ports[0].number`; a key that is no identifier is shown as `labels[app.example.com/name]`.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if !is_identifier(key) => write!(f, "[{key}]")?,
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

fn is_identifier(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_written_as_kubernetes_writes_it() {
        let field: Field = [
            Step::Key("spec".into()),
            Step::Key("endpoints".into()),
            Step::Index(2),
            Step::Key("labels".into()),
            Step::Key("example.com/app".into()),
        ]
        .into_iter()
        .collect();
        assert_eq!(field.to_string(), "spec.endpoints[2].labels[example.com/app]");
        assert_eq!(Field::default().to_string(), "");
    }
}
