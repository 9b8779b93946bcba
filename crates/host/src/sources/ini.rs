//! The ini dialects of pip (Python's configparser) and npm, as far as they are the same.

/// A setting with each line of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) section: String,
    pub(super) key: String,
    /// (line number from 1, text); more than one only with continuation lines.
    pub(super) lines: Vec<(usize, String)>,
}

/// Reads all settings in order. With `continued`, an indented line belongs to the setting above it. `separators` end a key.
pub(super) fn parse(text: &str, separators: &[char], continued: bool) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if line.is_empty() {
            open = false;
        } else if continued && open && raw.starts_with([' ', '\t']) {
            if let Some(last) = settings.last_mut() {
                last.lines.push((index + 1, line.to_owned()));
            }
        } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.trim().to_owned();
            open = false;
        } else if let Some((key, value)) = line.split_once(separators) {
            let lines = vec![(index + 1, value.trim().to_owned())];
            settings.push(Setting { section: section.clone(), key: key.trim().to_owned(), lines });
            open = true;
        }
    }
    settings
}
