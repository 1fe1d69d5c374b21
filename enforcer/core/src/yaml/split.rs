//! Splits a stream of documents at the lines `---` and `...` (YAML 1.2.2, 9.1.2 and 9.2).
//!
//! A line that begins with one of them ends any scalar and any collection, so no parser is needed to find them.

/// A document with content, as it stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'t> {
    /// Its text, with its `---` if it has one.
    pub(super) text: &'t str,
    /// The line that the text begins with, counted from 1.
    pub(super) first_line: u32,
    /// The line of its first content, counted from 1.
    pub line: u32,
}

impl<'t> Document<'t> {
    /// The text of one document that begins at a line of a file.
    pub fn embedded(text: &'t str, first_line: u32) -> Self {
        Self {
            text,
            first_line,
            line: first_line,
        }
    }
}

/// The role of a line in the stream.
enum Line {
    /// Blank or a comment.
    Nothing,
    /// `%YAML` and the like, if no document has begun.
    Directive,
    /// `---`, and whether something comes after it.
    Start {
        has_content: bool,
    },
    /// `...`.
    End,
    Content,
}

/// The documents of `text`; those without content are left out.
pub fn split(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let mut open = Open::default();
    let mut number = 0;
    let mut offset = 0;
    for line in lines(text) {
        number += 1;
        let end = offset + line.len();
        match classify(line, &open) {
            Line::Nothing => {}
            Line::Directive => open.has_directive = true,
            Line::Start { has_content } => {
                // Directives belong to the document that `---` begins.
                if open.has_marker || open.content.is_some() || !open.has_directive {
                    documents.extend(open.close(text, offset));
                    open = Open::at(offset, number);
                }
                open.has_marker = true;
                if has_content {
                    open.content = Some(number);
                }
            }
            Line::End => {
                documents.extend(open.close(text, offset));
                open = Open::at(end, number + 1);
            }
            Line::Content => {
                open.content.get_or_insert(number);
            }
        }
        offset = end;
    }
    documents.extend(open.close(text, offset));
    documents
}

/// The lines of `text` with their ends: a line feed, a carriage return, or both.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').flat_map(|line| {
        // Almost always nothing: a carriage return that no line feed follows.
        let body = line.strip_suffix("\r\n").unwrap_or(line);
        let last = body.rfind('\r').map_or(0, |at| at + 1);
        let (returned, rest) = line.split_at(last);
        returned
            .split_inclusive('\r')
            .chain(Some(rest).filter(|rest| !rest.is_empty()))
    })
}

/// A document whose end has not been seen.
struct Open {
    offset: usize,
    first_line: u32,
    has_directive: bool,
    has_marker: bool,
    content: Option<u32>,
}

impl Default for Open {
    fn default() -> Self {
        Self::at(0, 1)
    }
}

impl Open {
    fn at(offset: usize, first_line: u32) -> Self {
        Self {
            offset,
            first_line,
            has_directive: false,
            has_marker: false,
            content: None,
        }
    }

    fn close<'t>(&self, text: &'t str, end: usize) -> Option<Document<'t>> {
        Some(Document {
            text: text.get(self.offset..end)?,
            first_line: self.first_line,
            line: self.content?,
        })
    }
}

fn classify(line: &str, open: &Open) -> Line {
    let line = line.trim_end_matches(['\n', '\r']);
    let blank = [' ', '\t'];
    if let Some(rest) = line.strip_prefix("---")
        && (rest.is_empty() || rest.starts_with(blank))
    {
        let rest = rest.trim_start_matches(blank);
        return Line::Start {
            has_content: !rest.is_empty() && !rest.starts_with('#'),
        };
    }
    if let Some(rest) = line.strip_prefix("...")
        && (rest.is_empty() || rest.starts_with(blank))
    {
        return Line::End;
    }
    let content = line.trim_start_matches(blank);
    if content.is_empty() || content.starts_with('#') {
        Line::Nothing
    } else if line.starts_with('%') && open.content.is_none() && !open.has_marker {
        Line::Directive
    } else {
        Line::Content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, u32)]) {
        let documents = split(text);
        let found: Vec<_> = documents
            .iter()
            .map(|document| (document.text, document.line))
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn documents_are_told_apart_by_their_markers() {
        check("", &[]);
        check("a: 1", &[("a: 1", 1)]);
        check("a: 1\n---\nb: 2\n", &[("a: 1\n", 1), ("---\nb: 2\n", 3)]);
        check(
            "---\na: 1\n---\n---\n# c\n---\nb: 2\n",
            &[("---\na: 1\n", 2), ("---\nb: 2\n", 7)],
        );
        check("a: 1\n...\nb: 2\n", &[("a: 1\n", 1), ("b: 2\n", 3)]);
        check(
            "--- {a: 1}\n--- # c\nb: 2\n",
            &[("--- {a: 1}\n", 1), ("--- # c\nb: 2\n", 3)],
        );
    }

    #[test]
    fn what_only_looks_like_a_marker_is_content() {
        check("a: |\n  ---\n  b\n", &[("a: |\n  ---\n  b\n", 1)]);
        check("---a\n", &[("---a\n", 1)]);
        check("....\n", &[("....\n", 1)]);
    }

    #[test]
    fn windows_lines_and_byte_order_marks_are_taken() {
        check(
            "\u{feff}a: 1\r\n---\r\nb: 2\r\n",
            &[("a: 1\r\n", 1), ("---\r\nb: 2\r\n", 3)],
        );
    }

    #[test]
    fn comments_are_no_documents() {
        check("# a\n\n  # b\n---\n\t\n...\n", &[]);
        check("# a\n\nb: 1\n", &[("# a\n\nb: 1\n", 3)]);
    }

    #[test]
    fn directives_belong_to_the_document_after_them() {
        check("%YAML 1.2\n---\na: 1\n", &[("%YAML 1.2\n---\na: 1\n", 3)]);
        check(
            "a: 1\n...\n%YAML 1.2\n---\nb: 1\n",
            &[("a: 1\n", 1), ("%YAML 1.2\n---\nb: 1\n", 5)],
        );
        check("a: 1\n%b\n---\n", &[("a: 1\n%b\n", 1)]);
    }
}
