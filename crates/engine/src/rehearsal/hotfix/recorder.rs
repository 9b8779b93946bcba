//! Reads out of what a shell shows which commands were typed and how they ended.
//!
//! The shells of [`super::shell`] are told to say so themselves, in escape sequences of ours among their output, as editors
//! do with the shells in their windows (compare `OSC 133`). [`Recorder::pass`] takes them out again; the rest reaches the
//! terminal unchanged. Each begins with a word that nobody can guess, so that a file that is shown cannot forge one.
//!
//! ```text
//! ESC ] 7717 ; WORD ; C ; NUMBER ; TEXT BEL   bash: command NUMBER of its history begins
//! ESC ] 7717 ; WORD ; D ; STATUS BEL          the command is over
//! ESC ] 7717 ; WORD ; L BEL                   another shell: what is echoed from here to the end of the line is typed
//! ESC ] 7717 ; WORD ; M BEL                   the same, for a further line of the same command
//! ```

use greenroom_core::rehearsal::Typed;

/// Begins each of our sequences.
const OSC: &str = "\x1b]7717;";
/// Ends it.
const BEL: u8 = 7;
/// A command that is longer, in bytes, is cut; a sequence that is longer is none of ours.
const LONGEST: usize = 32 * 1024;
/// After so many commands of one session nothing more is recorded.
const MOST: usize = 10_000;

/// What was typed so far.
pub(super) struct Recorder {
    begin: Vec<u8>,
    /// The beginning of what may be one of our sequences.
    held: Vec<u8>,
    typed: Vec<Typed>,
    /// The last command is not over yet.
    open: bool,
    /// Number in bash's history of the last command.
    number: Option<u64>,
    /// What is echoed of a line that is being typed, and whether it continues the command before it.
    line: Option<(Vec<u8>, bool)>,
    now: Box<dyn Fn() -> String>,
}

impl Recorder {
    /// `word` is in our sequences and nowhere else; `now` is asked when a command begins.
    pub(super) fn new(word: &str, now: impl Fn() -> String + 'static) -> Self {
        let begin = format!("{OSC}{word};").into_bytes();
        Self { begin, held: Vec::new(), typed: Vec::new(), open: false, number: None, line: None, now: Box::new(now) }
    }

    /// The commands, in order.
    pub(super) fn typed(&self) -> &[Typed] {
        &self.typed
    }

    /// Whether some were left out because there were too many.
    pub(super) fn is_full(&self) -> bool {
        self.typed.len() >= MOST
    }

    /// Another shell begins: what the last one left open stays open for good.
    pub(super) fn again(&mut self) {
        (self.open, self.number, self.line) = (false, None, None);
        self.held.clear();
    }

    /// Takes a piece of what the shell shows; appends to `out` what the person is to see of it.
    pub(super) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            self.held.push(*byte);
            let known = self.held.len().min(self.begin.len());
            if self.held[..known] != self.begin[..known] {
                self.give_back(out);
            } else if *byte == BEL && self.held.len() > self.begin.len() {
                let sequence = std::mem::take(&mut self.held);
                let body = String::from_utf8_lossy(&sequence[self.begin.len()..sequence.len() - 1]).into_owned();
                self.hear(&body);
            } else if self.held.len() > self.begin.len() + 2 * LONGEST {
                self.give_back(out);
            }
        }
    }

    /// What was held is not ours: it is shown, but for a last byte that may begin the next one.
    fn give_back(&mut self, out: &mut Vec<u8>) {
        let mut held = std::mem::take(&mut self.held);
        if held.len() > 1 && held.last() == self.begin.first() {
            held.pop();
            self.held.push(self.begin[0]);
        }
        for byte in &held {
            self.echo(*byte);
        }
        out.extend_from_slice(&held);
    }

    /// Something is shown: perhaps a line that is being typed.
    fn echo(&mut self, byte: u8) {
        let Some((line, _)) = &mut self.line else { return };
        if byte != b'\n' {
            if line.len() < LONGEST {
                line.push(byte);
            }
            return;
        }
        if let Some((line, more)) = self.line.take() {
            let text = as_edited(&line);
            match self.typed.last_mut().filter(|_| more && self.open) {
                Some(last) if last.text.len() < LONGEST => last.text.push_str(&format!("\n{text}")),
                Some(_) => {}
                None if text.is_empty() => {}
                None => self.begin(text),
            }
        }
    }

    fn begin(&mut self, text: String) {
        if !self.is_full() {
            self.open = true;
            self.typed.push(Typed { at: (self.now)(), text, exit_code: None });
        }
    }

    fn hear(&mut self, body: &str) {
        match body.split_once(';').unwrap_or((body, "")) {
            ("C", rest) => {
                let (number, text) = rest.split_once(';').unwrap_or((rest, ""));
                let number = number.trim().parse().ok();
                // The same again: it keeps no history any more.
                let known = number.is_some() && number != self.number;
                self.number = number;
                let text: String = text.replace('\r', "").chars().take(LONGEST).collect();
                self.begin(if known { text } else { "(not known: the shell's history is off)".to_owned() });
            }
            ("D", status) => self.over(status),
            ("L", status) => {
                self.over(status);
                self.line = Some((Vec::new(), false));
            }
            ("M", _) => self.line = Some((Vec::new(), true)),
            _ => {}
        }
    }

    fn over(&mut self, status: &str) {
        let open = std::mem::take(&mut self.open);
        if let Some(last) = self.typed.last_mut().filter(|_| open) {
            last.exit_code = status.trim().parse().ok();
        }
    }
}

