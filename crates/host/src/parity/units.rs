//! What unit files say of services: which program they start, in which environment.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::TreePath;
use greenroom_core::parity::config::parse;
use greenroom_core::parity::secret::{hashed, masked};

use super::inside::Inside;

/// By descending rank: a file hides one of the same name further down.
const DIRS: &[&str] =
    &["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

/// No line of an environment file counts after so many.
const MOST: usize = 10_000;

/// A service, by its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// The first words of its `ExecStart=` lines.
    pub(super) programs: BTreeSet<String>,
    /// Variables as they may be shown.
    pub(super) environment: BTreeMap<String, String>,
    /// Directories that come before all others when its programs look for libraries.
    pub(super) library_path: Vec<String>,
}

/// Reads the files of a service; `None`: there are none.
pub(super) fn service(inside: &Inside, unit: &str) -> Option<Service> {
    let text = text(inside, unit)?;
    let settings = parse(&"/x.service".into(), &text)?;
    let list = |key: &str| {
        let values = settings.get(&format!("Service.{key}")).map(Vec::as_slice).unwrap_or_default();
        // An empty value takes back all before it.
        let from = values.iter().rposition(String::is_empty).map_or(0, |at| at + 1);
        values[from..].iter().map(|value| specified(value, unit)).collect::<Vec<String>>()
    };
    let starts = ["ExecStart", "ExecStartPre"].iter().flat_map(|key| list(key));
    let programs = starts.filter_map(|line| program(&line)).collect();
    let raw = variables(inside, &list("Environment"), &list("EnvironmentFile"));
    let path = raw.get("LD_LIBRARY_PATH").map(|(value, _)| value.as_str()).unwrap_or_default();
    let library_path = path.split(':').filter(|dir| dir.starts_with('/')).map(str::to_owned).collect();
    let shown = |key: &str, (value, public): (String, bool)| if public { masked(key, &value) } else { hashed(&value) };
    let environment = raw.into_iter().map(|(key, value)| (key.clone(), shown(&key, value))).collect();
    Some(Service { programs, environment, library_path })
}

/// Values by variable, and whether everybody may read them. Files come after `Environment=`, as systemd.exec(5) has it.
fn variables(inside: &Inside, lines: &[String], files: &[String]) -> BTreeMap<String, (String, bool)> {
    let mut out = BTreeMap::new();
    for word in lines.iter().flat_map(|line| words(line)) {
        if let Some((key, value)) = word.split_once('=') {
            out.insert(key.to_owned(), (value.to_owned(), true));
        }
    }
    for file in files {
        let Some((text, public)) = inside.text(&file.trim_start_matches('-').into()) else { continue };
        for line in text.lines().take(MOST).map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches(['"', '\'']).to_owned();
                out.insert(key.trim().to_owned(), (value, public));
            }
        }
    }
    out
}

/// The unit's file and its drop-ins after it.
fn text(inside: &Inside, unit: &str) -> Option<String> {
    let template = unit.split_once('@').and_then(|(name, rest)| Some(format!("{name}@.{}", rest.rsplit_once('.')?.1)));
    let names: Vec<&str> = std::iter::once(unit).chain(template.as_deref()).collect();
    let places = names.iter().flat_map(|name| DIRS.iter().map(move |dir| TreePath::from(*dir).join(name.as_bytes())));
    let (mut text, place) = places.into_iter().find_map(|path| Some((inside.text(&path)?.0, path)))?;
    // An alias: the unit is known by its own name.
    if inside.resolve(&place).is_some_and(|real| !names.iter().any(|name| name.as_bytes() == real.name())) {
        return None;
    }
    // By file name, whatever the directory; of equal names the one of the highest rank.
    let mut drop_ins: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
    for dir in DIRS.iter().rev() {
        for name in names.iter().rev() {
            let dir = TreePath::from(*dir).join(format!("{name}.d").as_bytes());
            let files = inside.names(&dir).into_iter().filter(|file| file.ends_with(b".conf"));
            drop_ins.extend(files.map(|file| (file.clone(), dir.join(&file))));
        }
    }
    for path in drop_ins.values() {
        if let Some((more, _)) = inside.text(path) {
            text.push('\n');
            text.push_str(&more);
        }
    }
    Some(text)
}

/// The specifiers that stand in paths and values of instances, see systemd.unit(5).
fn specified(value: &str, unit: &str) -> String {
    let instance = unit.split_once('@').and_then(|(_, rest)| rest.rsplit_once('.')).map_or("", |(name, _)| name);
    value.replace("%i", instance).replace("%I", instance).replace("%n", unit)
}

/// The program of an `ExecStart=` line, without the characters that change how it is started.
fn program(line: &str) -> Option<String> {
    let bare = line.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let first = words(bare).into_iter().next()?;
    first.starts_with('/').then_some(first)
}

/// Words as systemd splits them: by blanks, with quotes around words or after `=`.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (mut word, mut quote, mut open) = (String::new(), None, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.extend(chars.next()),
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => (quote, open) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, _) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        out.push(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_systemd_splits_them() {
        assert_eq!(words(r#"A=1 "B=two words" C="x y" 'D= z' E\ F"#), ["A=1", "B=two words", "C=x y", "D= z", "E F"]);
        assert_eq!(program("-!/usr/sbin/nginx -g 'daemon on;'").as_deref(), Some("/usr/sbin/nginx"));
        assert_eq!(program("echo x"), None);
    }

    #[test]
    fn a_service_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put(
            "usr/lib/systemd/system/a@.service",
            "[Service]\nExecStart=/bin/old\nEnvironment=X=1 TOKEN=hunter2\n",
            0o644,
        );
        put(
            "etc/systemd/system/a@.service.d/o.conf",
            "[Service]\nExecStart=\nExecStart=/bin/new %i\nEnvironment=\"X=2\"\n",
            0o644,
        );
        put(
            "etc/systemd/system/a@b.service.d/p.conf",
            "[Service]\nEnvironmentFile=-/etc/default/a\nEnvironmentFile=/etc/a.env\n",
            0o644,
        );
        put("etc/default/a", "# no\nLANG=\"C\"\nLD_LIBRARY_PATH=/opt/lib:rel\n", 0o644);
        put("etc/a.env", "MODE=hunter2\n", 0o600);
        let found = service(&Inside::open(dir.path()).unwrap(), "a@b.service").unwrap();
        assert_eq!(found.programs.into_iter().collect::<Vec<_>>(), ["/bin/new"]);
        assert_eq!(found.library_path, ["/opt/lib"]);
        let shown: Vec<String> = found.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown[..2], ["LANG=C", "LD_LIBRARY_PATH=/opt/lib:rel"]);
        assert!(
            shown[2].starts_with("MODE=hash:") && shown[3].starts_with("TOKEN=hash:") && shown[4] == "X=2",
            "{shown:?}"
        );
    }
}
