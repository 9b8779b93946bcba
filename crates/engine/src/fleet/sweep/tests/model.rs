//! Whatever is on record: what it needs stays, by a list of the test's own, and nothing else does.

use super::*;

/// What the test put on record.
#[derive(Default)]
struct Model {
    /// By host, oldest first: the update, and what the host had.
    images: BTreeMap<String, Vec<(String, BTreeSet<String>)>>,
    /// Commands that are not done, and what they need.
    open: BTreeMap<String, Open>,
    /// Rehearsals, and whether they are old.
    rehearsals: Vec<Rehearsed>,
}

enum Open {
    /// An image was asked for after this one; what was offered.
    Image(Option<BTreeSet<String>>, Option<BTreeSet<String>>),
    Rebuild(BTreeSet<String>),
    /// One of so many rehearsals, in `rehearsals`.
    Rehearsal(usize),
}

struct Rehearsed {
    id: String,
    old: bool,
    files: BTreeSet<String>,
    /// Held on a stage: on an image of this, with this record.
    staged: Option<(BTreeSet<String>, Rehearsal, BTreeSet<ContentHash>)>,
    applied: bool,
}

impl Model {
    fn newest(&self, host: &str) -> Option<&BTreeSet<String>> {
        self.images.get(host)?.last().map(|(_, has)| has)
    }

    /// Takes old images off the record.
    fn drop_images(&mut self) -> BTreeMap<String, Vec<String>> {
        let named: Vec<BTreeSet<String>> = self
            .open
            .values()
            .filter_map(|open| match open {
                Open::Image(since, _) => since.clone(),
                Open::Rebuild(of) => Some(of.clone()),
                Open::Rehearsal(_) => None,
            })
            .collect();
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (host, images) in &mut self.images {
            let beyond = images.len().saturating_sub(3);
            let mut at = 0;
            images.retain(|(id, has)| {
                at += 1;
                let goes = at <= beyond && !named.contains(has);
                if goes {
                    out.entry(host.clone()).or_default().push(id.clone());
                }
                !goes
            });
        }
        out
    }

    fn needed(&self) -> BTreeSet<ContentHash> {
        let mut out = BTreeSet::new();
        let mut host = |has: &BTreeSet<String>| {
            out.insert(host_with(has).id());
            out.extend(has.iter().map(|text| hash(text)));
        };
        self.images.values().flatten().for_each(|(_, has)| host(has));
        for open in self.open.values() {
            match open {
                Open::Image(_, Some(offered)) => host(offered),
                Open::Rebuild(of) => host(of),
                Open::Image(_, None) | Open::Rehearsal(_) => {}
            }
        }
        for (at, held) in self.rehearsals.iter().enumerate() {
            let open = self.open.values().any(|open| matches!(open, Open::Rehearsal(of) if *of == at));
            if open || !held.old {
                out.extend(held.files.iter().map(|text| hash(text)));
            }
            let Some((on, record, brings)) = &held.staged else { continue };
            if !held.old {
                out.insert(host_with(on).id());
            }
            if !held.old || held.applied {
                out.extend(brings);
            }
            if held.applied {
                out.insert(staged_as(record).0);
            }
        }
        out
    }
}

/// Plays until something is on record that was not.
async fn something(world: &World, model: &mut Model, dice: &mut Dice) {
    let fleet = &world.fleets[usize::from(dice.below(2) == 0)];
    let host = HOSTS[usize::from(dice.below(2) == 0)];
    let now = dice.some(14);
    match dice.below(10) {
        0..=3 => {
            let since = model.newest(host).cloned();
            let run = fleet.image(&NewImages { on: vec![host.to_owned()], limit_rate: None }, "anna").await.unwrap();
            let command = format!("{}.{host}", run.id);
            let mut open = Open::Image(since.clone(), None);
            let far = dice.below(6);
            if far > 0 {
                let last = since.as_ref().map(host_with);
                offer(fleet, host, &command, &now, last.as_ref().filter(|_| far.is_multiple_of(2))).await.unwrap();
                open = Open::Image(since, Some(now.clone()));
            }
            model.open.insert(format!("{command} {host}"), open);
            if far > 1 {
                let answer = imaged(host_with(&now).id());
                fleet.answered(&[(host.to_owned(), command.clone(), answer)]).await.unwrap();
                model.open.remove(&format!("{command} {host}"));
                model.images.entry(host.to_owned()).or_default().push((run.id, now));
            }
        }
        4 => {
            let other = HOSTS[usize::from(host == HOSTS[0])];
            let Some(of) = model.newest(other).cloned() else { return };
            let wanted = NewRebuild { host: host.to_owned(), of: other.to_owned(), why: None };
            // Refused where a change has the host.
            let Ok(begun) = fleet.rebuild(&wanted, ANNA).await else { return };
            model.open.insert(format!("{}.{host} {host}", begun.id), Open::Rebuild(of));
        }
        5 => {
            world.blobs.put_bytes(format!("of nobody {}", dice.below(1000)).as_bytes()).unwrap();
        }
        6 => {
            let Some(name) = model.open.keys().nth(usize::try_from(dice.below(8)).unwrap()).cloned() else { return };
            let (command, of) = name.split_once(' ').unwrap();
            fleet.answered(&[(of.to_owned(), command.to_owned(), failed())]).await.unwrap();
            model.open.remove(&name);
        }
        7 => rehearsed(fleet, model, dice, host).await,
        _ => staged(fleet, model, dice, host).await,
    }
}