/// The line as it was when it was finished: the terminal echoes a correction as steps back and other characters over it.
fn as_edited(line: &[u8]) -> String {
    let mut out: Vec<char> = Vec::new();
    let mut at: usize = 0;
    for c in String::from_utf8_lossy(line).chars() {
        match c {
            '\u{8}' => at = at.saturating_sub(1),
            '\r' => {}
            _ => {
                if at < out.len() {
                    out[at] = c;
                } else {
                    out.push(c);
                }
                at += 1;
            }
        }
    }
    out.truncate(at);
    out.into_iter().collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new("w0rd", || "now".to_owned())
    }

    fn commands(recorder: &Recorder) -> Vec<(&str, Option<i32>)> {
        recorder.typed().iter().map(|t| (t.text.as_str(), t.exit_code)).collect()
    }

    /// All in pieces of `size`.
    fn pass(recorder: &mut Recorder, bytes: &[u8], size: usize) -> String {
        let mut out = Vec::new();
        bytes.chunks(size).for_each(|piece| recorder.pass(piece, &mut out));
        String::from_utf8(out).unwrap()
    }

    const BASH: &[u8] = b"\x1b]7717;w0rd;D;0\x07# ls\r\n\x1b]7717;w0rd;C;7;ls -l\x07\x1b[1mtotal\x1b[0m 0\r\n\
        \x1b]7717;w0rd;D;0\x07# for i in 1\r\n\x1b]7717;w0rd;C;8;for i in 1\r\ndo false; done\x07\x1b]7717;w0rd;D;1\x07# \
        \x1b]7717;w0rd;D;1\x07# \x1b]7717;w0rd;C;9;exit\x07exit\r\n";

    #[test]
    fn bash_says_it_itself_in_pieces_of_any_size() {
        for size in 1..40 {
            let mut recorder = recorder();
            let shown = pass(&mut recorder, BASH, size);
            assert_eq!(shown, "# ls\r\n\x1b[1mtotal\x1b[0m 0\r\n# for i in 1\r\n# # exit\r\n", "pieces of {size}");
            assert_eq!(
                commands(&recorder),
                [("ls -l", Some(0)), ("for i in 1\ndo false; done", Some(1)), ("exit", None)],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn what_another_shell_echoes_is_what_was_typed() {
        let shown = b"\x1b]7717;w0rd;L;0\x07ecko\x08 \x08\x08 \x08ho hi\r\nhi\r\n\x1b]7717;w0rd;L;0\x07if true\r\n> \
            \x1b]7717;w0rd;M\x07then false; fi\r\n\x1b]7717;w0rd;L;1\x07\r\n\x1b]7717;w0rd;L;1\x07passwd\r\nPassword: \r\n";
        for size in 1..30 {
            let mut recorder = recorder();
            pass(&mut recorder, shown, size);
            assert_eq!(
                commands(&recorder),
                [("echo hi", Some(0)), ("if true\nthen false; fi", Some(1)), ("passwd", None)],
                "pieces of {size}: nothing that was not echoed, nothing that a program printed"
            );
        }
    }

    #[test]
    fn nobody_else_can_say_it() {
        let mut recorder = recorder();
        let forged: &[u8] =
            b"\x1b]7717;other;C;1;rm -rf /\x07 \x1b]0;title\x07 \x1b\x1b]7717;w0rd;C;1;real\x07\x1b]7717;w0";
        let shown = pass(&mut recorder, forged, 3);
        assert_eq!(shown, "\x1b]7717;other;C;1;rm -rf /\x07 \x1b]0;title\x07 \x1b");
        assert_eq!(commands(&recorder), [("real", None)]);
    }

    #[test]
    fn a_shell_without_history_is_said_to_have_none() {
        let mut recorder = recorder();
        pass(
            &mut recorder,
            b"\x1b]7717;w0rd;C;5;set +o history\x07\x1b]7717;w0rd;D;0\x07\x1b]7717;w0rd;C;5;set +o history\x07",
            9,
        );
        assert_eq!(commands(&recorder)[1].0, "(not known: the shell's history is off)");
        recorder.again();
        pass(&mut recorder, b"\x1b]7717;w0rd;D;3\x07\x1b]7717;w0rd;C;5;ls\x07", 9);
        assert_eq!(commands(&recorder)[1].1, None, "another shell does not know how the last one's command ended");
        assert_eq!(commands(&recorder)[2].0, "ls", "another shell counts anew");
    }

    #[test]
    fn it_is_bounded() {
        let mut recorder = recorder();
        let mut endless = b"\x1b]7717;w0rd;C;1;".to_vec();
        endless.resize(200_000, b'x');
        let shown = pass(&mut recorder, &endless, 4096);
        assert!(shown.len() > 100_000, "it is not held for ever");
        assert!(recorder.typed().is_empty());
        for number in 0..MOST + 10 {
            pass(&mut recorder, format!("\x1b]7717;w0rd;C;{number};x\x07").as_bytes(), 4096);
        }
        assert_eq!(recorder.typed().len(), MOST);
    }
}
