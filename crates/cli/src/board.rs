//! Many hosts at the end of a terminal: a line each, and one that counts. It is drawn again in place; what is said meanwhile goes
//! above it.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use greenroom_core::path::Shown;

use crate::ui::{Tone, Ui, tame};

/// The width of the bar.
const BAR: usize = 20;

/// The longest word for how far a host is, `rehearsing`.
const STEP: usize = 11;

/// What is on the terminal's last lines.
pub(crate) struct Board {
    title: String,
    phase: String,
    rows: BTreeMap<String, Row>,
    began: Instant,
    drawn: usize,
}

/// One host.
struct Row {
    step: String,
    tone: Tone,
    detail: String,
    /// Since when it is at this step; absent: it is over.
    since: Option<Instant>,
    took: u64,
}

impl Board {
    /// A board, where standard error is a terminal that can have one.
    pub(crate) fn at_terminal(title: &str, hosts: &[String], step: &str, ui: &Ui) -> Option<Self> {
        if ui.is_quiet() || !io::stderr().is_terminal() || crate::env::dumb_terminal() {
            return None;
        }
        let now = Instant::now();
        let row = || Row { step: step.to_owned(), tone: Tone::Dim, detail: String::new(), since: Some(now), took: 0 };
        let rows = hosts.iter().map(|host| (host.clone(), row())).collect();
        Some(Self { title: title.to_owned(), phase: String::new(), rows, began: now, drawn: 0 })
    }

    /// A host is at another step.
    pub(crate) fn step(&mut self, host: &str, step: &str, tone: Tone, is_over: bool) {
        let now = Instant::now();
        let row = self.row(host, now);
        row.took = row.since.map_or(0, |since| now.duration_since(since).as_secs());
        (row.step, row.tone, row.since) = (step.to_owned(), tone, (!is_over).then_some(now));
        row.detail.clear();
    }

    /// What goes on at a host, in a line.
    pub(crate) fn detail(&mut self, host: &str, text: &str) {
        if let Some(last) = text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            self.row(host, Instant::now()).detail = Shown(last.as_bytes()).to_string();
        }
    }

    /// The whole is further.
    pub(crate) fn phase(&mut self, phase: &str) {
        phase.clone_into(&mut self.phase);
    }

    fn row(&mut self, host: &str, now: Instant) -> &mut Row {
        self.rows.entry(host.to_owned()).or_insert_with(|| Row {
            step: String::new(),
            tone: Tone::Dim,
            detail: String::new(),
            since: Some(now),
            took: 0,
        })
    }

    /// Draws it where it was, with `above` over it.
    pub(crate) fn draw(&mut self, above: &str, ui: &Ui) {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let (columns, rows) = size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let lines = self.lines(Instant::now(), columns.max(20), rows.max(4), ui);
        let mut out = self.erasing();
        out.push_str(&tame(above));
        lines.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        self.drawn = lines.len();
        // A terminal that is gone has nobody who looks.
        let _ = io::stderr().lock().write_all(out.as_bytes());
    }

    /// Takes it away: what is said last is not said twice.
    pub(crate) fn erase(&mut self) {
        let _ = io::stderr().lock().write_all(self.erasing().as_bytes());
        self.drawn = 0;
    }

    fn erasing(&self) -> String {
        // Up to its first line, and everything from there on.
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\r\x1b[J", self.drawn) }
    }

    /// Its lines, none longer than the terminal is wide, not more than it has.
    fn lines(&self, now: Instant, columns: usize, rows: usize, ui: &Ui) -> Vec<String> {
        let width = self.rows.keys().map(|host| host.chars().count()).max().unwrap_or(0);
        let room = rows.saturating_sub(3).max(1);
        let fits = self.rows.len() <= room;
        // Those that are at it come first where not all can be shown.
        let mut shown: Vec<(&String, &Row)> = self.rows.iter().collect();
        if !fits {
            shown.sort_by_key(|(_, row)| row.since.is_none());
            shown.truncate(room.saturating_sub(1));
        }
        let mut out: Vec<String> = shown.iter().map(|(host, row)| row.line(host, width, now, columns, ui)).collect();
        if !fits {
            out.push(format!("and {} more", hosts(self.rows.len() - shown.len())));
        }
        let (over, all) = (self.rows.values().filter(|row| row.since.is_none()).count(), self.rows.len());
        let full = (BAR * over).checked_div(all).unwrap_or(0);
        let bar = format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full));
        let phase = if self.phase.is_empty() { String::new() } else { format!("  {}", self.phase) };
        let took = now.duration_since(self.began).as_secs();
        let last = format!("{}  {bar} {over} of {}{phase}  {took} s", self.title, hosts(all));
        out.push(ui.tone_aside(Tone::Strong, &cut(&last, columns)));
        out
    }
}

impl Row {
    fn line(&self, host: &str, width: usize, now: Instant, columns: usize, ui: &Ui) -> String {
        let took = self.since.map_or(self.took, |since| now.duration_since(since).as_secs());
        let plain = format!("{host:width$}  {:STEP$}  {took:>4} s  {}", self.step, self.detail);
        let cut = cut(plain.trim_end(), columns);
        // The tone goes to the word, wherever that is whole.
        match cut.split_once(&self.step) {
            Some((before, after)) if !self.step.is_empty() => {
                format!("{before}{}{after}", ui.tone_aside(self.tone, &self.step))
            }
            _ => cut,
        }
    }
}

/// `1 host`, `2 hosts`
fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

/// At most so many characters, one less than the terminal has: it would begin another line.
fn cut(text: &str, columns: usize) -> String {
    text.chars().take(columns.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn board(hosts: usize) -> Board {
        let now = Instant::now();
        let row = |n: usize| Row {
            step: if n == 0 { "ready" } else { "rehearsing" }.to_owned(),
            tone: Tone::Dim,
            detail: "x".repeat(200),
            since: (n > 0).then_some(now),
            took: 3,
        };
        let rows = (0..hosts).map(|n| (format!("web{n}"), row(n))).collect();
        Board { title: "r7".to_owned(), phase: String::new(), rows, began: now, drawn: 0 }
    }

    #[test]
    fn it_fits_the_terminal_and_shows_those_first_that_are_at_it() {
        let ui = Ui::new(false, false);
        let all = board(3);
        let lines = all.lines(all.began + Duration::from_secs(12), 60, 24, &ui);
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() < 60), "{lines:#?}");
        assert!(lines[0].starts_with("web0  ready           3 s  xxx"), "{}", lines[0]);
        assert!(lines[1].starts_with("web1  rehearsing     12 s  xxx"), "{}", lines[1]);
        assert_eq!(lines[3], "r7  [######--------------] 1 of 3 hosts  12 s");
        let many = board(300);
        let lines = many.lines(many.began, 60, 10, &ui);
        assert_eq!((lines.len(), lines[6].as_str()), (8, "and 294 hosts more"));
        assert!(lines[..6].iter().all(|line| line.contains("rehearsing")), "{lines:#?}");
        assert!(board(0).lines(Instant::now(), 60, 10, &ui)[0].contains("0 of 0 hosts"));
    }
}
