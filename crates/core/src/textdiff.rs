//! What changed between two contents of a file, as a person reads it: a unified diff.
//!
//! The result is safe to print: control characters, directional marks and the like are shown as `\u{1b}`, so a file
//! on a host can't act on the terminal of whoever looks at it. It is bounded: contents above a size are only named,
//! parts too different to compare cheaply are shown as replaced, and a long diff is cut. No clock is involved: the
//! same two contents always give the same text.
//!
//! It is a view for people. It is not a patch to be applied: escaping is not reversible.

use std::fmt::Write as _;
use std::ops::Range;

use similar::{Algorithm, DiffOp};

use crate::path::Shown;

/// Unchanged lines shown around a change, as diff(1) does by default.
const CONTEXT: usize = 3;

/// Above this product of line numbers a part counts as replaced: comparing costs their product at worst.
const DEAREST: usize = 16_000_000;

/// What bounds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest content, in bytes, that is compared at all.
    pub bytes: usize,
    /// The longest diff, in lines; a note says how many lines were left out.
    pub lines: usize,
    /// The longest line, in characters; the rest is shown as `…`.
    pub columns: usize,
}

impl Default for Limits {
    /// 4 MiB, 2,000 lines, 1,000 columns.
    fn default() -> Self {
        Self { bytes: 4 << 20, lines: 2_000, columns: 1_000 }
    }
}

/// Whether `content` can be shown as text: valid UTF-8 without NUL.
#[must_use]
pub fn is_text(content: &[u8]) -> bool {
    !content.contains(&0) && std::str::from_utf8(content).is_ok()
}

/// The unified diff from `before` to `after`, hunks only (no `---`/`+++` header), each line ended by `\n`.
///
/// Empty when both are equal. For contents that are not text, `binary files differ (10 bytes → 20 bytes)`; for those
/// above `limits.bytes`, `too large to compare here (…)`. An absent side is the empty slice.
#[must_use]
pub fn unified(before: &[u8], after: &[u8], limits: Limits) -> String {
    if before == after {
        return String::new();
    }
    let sizes = format!("({} bytes → {} bytes)\n", before.len(), after.len());
    if before.len().max(after.len()) > limits.bytes {
        return format!("too large to compare here {sizes}");
    }
    let (Some(old), Some(new)) = (text(before), text(after)) else {
        return format!("binary files differ {sizes}");
    };
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let mut page = Page { text: String::new(), left: limits.lines, omitted: 0, columns: limits.columns };
    for hunk in similar::group_diff_ops(operations(&old, &new), CONTEXT) {
        page.hunk(&hunk, &old, &new);
    }
    page.finish()
}

fn text(content: &[u8]) -> Option<&str> {
    if content.contains(&0) { None } else { std::str::from_utf8(content).ok() }
}

/// The operations from `old` to `new`. The equal lines at both ends are taken off first; what is left is compared
/// only when that is cheap.
fn operations(old: &[&str], new: &[&str]) -> Vec<DiffOp> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let (old_len, new_len) = (old_end - head, new_end - head);
    if old_len.saturating_mul(new_len) <= DEAREST {
        return similar::capture_diff_slices(Algorithm::Myers, old, new);
    }
    let whole = [
        DiffOp::Equal { old_index: 0, new_index: 0, len: head },
        DiffOp::Replace { old_index: head, old_len, new_index: head, new_len },
        DiffOp::Equal { old_index: old_end, new_index: new_end, len: tail },
    ];
    whole.into_iter().filter(|op| !op.old_range().is_empty() || !op.new_range().is_empty()).collect()
}

/// The diff being written, up to its limit.
struct Page {
    text: String,
    left: usize,
    omitted: usize,
    columns: usize,
}

impl Page {
    fn hunk(&mut self, ops: &[DiffOp], old: &[&str], new: &[&str]) {
        let (Some(first), Some(last)) = (ops.first(), ops.last()) else { return };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        self.put(&format!("@@ -{} +{} @@", position(&old_range), position(&new_range)));
        for op in ops {
            if let DiffOp::Equal { .. } = op {
                self.lines(' ', &old[op.old_range()]);
            } else {
                self.lines('-', &old[op.old_range()]);
                self.lines('+', &new[op.new_range()]);
            }
        }
    }

    fn lines(&mut self, mark: char, lines: &[&str]) {
        for line in lines {
            let body = line.strip_suffix('\n');
            self.put(&format!("{mark}{}", shown(body.unwrap_or(line), self.columns)));
            if body.is_none() {
                self.put("\\ No newline at end of file");
            }
        }
    }

