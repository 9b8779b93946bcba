//! Names of systemd units as a person writes them.

/// A text that names no systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a systemd unit: 1 to 255 letters, digits and : _ . \\ @ - are expected")]
pub struct BadUnit;

/// The full name of a systemd unit: without a known suffix it is a service, as for systemctl(1).
///
/// # Errors
/// [`BadUnit`] when it has other characters than systemd.unit(5) allows, or is too long; patterns are refused too.
pub fn unit_name(text: &str) -> Result<String, BadUnit> {
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".device",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".path",
        ".timer",
        ".slice",
        ".scope",
    ];
    let full = match SUFFIXES.iter().any(|suffix| text.ends_with(suffix) && text.len() > suffix.len()) {
        true => text.to_owned(),
        false => format!("{text}.service"),
    };
    let sound = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.\\@-".contains(&b));
    if sound && full.len() <= 255 { Ok(full) } else { Err(BadUnit) }
}
