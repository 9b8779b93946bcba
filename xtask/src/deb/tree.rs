//! The files of the package, as dpkg-deb(1) takes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use greenroom_engine::install::packaged;

use super::needs::Version;
use crate::generate;

const MAINTAINER: &str = "Greenroom maintainers <maintainers@greenroom.example>";

/// Where the program lies.
const PROGRAM: &str = "usr/bin/greenroom";

/// Lays everything below `root`.
pub(super) fn lay(repository: &Path, root: &Path, program: &Path, libc: Version) -> Result<()> {
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    files.insert(PROGRAM.into(), fs::read(program)?);
    for (name, text) in packaged(&format!("/{PROGRAM}")) {
        files.insert(Path::new("usr/lib/systemd/system").join(name), text.into_bytes());
    }
    let mut generated = generate::Files::new();
    generate::man_pages(&mut generated)?;
    generate::completions(&mut generated);
    for (path, content) in generated {
        let name = path.file_name().and_then(|name| name.to_str()).context("a generated file has a name")?;
        let (path, content) = match name {
            "greenroom.bash" => ("usr/share/bash-completion/completions/greenroom".to_owned(), content),
            "_greenroom" => ("usr/share/zsh/vendor-completions/_greenroom".to_owned(), content),
            "greenroom.fish" => ("usr/share/fish/vendor_completions.d/greenroom.fish".to_owned(), content),
            page => (format!("usr/share/man/man1/{page}.gz"), gzip(&content)?),
        };
        files.insert(path.into(), content);
    }
    let doc = Path::new("usr/share/doc/greenroom");
    files.insert(doc.join("copyright"), include_bytes!("copyright").to_vec());
    files.insert(doc.join("changelog.gz"), gzip(changelog(repository)?.as_bytes())?);
    files.insert(doc.join("NEWS.md.gz"), gzip(&fs::read(repository.join("CHANGELOG.md"))?)?);
    files.insert(doc.join("third-party.gz"), gzip(super::notices::of(repository)?.as_bytes())?);
    files.insert("usr/share/lintian/overrides/greenroom".into(), include_bytes!("lintian-overrides").to_vec());
    for (path, content) in &files {
        write(root, path, content, if path == Path::new(PROGRAM) { 0o755 } else { 0o644 })?;
    }
    control(root, &files, libc)
}

fn control(root: &Path, files: &BTreeMap<PathBuf, Vec<u8>>, libc: Version) -> Result<()> {
    let size: usize = files.values().map(|content| content.len().div_ceil(1024)).sum();
    let control = include_str!("control")
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@MAINTAINER@", MAINTAINER)
        .replace("@SIZE@", &size.to_string())
        .replace("@LIBC@", &libc.to_string());
    write(root, Path::new("DEBIAN/control"), control.as_bytes(), 0o644)?;
    let scripts = [
        ("postinst", include_bytes!("postinst").as_slice()),
        ("prerm", include_bytes!("prerm")),
        ("postrm", include_bytes!("postrm")),
    ];
    for (name, script) in scripts {
        write(root, &Path::new("DEBIAN").join(name), script, 0o755)?;
    }
    let mut sums = String::new();
    for path in files.keys() {
        let sum = super::text(Command::new("md5sum").arg("--").arg(root.join(path)))?;
        let sum = sum.split_whitespace().next().context("md5sum prints a sum")?;
        writeln!(sums, "{sum}  {}", path.display())?;
    }
    write(root, Path::new("DEBIAN/md5sums"), sums.as_bytes(), 0o644)
}

fn write(root: &Path, path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let path = root.join(path);
    let mut dir = root.to_owned();
    fs::create_dir_all(path.parent().context("a file has a directory")?)?;
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    // Whatever the umask was.
    for part in path.strip_prefix(root)?.parent().into_iter().flat_map(Path::components) {
        dir.push(part);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Without the time and the name in it: the same text is always the same file.
fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip").args(["-9", "-n"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = gzip.stdin.take().context("gzip has an input")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(content));
        gzip.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("gzip: {}", output.status);
    }
    Ok(output.stdout)
}

/// When the sources were committed last, in seconds since 1970: the package of a commit is always the same.
pub(super) fn time(repository: &Path) -> Result<i64> {
    let time = super::text(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(repository))?;
    time.trim().parse().with_context(|| format!("{time:?} is no time"))
}

fn changelog(repository: &Path) -> Result<String> {
    let at = jiff::Timestamp::from_second(time(repository)?)?.to_zoned(jiff::tz::TimeZone::UTC);
    Ok(format!(
        "greenroom ({}) unstable; urgency=medium\n\n  * What is new: /usr/share/doc/greenroom/NEWS.md.gz\n\n -- {MAINTAINER}  {}\n",
        env!("CARGO_PKG_VERSION"),
        at.strftime("%a, %d %b %Y %H:%M:%S +0000")
    ))
}
