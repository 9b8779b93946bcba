//! What a person sees: data on standard output, everything else on standard error, colours only on a terminal.
//!
//! Much of it comes from files and hosts that may mean harm. A terminal obeys nothing of it: what it would obey is shown.
//! Only the output of a change that runs on this machine, for this person, goes through as it is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Instant;

use greenroom_core::document::Problem;
use greenroom_core::path::is_invisible;
use greenroom_engine::Progress;
use serde::Serialize;

use crate::error::Failure;

/// The two streams.
pub(crate) struct Ui {
    pub(crate) json: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
    step: Mutex<Option<(String, Instant)>>,
}

/// What a piece of text means.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Bad,
    Warn,
    Dim,
    Strong,
}

impl Ui {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let color = !crate::env::no_color();
        Self {
            json,
            quiet,
            color_out: color && io::stdout().is_terminal(),
            color_err: color && io::stderr().is_terminal(),
            step: Mutex::new(None),
        }
    }

    /// Whether nothing but errors is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Text for standard output, in a tone.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.color_out, tone, text)
    }

    /// Text for standard error, in a tone.
    pub(crate) fn tone_aside(&self, tone: Tone, text: &str) -> String {
        paint(self.color_err, tone, text)
    }

    /// One object on standard output.
    pub(crate) fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.finish_step();
        let mut out = io::BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value)?;
        out.write_all(b"\n").and_then(|()| out.flush()).or_else(forgive_closed)?;
        Ok(())
    }

    /// Lines on standard output.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        self.finish_step();
        let mut out = io::stdout().lock();
        // What goes into a file or to another program is not touched.
        let text = if out.is_terminal() { tame(text) } else { Cow::Borrowed(text) };
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_else(forgive_closed)?;
        Ok(())
    }

    /// A line on standard error.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.finish_step();
            let _ = writeln!(io::stderr(), "{}", tame(text));
        }
    }

    /// The error, its causes, what to do next.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.finish_step();
        let mut err = String::new();
        let _ = writeln!(err, "{} {}", paint(self.color_err, Tone::Bad, "error:"), failure.message);
        for cause in &failure.causes {
            let _ = writeln!(err, "  because: {cause}");
        }
        for problem in &failure.problems {
            let _ = writeln!(err, "{}", problem.render());
        }
        if let Some(conflicts) = &failure.conflicts {
            for path in conflicts.paths.iter().take(50) {
                let _ = writeln!(err, "  {}\n    expected: {}\n    found:    {}", path.path, path.expected, path.found);
            }
            if conflicts.paths.len() > 50 {
                let _ = writeln!(err, "  and {} more (--json lists them all)", conflicts.paths.len() - 50);
            }
        }
        for hint in &failure.hints {
            let _ = writeln!(err, "{} {hint}", paint(self.color_err, Tone::Strong, "hint:"));
        }
        let _ = io::stderr().lock().write_all(tame(&err).as_bytes());
        if self.json {
            let conflicts = failure.conflicts.as_deref();
            let problem = |p: &Problem| {
                serde_json::json!({
                    "file": p.file, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint,
                })
            };
            let problems = failure.problems.iter().map(problem).collect::<Vec<_>>();
            let _ = self.object(&serde_json::json!({
                "outcome": if failure.code == crate::error::status::REFUSED { "refused" } else { "error" },
                "error": failure.message,
                "causes": failure.causes,
                "hints": failure.hints,
                "conflicts": conflicts.map(|c| &c.paths),
                "touched_by": conflicts.map(|c| &c.touched_by),
                "problems": Some(problems).filter(|all| !all.is_empty()),
                "exit_status": failure.code,
            }));
        }
    }

    fn finish_step(&self) {
        let done = self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some((what, began)) = done.filter(|_| !self.quiet) {
            let line = format!("· {what} ({:.1} s)", began.elapsed().as_secs_f64());
            let _ = writeln!(io::stderr(), "{}", paint(self.color_err, Tone::Dim, &line));
        }
    }
}

impl Progress for Ui {
    fn begin(&self, what: &str) {
        self.finish_step();
        *self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((what.to_owned(), Instant::now()));
    }

    fn output(&self, bytes: &[u8]) {
        if !self.quiet {
            // The change's own output, as it is: it may well colour its terminal.
            let _ = io::stderr().lock().write_all(bytes);
        }
    }

    fn note(&self, text: &str) {
        self.say(&format!("{} {text}", paint(self.color_err, Tone::Warn, "note:")));
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.finish_step();
    }
}

/// Nobody reads any more: that is the reader's decision, not an error.
fn forgive_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// The codes of the tones, and the one that ends them.
const CODES: [&str; 6] = ["32", "1;31", "33", "2", "1", "0"];

/// The same text with what a terminal would obey escaped, but for the end of a line, tabs and this room's own tones.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| matches!(c, '\n' | '\t') || !c.is_control() && !is_invisible(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tone = CODES.iter().find_map(|code| {
            let after = rest.strip_prefix("\x1b[")?.strip_prefix(code)?.strip_prefix('m')?;
            Some(rest.len() - after.len())
        });
        let length = tone.unwrap_or(c.len_utf8());
        if tone.is_some() || harmless(c) {
            out.push_str(&rest[..length]);
        } else {
            out.extend(c.escape_default());
        }
        rest = &rest[length..];
    }
    Cow::Owned(out)
}

fn paint(color: bool, tone: Tone, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "1;31",
        Tone::Warn => "33",
        Tone::Dim => "2",
        Tone::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let tones = [Tone::Good, Tone::Bad, Tone::Warn, Tone::Dim, Tone::Strong];
        for painted in tones.map(|tone| paint(true, tone, "as it is\tétat\n")) {
            assert_eq!(tame(&painted), painted);
        }
        for (evil, shown) in [
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("\x1b[8mhidden\x1b[0m", "\\u{1b}[8mhidden\x1b[0m"),
            ("fine\rover it", "fine\\rover it"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(tame(evil), shown);
        }
    }
}
