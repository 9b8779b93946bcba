//! What is wrong with a file, where, and how to mend it.

use std::fmt;
use std::ops::Range;

use crate::path::Shown;
use crate::textdiff::acts_on_terminal;

/// A part of a text: byte offsets.
pub type Span = Range<usize>;

/// How many characters of a source line [`Problem::render`] shows at most.
const WIDEST: usize = 120;

/// One thing that is wrong in a file. `Display` is one line, `file:line:column: message`; [`Problem::render`] also
/// shows the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name, as it was handed in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The text of the line, without its end.
    source_line: String,
    /// How many characters are meant, from `column` on; at least 1.
    width: usize,
}

impl Problem {
    /// Several lines: the message, the source line with carets under the place, and the hint. No line end at the end.
    #[must_use]
    pub fn render(&self) -> String {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // A window around the place, so that a line of a megabyte can't flood a terminal.
        let from = if self.column > WIDEST * 3 / 4 { self.column - WIDEST / 2 } else { 0 };
        let shown: String = self.source_line.chars().skip(from).take(WIDEST).map(printable).collect();
        let indent = self.column - 1 - from;
        let carets = "^".repeat(self.width.min(WIDEST.saturating_sub(indent)).max(1));
        let mut text =
            format!("{self}\n{margin} |\n{number} | {shown}\n{margin} | {indent}{carets}", indent = " ".repeat(indent));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n{margin} = hint: {hint}"));
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", Shown(self.file.as_bytes()), self.line, self.column, self.message)
    }
}

impl std::error::Error for Problem {}

/// One character wide, and nothing that acts on a terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if acts_on_terminal(c) => '\u{fffd}',
        c => c,
    }
}

/// A file's name and text: makes problems that point into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    file: String,
    text: String,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned() }
    }

    /// The file's name.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// A problem at `span`. Offsets outside the text or inside a character are moved to the nearest place before
    /// them; a place after the last line end is shown at the end of the last line.
    pub(crate) fn problem(&self, span: &Span, message: String, hint: Option<String>) -> Problem {
        let mut at = floor(&self.text, span.start);
        if at == self.text.len() && self.text.ends_with('\n') {
            at -= 1;
        }
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &self.text[start..];
        let source_line = rest.split('\n').next().unwrap_or_default();
        let end = floor(&self.text, span.end).clamp(at, (start + source_line.len()).max(at));
        Problem {
            file: self.file.clone(),
            line: 1 + self.text[..start].matches('\n').count(),
            column: 1 + self.text[start..at].chars().count(),
            message,
            hint,
            source_line: source_line.trim_end_matches('\r').to_owned(),
            width: self.text[at..end].chars().count().max(1),
        }
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_characters_and_shows_the_place() {
        let source = Source::new("f.toml", "a = 1\nñ\tü = 22\u{1b}\r\n");
        let at = source.text.find('2').unwrap();
        let problem = source.problem(&(at..at + 2), "no".into(), Some("say yes".into()));
        assert_eq!((problem.line, problem.column), (2, 7));
        assert_eq!(problem.render(), "f.toml:2:7: no\n  |\n2 | ñ ü = 22\u{fffd}\n  |       ^^\n  = hint: say yes");
    }

    #[test]
    fn points_into_the_file_at_its_end() {
        for (text, line, column) in [("", 1, 1), ("a", 1, 2), ("a\n", 1, 2), ("a\n\n", 2, 1), ("\n", 1, 1)] {
            let problem = Source::new("f", text).problem(&(text.len()..text.len()), String::new(), None);
            assert_eq!((problem.line, problem.column), (line, column), "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "ä".repeat(1000), "b".repeat(1000));
        let rendered = Source::new("f", &text).problem(&(2000..2001), String::new(), None).render();
        let lines: Vec<&str> = rendered.lines().collect();
        let caret = lines[3].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[2].chars().nth(caret), Some('X'));
        assert!(lines[2].chars().count() <= WIDEST + 10);
    }

    proptest! {
        #[test]
        fn any_span_is_shown_inside_the_file(text in "[aä\\n\\r\\t💥]{0,40}", start in 0usize..60, end in 0usize..60) {
            let problem = Source::new("f", &text).problem(&Range { start, end }, String::new(), None);
            let line = text.split('\n').nth(problem.line - 1).unwrap();
            prop_assert!(problem.column <= line.chars().count() + 1);
            prop_assert!(problem.render().contains('^'));
        }
    }
}
