//! `greenroom image` and `greenroom rebuild`.

use std::time::{Duration, Instant};

use greenroom_core::api::{
    Begun, Image, ImageRun, Images, NewImages, NewRebuild, OnImage, OnRebuild, Rebuild as Rebuilding,
};
use greenroom_core::wire::Failed;
use greenroom_net::client::Http;

use crate::args::{self, Global, ImageWhat};
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

/// The shortest and the longest time between two questions whether it is over.
const LOOK: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// Asks until there is an answer; ever less often, so that nobody waits a fortieth longer than it takes.
fn until<T>(mut ask: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    let (began, [shortest, longest]) = (Instant::now(), LOOK);
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        std::thread::sleep((began.elapsed() / 40).clamp(shortest, longest));
    }
}

pub(in crate::commands) fn run(global: &Global, args: &args::Image, on: &[String], ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    match &args.what {
        ImageWhat::Update { limit_rate } => {
            if on.is_empty() {
                return Err(Failure::usage("no host is named").hint("greenroom image update --on web1, or --on all"));
            }
            update(&http, &NewImages { on: on.to_vec(), limit_rate: *limit_rate }, ui)
        }
        ImageWhat::List => show(&http.get::<Images>("/v1/images")?, ui),
        ImageWhat::Show { host } => show(&http.get::<Images>(&format!("/v1/images?host={host}"))?, ui),
    }
}

fn update(http: &Http, wanted: &NewImages, ui: &Ui) -> Result<u8, Failure> {
    let begun: Begun = http.post("/v1/images", wanted)?;
    ui.say(&format!("{} of {}", begun.id, begun.hosts.join(", ")));
    let run = until(|| Ok(Some(http.get::<ImageRun>(&format!("/v1/images/{}", begun.id))?).filter(|run| run.over)))?;
    if ui.json {
        ui.object(&run)?;
    } else {
        for (host, on) in &run.hosts {
            let line = match on {
                OnImage::Running => "not over".to_owned(),
                OnImage::Done { image } => ui.tone(Tone::Good, &sentence(image)),
                OnImage::Failed { failed } => ui.tone(Tone::Bad, &why(failed)),
            };
            ui.print(&format!("{host}  {line}\n"))?;
        }
    }
    let all = run.hosts.values().all(|on| matches!(on, OnImage::Done { .. }));
    Ok(if all { status::DONE } else { status::FAILED })
}

fn sentence(image: &Image) -> String {
    let left_out = match image.left_out.len() {
        0 => String::new(),
        n => format!("; {n} that changed all the time left out"),
    };
    format!(
        "{} paths, {}; {} sent in {:.1} s{left_out}",
        image.paths,
        size(image.bytes),
        size(image.sent),
        image.took_ms as f64 / 1000.0
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

fn why(failed: &Failed) -> String {
    let more = failed.causes.iter().chain(&failed.hints);
    more.fold(failed.what.clone(), |out, line| format!("{out}; {line}"))
}

fn show(images: &Images, ui: &Ui) -> Result<u8, Failure> {
    if ui.json {
        ui.object(images)?;
        return Ok(status::DONE);
    }
    if images.images.is_empty() {
        ui.print("there is no image; greenroom image update --on HOST makes one\n")?;
    }
    for image in &images.images {
        let at = jiff::Timestamp::from_millisecond(image.at).map(|at| format!("{at:.0}")).unwrap_or_default();
        let of = &image.system.distribution;
        ui.print(&format!("{}  {}  {at}  {of}  {}\n", image.host, image.id, sentence(image)))?;
    }
    Ok(status::DONE)
}

/// `greenroom rebuild NEWHOST --as HOST`
pub(in crate::commands) fn rebuild(global: &Global, args: &args::Rebuild, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    let wanted = NewRebuild { host: args.host.clone(), of: args.of.clone(), why: args.why.clone() };
    let begun: Begun = http.post("/v1/rebuilds", &wanted)?;
    ui.say(&format!("{}: {} becomes what {} is on record", begun.id, args.host, args.of));
    let rebuild = until(|| {
        let rebuild: Rebuilding = http.get(&format!("/v1/rebuilds/{}", begun.id))?;
        Ok(Some(rebuild).filter(|rebuild| !matches!(rebuild.now, OnRebuild::Running)))
    })?;
    if ui.json {
        ui.object(&rebuild)?;
    } else {
        ui.print(&ended(&rebuild, ui))?;
    }
    Ok(if matches!(rebuild.now, OnRebuild::Done { .. }) { status::DONE } else { status::FAILED })
}

fn ended(rebuild: &Rebuilding, ui: &Ui) -> String {
    let (host, of) = (&rebuild.host, &rebuild.of);
    let OnRebuild::Done { local, entries, fetched, services, own, notes } = &rebuild.now else {
        let why = if let OnRebuild::Failed { failed } = &rebuild.now { why(failed) } else { String::new() };
        return ui.tone(Tone::Bad, &format!("{host} is as it was: {why}")) + "\n";
    };
    let at = jiff::Timestamp::from_millisecond(rebuild.image_at).map(|at| format!("{at:.0}")).unwrap_or_default();
    let head = format!("{host} is what {of} was at {at}, in {:.1} s", rebuild.took_ms as f64 / 1000.0);
    let mut out = format!("{}\n  {entries} paths changed, {} fetched\n", ui.tone(Tone::Good, &head), size(*fetched));
    if !services.is_empty() {
        out += &format!("  started or restarted: {}\n", services.join(", "));
    }
    out += &format!("  its own still: {}\n", list(own));
    if !rebuild.later.is_empty() {
        let later = rebuild.later.join(", ");
        out += &ui.tone(Tone::Warn, &format!("  came after the image and are not in it: {later}\n"));
    }
    notes.iter().for_each(|note| out += &format!("  {note}\n"));
    out + &format!("  to take it back: greenroom undo {local} --on {host}\n")
}

fn list(paths: &[String]) -> String {
    let more = if paths.len() > 12 { format!(" and {} more", paths.len() - 12) } else { String::new() };
    format!("{}{more}", paths[..paths.len().min(12)].join(", "))
}
