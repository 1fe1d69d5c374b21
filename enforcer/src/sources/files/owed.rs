//! Who waits until everything has been read that was written before they asked.
//!
//! `question -> a walk -> the files that are held back then -> each was let go of once -> answer`

use std::{collections::BTreeSet, path::PathBuf};

use super::Question;

/// Questions that are not answered.
#[derive(Default)]
pub(super) struct Owed {
    /// Asked since the last look.
    new: Vec<Question>,
    /// Each with the files that were held back when it was looked for it, and have been ever since.
    waiting: Vec<(Question, BTreeSet<PathBuf>)>,
}

impl Owed {
    pub(super) fn add(&mut self, question: Question) {
        self.new.push(question);
    }

    /// Whether the next look is the first for a question.
    pub(super) fn begins(&self) -> bool {
        !self.new.is_empty()
    }

    /// Answers those for which nothing is held back any more, after a look whose changes are sent: `sent` batches in all.
    pub(super) fn pay(&mut self, held_back: &BTreeSet<PathBuf>, sent: u64) {
        for (_, files) in &mut self.waiting {
            files.retain(|file| held_back.contains(file));
        }
        let new = self.new.drain(..).map(|question| (question, held_back.clone()));
        self.waiting.extend(new);
        for (question, _) in self.waiting.extract_if(.., |(_, files)| files.is_empty()) {
            // Who asked may be gone.
            question.send(sent).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn answer_comes_once_each_file_that_was_held_back_has_been_let_go() {
        let mut owed = Owed::default();
        let (question, mut answer) = oneshot::channel();
        owed.add(question);
        assert!(owed.begins());
        owed.pay(&paths(&["a", "b"]), 1);
        assert!(!owed.begins());
        owed.pay(&paths(&["b", "c"]), 2);
        assert!(answer.try_recv().is_err(), "b is held back");
        owed.pay(&paths(&["a", "c"]), 3);
        assert_eq!(
            answer.try_recv(),
            Ok(3),
            "what was written later is not waited for"
        );
    }
}