/// A rehearsal on the host, with files, begun now or long ago.
async fn rehearsed(fleet: &Fleet, model: &mut Model, dice: &mut Dice, host: &str) {
    let (files, old) = (dice.some(14), dice.below(2) == 0);
    fleet.bring(packed(files.iter().map(|text| text.as_bytes()))).await.unwrap();
    AHEAD.store(if old { -31 * DAY } else { 0 }, Ordering::Relaxed);
    let files_sent = files.iter().map(|text| sent(text)).collect();
    let rehearse = Rehearse { argv: vec!["true".to_owned()], files: files_sent, ..Rehearse::default() };
    let wanted = NewRehearsal { on: vec![host.to_owned()], rehearse, held: HeldAt::Hosts };
    let begun = fleet.rehearse(&wanted, "anna").await.unwrap();
    AHEAD.store(0, Ordering::Relaxed);
    let at = model.rehearsals.len();
    model.open.insert(format!("{}.{host} {host}", begun.id), Open::Rehearsal(at));
    model.rehearsals.push(Rehearsed { id: begun.id, old, files, staged: None, applied: false });
}

/// A rehearsal on the stage, which is over; applied or not.
async fn staged(fleet: &Fleet, model: &mut Model, dice: &mut Dice, host: &str) {
    let (on, after, old) = (dice.some(14), dice.some(14), dice.below(2) == 0);
    AHEAD.store(if old { -31 * DAY } else { 0 }, Ordering::Relaxed);
    let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    let held = HeldAt::Stage(Some("stage1".to_owned()));
    let begun = fleet.rehearse(&NewRehearsal { on: vec![host.to_owned()], rehearse, held }, "anna").await.unwrap();
    let images = fleet.rehearsal(&begun.id).await.unwrap().stage.unwrap().images;
    let imaging = format!("{images}.{host}");
    offer(fleet, host, &imaging, &on, None).await.unwrap();
    fleet.answered(&[(host.to_owned(), imaging, imaged(host_with(&on).id()))]).await.unwrap();
    model.images.entry(host.to_owned()).or_default().push((images, on.clone()));

    let (record, brings) = on_stage(fleet, &begun.id, host, (&on, &after)).await;
    let change = NewChange { rehearsal: begun.id.clone(), ..NewChange::default() };
    let applied = dice.below(3) == 0 && fleet.apply(&change, ANNA).await.is_ok();
    AHEAD.store(0, Ordering::Relaxed);
    let files = BTreeSet::new();
    model.rehearsals.push(Rehearsed { id: begun.id, old, files, staged: Some((on, record, brings)), applied });
}

#[test]
fn what_is_needed_stays_and_nothing_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in 1..=3 {
        runtime.block_on(async {
            let (world, mut model, mut dice) = (World::new(&HOSTS, shifted).await, Model::default(), Dice(seed * 7919));
            for round in 0..4 {
                for _ in 0..12 {
                    something(&world, &mut model, &mut dice).await;
                }
                let before = world.there();
                let tried = api::NewSweep { older_than_ms: Some(0), dry_run: true };
                let would = world.fleets[0].sweep(&tried, "anna").await.unwrap();
                assert_eq!(world.there(), before);
                let gone = world.sweep(round % 2).await;
                assert_eq!(gone, would, "seed {seed} round {round}");
                assert_eq!(gone.images, model.drop_images(), "seed {seed} round {round}");
                assert_eq!(world.there(), model.needed(), "seed {seed} round {round}");
                assert_eq!(gone.contents, (before.len() - world.there().len()) as u64);
                for host in HOSTS {
                    let there = world.fleets[1].images(Some(host)).await.unwrap().images;
                    let there: Vec<&str> = there.iter().rev().map(|image| image.id.as_str()).collect();
                    let left = model.images.get(host).map_or(&[][..], Vec::as_slice);
                    assert_eq!(there, left.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
                }
            }
            // What was rehearsed long ago says so, unless all of it happens to be here still.
            for held in model.rehearsals.iter().filter(|held| !held.applied) {
                let Some((_, _, brings)) = &held.staged else { continue };
                let whole = world.there().is_superset(brings);
                let change = NewChange { rehearsal: held.id.clone(), ..NewChange::default() };
                match world.fleets[0].apply(&change, ANNA).await {
                    Err(FleetError::Refused { what, .. }) if what.contains("are gone") => assert!(!whole, "{what}"),
                    // Another change has the host.
                    Ok(_) | Err(FleetError::Refused { .. }) => assert!(whole || !held.old),
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
}
