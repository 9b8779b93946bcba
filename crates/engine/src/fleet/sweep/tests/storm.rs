//! Hosts, changes and sweeps at the same time, and sweeps that are killed.

use super::*;

/// How a storm went.
#[derive(Default)]
struct Storm {
    ended: AtomicU64,
    killed: AtomicU64,
    images: AtomicU64,
    refused: AtomicU64,
    changes: AtomicU64,
    /// The lease with this fence was that of a sweep that was killed.
    dead: AtomicU64,
    /// Somebody found something wrong.
    broken: AtomicU64,
}

/// Who panics ends it for all.
struct Alarm<'s>(&'s Storm);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.broken.fetch_add(u64::from(std::thread::panicking()), Ordering::Relaxed);
    }
}

impl Storm {
    fn is_over(&self) -> bool {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        count(&self.broken) > 0
            || count(&self.ended) >= 15
                && count(&self.killed) >= 10
                && count(&self.images) >= 150
                && count(&self.changes) >= 10
    }
}

/// A control plane that sweeps again and again, and is killed now and then.
async fn sweeps(world: &World, at: usize, storm: &Storm) {
    let (mut dice, _alarm) = (Dice(31 + at as u64), Alarm(storm));
    while !storm.is_over() {
        let fleet = world.fleets[at].clone();
        let lease = fleet.sweep_lease().await.unwrap();
        if lease.holder.is_some() && lease.fence != storm.dead.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let task = tokio::spawn(async move { fleet.sweep_under(&lease, Duration::ZERO, None).await });
        if dice.below(2) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
            task.abort();
        }
        match task.await {
            Ok(Ok(_)) => drop(storm.ended.fetch_add(1, Ordering::Relaxed)),
            Ok(Err(FleetError::Refused { .. })) => {}
            Ok(Err(error)) => panic!("{error:?}"),
            Err(_) => {
                storm.killed.fetch_add(1, Ordering::Relaxed);
                // What it was just removing is removed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                while world.blobs.removing.load(Ordering::SeqCst) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let lease = world.fleets[at].sweep_lease().await.unwrap();
                if lease.holder.as_deref() == Some(world.fleets[at].name()) {
                    storm.dead.store(lease.fence, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A host whose image is brought up to date again and again, and a person who rehearses there now and then; the files of that.
async fn goes_on(world: &World, host: &str, seed: u64, storm: &Storm) -> BTreeSet<String> {
    let _alarm = Alarm(storm);
    let (mut dice, mut files, mut last) = (Dice(seed), BTreeSet::new(), None);
    while !storm.is_over() {
        let fleet = &world.fleets[usize::from(dice.below(2) == 0)];
        let now = dice.some(12);
        let since = last.as_ref().map(host_with).filter(|_| dice.below(2) == 0);
        let recorded = image(fleet, host, &now, since.as_ref()).await;
        if recorded.is_some() {
            storm.images.fetch_add(1, Ordering::Relaxed);
            let lacks: Vec<&String> = now.iter().filter(|t| !world.blobs.contains(hash(t)).unwrap()).collect();
            assert!(lacks.is_empty(), "{host} lacks {lacks:?}");
            last = Some(now);
        } else {
            storm.refused.fetch_add(1, Ordering::Relaxed);
        }
        if dice.below(8) == 0 {
            let file = format!("file {}", dice.below(400));
            if !fleet.missing(vec![hash(&file)]).await.unwrap().is_empty() {
                fleet.bring(packed([file.as_bytes()])).await.unwrap();
            }
            let rehearse = Rehearse { argv: vec!["true".to_owned()], files: vec![sent(&file)], ..Rehearse::default() };
            let wanted = NewRehearsal { on: vec![host.to_owned()], rehearse, held: HeldAt::Hosts };
            match fleet.rehearse(&wanted, "anna").await {
                Ok(_) => drop(files.insert(file)),
                Err(FleetError::Refused { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        } else if dice.below(5) == 0 {
            changes(world, host, &mut dice, storm).await;
        } else if dice.below(8) == 0 {
            // Somebody brought it and did nothing with it.
            fleet.bring(packed([format!("file {}", dice.below(400)).as_bytes()])).await.unwrap();
        }
    }
    files
}

/// A rehearsal on the stage that at once is as old as one whose contents may go, and is applied all the same.
async fn changes(world: &World, host: &str, dice: &mut Dice, storm: &Storm) {
    let fleet = &world.fleets[usize::from(dice.below(2) == 0)];
    let (on, after) = (dice.some(12), dice.some(12));
    let rehearse = Rehearse { argv: vec!["true".to_owned()], ..Rehearse::default() };
    let held = HeldAt::Stage(Some("stage1".to_owned()));
    let begun = fleet.rehearse(&NewRehearsal { on: vec![host.to_owned()], rehearse, held }, "anna").await.unwrap();
    let imaging = format!("{}.{host}", fleet.rehearsal(&begun.id).await.unwrap().stage.unwrap().images);
    let answer = match offer(fleet, host, &imaging, &on, None).await {
        Ok(()) => imaged(host_with(&on).id()),
        Err(_) => failed(),
    };
    fleet.answered(&[(host.to_owned(), imaging, answer)]).await.unwrap();
    if fleet.rehearsal(&begun.id).await.unwrap().over {
        // There is no image.
        return;
    }
    let (record, brings) = on_stage(fleet, &begun.id, host, (&on, &after)).await;
    let mut order = fleet.order(&begun.id).await.unwrap();
    order.at -= 31 * DAY;
    fleet.write_order(&begun.id, &order).await.unwrap();
    tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
    let change = NewChange { rehearsal: begun.id.clone(), ..NewChange::default() };
    let change = match fleet.apply(&change, ANNA).await {
        Ok(begun) => begun.id,
        Err(FleetError::Refused { what, .. }) if what.contains("are gone") => return,
        Err(error) => panic!("{error:?}"),
    };
    storm.changes.fetch_add(1, Ordering::Relaxed);
    for _ in 0..5 {
        assert!(world.there().is_superset(&brings) && world.there().contains(&staged_as(&record).0), "{change}");
        tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
    }
    let leases = fleet.control.open_leases().await.unwrap();
    let lease = leases.iter().find(|lease| lease.saga == change).unwrap();
    let fence = fleet.control.acquire(lease, "test", 0, 1).await.unwrap().unwrap();
    let state = fleet.control.saga(&change).await.unwrap().unwrap().state;
    fleet.control.finish_saga(&fence, Step { state: &state, ..Step::default() }, 0).await.unwrap();
}

const WEBS: [&str; 3] = ["web1", "web2", "web3"];
const WITH_STAGE: [&str; 4] = ["web1", "web2", "web3", "stage1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_on_record_ever_lacks_anything_whoever_sweeps_and_dies_meanwhile() {
    a_storm(World::new(&WITH_STAGE, jiff::Timestamp::now).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_on_postgresql() {
    greenroom_testkit::need_root!();
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Box::new(DirBlobs::open(&dir.path().join("blobs")).unwrap());
    let url = server.database("control");
    let controls = [Control::connect(&url).await.unwrap(), Control::connect(&url).await.unwrap()];
    a_storm(World::of(dir, controls, store, (&WITH_STAGE, jiff::Timestamp::now)).await).await;
}

async fn a_storm(world: World) {
    let world = Arc::new(world);
    world.blobs.wait_us.store(500, Ordering::Relaxed);
    let storm = Arc::new(Storm::default());
    let sweepers: Vec<_> = (0..2)
        .map(|at| {
            let (world, storm) = (world.clone(), storm.clone());
            tokio::spawn(async move { sweeps(&world, at, &storm).await })
        })
        .collect();
    let hosts: Vec<_> = WEBS
        .into_iter()
        .zip(1..)
        .map(|(host, seed)| {
            let (world, storm) = (world.clone(), storm.clone());
            tokio::spawn(async move { goes_on(&world, host, seed * 104_729, &storm).await })
        })
        .collect();
    let mut needed = BTreeSet::new();
    for host in hosts {
        needed.extend(host.await.unwrap().iter().map(|text| hash(text)));
    }
    for sweeper in sweepers {
        sweeper.await.unwrap();
    }
    let lease = world.fleets[0].sweep_lease().await.unwrap();
    world.fleets[0].sweep_under(&lease, Duration::ZERO, None).await.unwrap();
    for host in WEBS {
        let images = world.fleets[0].images(Some(host)).await.unwrap().images;
        assert_eq!(images.len(), 3);
        for image in images {
            needed.insert(image.manifest);
            let manifest = world.fleets[0].manifest(image.manifest).await.unwrap();
            needed.extend(contents(&manifest).into_keys());
        }
    }
    assert_eq!(world.there(), needed);
}
