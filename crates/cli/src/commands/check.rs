//! `greenroom check`

use std::fmt::Write as _;
use std::path::PathBuf;

use greenroom_core::path::Shown;
use greenroom_core::system::{Host, Service, System};
use greenroom_engine::system::{Declared, find};

use crate::args::Check;
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(super) fn run(args: &Check, ui: &Ui) -> Result<u8, Failure> {
    let file = file_or_found(args.file.as_ref())?;
    let declared = Declared::load(&file, args.environment.as_deref())?;
    if ui.json {
        ui.object(&declared)?;
    } else {
        ui.print(&text(&declared, ui))?;
    }
    Ok(status::DONE)
}

/// The file that is named, or the one of this directory.
pub(super) fn file_or_found(file: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    match file {
        Some(file) => Ok(file.clone()),
        None => Ok(find(&here()?)?),
    }
}

pub(super) fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| {
        Failure::new(status::FAULT, format!("the working directory cannot be found: {error}")).hint("name the file")
    })
}

/// What the file means, for a person who wants to see whether it means what they meant.
fn text(declared: &Declared, ui: &Ui) -> String {
    let system = &declared.system;
    let strong = |text: &str| ui.tone(Tone::Strong, text);
    let environment = system.environment.as_ref().map_or_else(String::new, |name| format!(", environment {name}"));
    let mut out = format!("{}{environment}  {}\n", strong(&system.name), ui.tone(Tone::Good, "all is well"));
    row(&mut out, "file", &file(declared));
    row(&mut out, "revision", &revision(declared));
    if declared.environments.len() > usize::from(system.environment.is_some()) {
        row(&mut out, "environments", &declared.environments.join(", "));
    }
    let _ = writeln!(out, "\n{}", strong(&super::counted(system.hosts.len(), "host")));
    let wide = system.hosts.iter().map(|host| host.name.len()).max().unwrap_or(0);
    let order = system.restart_order();
    system.hosts.iter().for_each(|one| host(&mut out, one, &order, wide));
    if !system.services.is_empty() {
        let _ = writeln!(out, "\n{}", strong(&super::counted(system.services.len(), "service")));
        order.iter().for_each(|one| service(&mut out, one));
    }
    if !system.tests.is_empty() {
        let _ = writeln!(out, "\n{}", strong(&super::counted(system.tests.len(), "test")));
        for test in &system.tests {
            let _ = writeln!(out, "  {}  on {}", Shown(test.name.as_bytes()), where_(&test.hosts, system));
        }
    }
    people(&mut out, system, ui);
    let _ = writeln!(out, "\n{}", strong("a change"));
    system.policy.words().iter().for_each(|line| {
        let _ = writeln!(out, "  {line}");
    });
    for role in &system.roles {
        let Some(policy) = &role.policy else { continue };
        let _ = writeln!(out, "  on hosts with the role {}:", role.name);
        policy.words().iter().filter(|line| !system.policy.words().contains(line)).for_each(|line| {
            let _ = writeln!(out, "    {line}");
        });
    }
    out
}

fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<12} {value}");
}

fn file(declared: &Declared) -> String {
    let more = declared.files.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" and {}", super::counted(more, "more file")) };
    format!("{}{more}", Shown(declared.file.as_os_str().as_encoded_bytes()))
}

fn revision(declared: &Declared) -> String {
    match (&declared.revision, &declared.unversioned) {
        (Some(revision), _) => {
            let dirty = if declared.dirty { ", with changes that are not committed" } else { "" };
            format!("{}{dirty}", &revision[..revision.len().min(12)])
        }
        (None, Some(why)) => format!("none: {why}"),
        (None, None) => "none".to_owned(),
    }
}

fn host(out: &mut String, host: &Host, order: &[&Service], wide: usize) {
    let ssh = host.ssh.as_ref().map_or_else(String::new, |ssh| format!(", ssh {ssh}"));
    let roles = if host.roles.is_empty() { String::new() } else { format!("  {}", host.roles.join(", ")) };
    let _ = writeln!(out, "  {:<wide$}  {}{ssh}{roles}", host.name, host.address);
    let services: Vec<&str> =
        order.iter().filter(|one| one.hosts.contains(&host.name)).map(|one| one.name.as_str()).collect();
    if !services.is_empty() {
        let _ = writeln!(out, "  {:<wide$}    runs {}", "", services.join(", "));
    }
}

fn service(out: &mut String, service: &Service) {
    let owner =
        service.owner.as_ref().map_or_else(|| "  nobody answers for it".to_owned(), |team| format!("  team {team}"));
    let _ = writeln!(out, "  {}  {}{owner}", service.name, service.unit);
    let after = if service.after.is_empty() { String::new() } else { format!(", after {}", service.after.join(", ")) };
    let split: Vec<String> = service.batch.split(service.hosts.len()).iter().map(ToString::to_string).collect();
    let _ =
        writeln!(out, "    on {}, {} ({}){after}", service.hosts.join(", "), service.batch.words(), split.join("+"));
    for check in &service.health {
        let every = greenroom_core::change::show_duration(check.interval);
        let _ = writeln!(
            out,
            "    well: {} (every {every}, {} good, {} bad in a row)",
            check.probe, check.successes, check.failures
        );
    }
}

fn where_(hosts: &[String], system: &System) -> String {
    if hosts.len() == system.hosts.len() { "every host".to_owned() } else { hosts.join(", ") }
}

fn people(out: &mut String, system: &System, ui: &Ui) {
    if system.teams.is_empty() && system.people.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", ui.tone(Tone::Strong, "people"));
    for team in &system.teams {
        let people = if team.people.is_empty() { String::new() } else { format!(": {}", team.people.join(", ")) };
        let _ = writeln!(out, "  team {}{people}{}", team.name, ways(&team.contact));
    }
    for person in &system.people {
        let name = person.full_name.as_ref().map_or_else(String::new, |name| format!(" ({})", Shown(name.as_bytes())));
        let _ = writeln!(out, "  {}{name}{}", person.name, ways(&person.contact));
    }
}

fn ways(contact: &greenroom_core::system::Contact) -> String {
    let all = [&contact.email, &contact.phone, &contact.webhook];
    let given: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
    if given.is_empty() { String::new() } else { format!("  {}", given.join(", ")) }
}