    fn put(&mut self, line: &str) {
        if self.left == 0 {
            self.omitted += 1;
            return;
        }
        self.left -= 1;
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn finish(mut self) -> String {
        if self.omitted > 0 {
            let _ = writeln!(self.text, "… {} more lines", self.omitted);
        }
        self.text
    }
}

/// A hunk's range as diff(1) writes it: line numbers from 1, the line before for an empty range, no count for one.
fn position(range: &Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

/// A line without what acts on a terminal, cut to `columns` characters. Tabs stay: they only move to the right.
fn shown(line: &str, columns: usize) -> String {
    let mut out = String::with_capacity(line.len());
    for (at, c) in line.chars().enumerate() {
        if at == columns {
            out.push('…');
            break;
        }
        match c {
            '\t' => out.push(c),
            '\r' => out.push_str("\\r"),
            c if acts_on_terminal(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether printing `c` does more than show it: control characters, and those that [`Shown`] takes for hiding.
pub(crate) fn acts_on_terminal(c: char) -> bool {
    c.is_control() || (!c.is_ascii() && Shown(c.encode_utf8(&mut [0; 4]).as_bytes()).to_string().starts_with('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn diff(before: &str, after: &str) -> String {
        unified(before.as_bytes(), after.as_bytes(), Limits::default())
    }

    #[test]
    fn looks_like_diff_u() {
        let cases = [
            ("", "", ""),
            ("a\nb\n", "a\nc\n", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"),
            ("", "new\n", "@@ -0,0 +1 @@\n+new\n"),
            ("old\n", "", "@@ -1 +0,0 @@\n-old\n"),
            ("a\n", "a", "@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n"),
            ("1\n2\n3\n4\n5\n6\n7\n8\nx\n", "1\n2\n3\n4\n5\n6\n7\n8\ny\n", "@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-x\n+y\n"),
        ];
        for (before, after, expected) in cases {
            assert_eq!(diff(before, after), expected);
        }
    }

    #[test]
    fn nothing_acts_on_the_terminal() {
        let text = diff("", "\u{1b}[2Jx\u{9b}31m\u{202e}txt\u{7}\tt\r\n");
        assert_eq!(text, "@@ -0,0 +1 @@\n+\\u{1b}[2Jx\\u{9b}31m\\u{202e}txt\\u{7}\tt\\r\n");
    }

    #[test]
    fn names_what_it_does_not_compare() {
        let limits = Limits { bytes: 8, ..Limits::default() };
        assert_eq!(unified(b"a\0", b"abc", limits), "binary files differ (2 bytes → 3 bytes)\n");
        assert_eq!(unified(b"a", b"\xff\xfe", limits), "binary files differ (1 bytes → 2 bytes)\n");
        assert_eq!(unified(b"a", b"123456789", limits), "too large to compare here (1 bytes → 9 bytes)\n");
        assert!(is_text("ä".as_bytes()) && !is_text(b"\xe4"));
    }

    #[test]
    fn a_long_diff_is_cut_and_a_hopeless_one_is_cheap() {
        let numbered = |mark: &str| (0..20_000).map(|n| format!("{mark}{n}\n")).collect::<String>();
        let before = format!("same\n{}end\n", numbered("a"));
        let after = format!("same\n{}end\n", numbered("b"));
        let text = diff(&before, &after);
        assert!(text.starts_with("@@ -1,20002 +1,20002 @@\n same\n-a0\n-a1\n"), "{}", &text[..80]);
        assert!(text.ends_with("\n… 38003 more lines\n"), "{}", &text[text.len() - 40..]);
        assert_eq!(text.lines().count(), 2_001);
        let wide = unified(b"", "x".repeat(5_000).as_bytes(), Limits { columns: 10, ..Limits::default() });
        assert!(wide.contains("+xxxxxxxxxx…\n"));
    }

    proptest! {
        /// Applying the hunks to `before` gives `after`: what is shown is the whole change.
        #[test]
        fn the_hunks_say_all(before in "([abc]{0,2}\n){0,20}[ab]?", after in "([abc]{0,2}\n){0,20}[ab]?") {
            prop_assert_eq!(patched(&before, &diff(&before, &after)), after);
        }

        #[test]
        fn any_bytes_give_printable_text(
            before in proptest::collection::vec(any::<u8>(), 0..60),
            after in "\\PC{0,40}|[\\x00-\\x1f\\u{80}-\\u{9f}a]{0,30}",
        ) {
            let text = unified(&before, after.as_bytes(), Limits::default());
            prop_assert!(text.chars().all(|c| c == '\n' || c == '\t' || !acts_on_terminal(c)));
            prop_assert_eq!(text.is_empty(), before == after.as_bytes());
        }
    }

    /// A small patch(1), which reads only the diff's own text.
    fn patched(before: &str, diff: &str) -> String {
        let mut old = before.split_inclusive('\n');
        let mut taken = 0;
        let mut mark = ' ';
        let mut out = String::new();
        for line in diff.lines() {
            if let Some(header) = line.strip_prefix("@@ -") {
                let range = header.split(' ').next().unwrap();
                let (start, count) = range.split_once(',').unwrap_or((range, "1"));
                let skip = start.parse::<usize>().unwrap() - usize::from(count != "0");
                while taken < skip {
                    out.push_str(old.next().unwrap());
                    taken += 1;
                }
            } else if line.starts_with('\\') {
                if mark != '-' {
                    out.pop();
                }
            } else if let Some(added) = line.strip_prefix('+') {
                out.push_str(added);
                out.push('\n');
            } else {
                let source = old.next().unwrap();
                taken += 1;
                assert_eq!(source.trim_end_matches('\n'), &line[1..]);
                if let Some(kept) = line.strip_prefix(' ') {
                    out.push_str(kept);
                    out.push('\n');
                }
            }
            mark = line.chars().next().unwrap();
        }
        out.extend(old);
        out
    }
}
