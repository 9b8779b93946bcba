//! The shell of a hotfix: bash where the copy has it, else its `/bin/sh`; with a prompt that says where it is, and told to say
//! which commands it runs ([`super::recorder`]).
//!
//! Nothing is written into the copy for it: the settings reach bash through a descriptor, and another shell through its
//! prompt. The person's own `~/.bashrc` is read first and keeps its prompt, behind the word *copy*.

use std::ffi::OsString;

use greenroom_host::copy::Command;

/// Settings of bash. A function rather than a trap: `PS0` is expanded in a process of its own once a command was read, with
/// the history as it then is.
const BASH: &str = r##"
[ -r /etc/bash.bashrc ] && . /etc/bash.bashrc
[ -r ~/.bashrc ] && . ~/.bashrc
__greenroom_say() { local text=${1//[$'\a\033']/?}; printf '\033]7717;WORD;%s\a' "${text:0:30000}"; }
__greenroom_begin() {
  local line; line=$(HISTTIMEFORMAT= builtin history 1 2>/dev/null)
  [[ $line =~ ^\ *([0-9]+)\*?\ +(.*)$ ]] && __greenroom_say "C;${BASH_REMATCH[1]};${BASH_REMATCH[2]}" || __greenroom_say "C;;"
}
__greenroom_end() { local status=$?; __greenroom_say "D;$status"; return $status; }
HISTCONTROL= HISTIGNORE=
PS0='$(__greenroom_begin)'"${PS0-}"
PROMPT_COMMAND='__greenroom_end'"${PROMPT_COMMAND:+; $PROMPT_COMMAND}"
if [ -n "$NO_COLOR" ] || [ "${TERM:-dumb}" = dumb ]; then PS1="(copy) ${PS1:-\\u@\\h:\\w\\$ }"
else PS1="\[\e[1;33m\](copy)\[\e[0m\] ${PS1:-\\u@\\h:\\w\\$ }"; fi
exec 9<&-
"##;

/// Starts the shell. `$?` in a prompt is expanded each time it is shown.
const START: &str = r##"
if [ -x /bin/bash ]; then
exec /bin/bash --rcfile /dev/fd/9 -i 9<<'END-OF-GREENROOM-BASHRC'
@BASHRC@
END-OF-GREENROOM-BASHRC
fi
mark() { printf '\033]7717;WORD;%s\a' "$1"; }
PS1="(copy) $(uname -n) # $(mark 'L;$?')" PS2="> $(mark M)" ENV= exec /bin/sh -i
"##;

/// The command that is run in the copy. `word` is what its messages begin with.
pub(super) fn command(word: &str) -> Command {
    let text = START.replace("@BASHRC@", BASH.trim()).replace("WORD", word);
    let argv = ["/bin/sh", "-c", &text].map(OsString::from).to_vec();
    Command { argv, dir: None, timeout: None }
}
