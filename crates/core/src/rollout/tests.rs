//! A model of hosts: each keeps, as a real one does, what it has prepared and what is in place; messages are lost, doubled and
//! late, hosts are away, drivers die and another goes on from what was kept.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::wire::{Class, Failed};

/// One host. `true` in `in_place` is after the change.
#[derive(Default)]
struct Host {
    prepared: bool,
    in_place: bool,
    left: bool,
    /// It was seen to be well while it was in place.
    seen_well: bool,
    answered: BTreeMap<Order, Answer>,
}

impl Host {
    /// At most once: what was answered before is answered again.
    fn told(&mut self, order: Order, luck: u8) -> Answer {
        if let Some(answer) = self.answered.get(&order) {
            return answer.clone();
        }
        let failed = |what: &str| {
            let (causes, hints) = (vec![], vec![]);
            Answer::Failed(Failed { class: Class::Refused, what: what.to_owned(), causes, hints })
        };
        let answer = match order {
            Order::Prepare if self.left || luck.is_multiple_of(8) => failed("it does not fit"),
            Order::Prepare => {
                self.prepared = true;
                Answer::Prepared { entries: 1 }
            }
            Order::Commit if self.left || !self.prepared || luck % 16 == 1 => failed("it is not prepared"),
            Order::Commit if luck % 8 == 2 => Answer::TakenBack { local: None, why: "a unit failed".to_owned() },
            Order::Commit => {
                self.in_place = true;
                Answer::Committed { local: "c1".to_owned(), report: serde_json::Value::Null }
            }
            Order::Watch if luck % 8 == 3 => Answer::Unwell { why: "tcp 80: refused".to_owned() },
            Order::Watch => {
                self.seen_well = self.in_place;
                Answer::Well { looks: 2 }
            }
            Order::Unwind => {
                let local = self.in_place.then(|| "c2".to_owned());
                (self.in_place, self.prepared, self.left) = (false, false, true);
                Answer::Unwound { local }
            }
        };
        self.answered.insert(order, answer.clone());
        answer
    }
}

/// `watched`: which hosts have something that has to be well.
fn rollout(hosts: usize, batch: usize, pause: bool, watched: u8) -> Rollout {
    let names: Vec<String> = (0..hosts).map(|n| format!("web{n}")).collect();
    let what = || What::Apply { rehearsal: "r1".to_owned(), force_verdict: None, once_elsewhere: false, staged: None };
    let policy = Policy { pause_on_failure: pause, pause_after: None, patience_ms: 50 };
    let batches = names.chunks(batch).map(<[_]>::to_vec).collect();
    let health = || vec![Watched { service: "shop".to_owned(), health: vec![] }];
    let watch =
        names.iter().enumerate().filter(|(n, _)| watched >> n & 1 == 1).map(|(_, name)| (name.clone(), health()));
    let parts = names.iter().map(|name| (name.clone(), what())).collect();
    Rollout::new("c1", parts, batches, policy, 0).watched(watch.collect())
}

#[test]
fn why_an_agent_was_not_served_is_said_with_what_became_of_its_host() {
    let back = || Answer::TakenBack { local: None, why: "it was not in touch".to_owned() };
    let begun = || {
        let mut rollout = rollout(1, 1, false, 0);
        rollout.unserved("web1", "nobody's");
        rollout.answered("web0", Order::Prepare, &Answer::Prepared { entries: 1 }, 1);
        rollout.unserved("web0", "too new");
        assert_eq!(
            (&rollout.phase, &rollout.reason),
            (&Phase::Committing { batch: 0 }, &None),
            "nothing follows from it"
        );
        rollout
    };
    let mut ended = begun();
    ended.answered("web0", Order::Commit, &back(), 2);
    assert_eq!(ended.reason.as_deref(), Some("web0: it was not in touch: too new"));
    assert_eq!(ended.hosts["web0"].trouble.as_deref(), Some("it was not in touch: too new"));
    let mut lost = begun();
    lost.tick(60_000);
    assert_eq!(lost.reason.as_deref(), Some("no answer from web0 for 0 s; web0: too new"));
    // What it does in the end is no trouble; and what is told to go back owes no such answer.
    let mut served = begun();
    served.answered(
        "web0",
        Order::Commit,
        &Answer::Committed { local: "c1".to_owned(), report: serde_json::Value::Null },
        2,
    );
    assert_eq!((served.ended(), &served.hosts["web0"].unserved), (Some(Outcome::Done), &None));
    lost.hosts.get_mut("web0").unwrap().unserved = None;
    lost.unserved("web0", "too new");
    assert_eq!(lost.hosts["web0"].unserved, None);
}

/// No host of a batch is begun before the one before is in place and well, or a person took it as it is.
fn in_order(before: &Rollout, after: &Rollout, hosts: &BTreeMap<String, Host>) {
    let begun = |part: &Part| !matches!(part.step, Step::Preparing | Step::Prepared);
    if !matches!(after.phase, Phase::Committing { .. }) {
        return;
    }
    for (at, batch) in after.batches.iter().enumerate().skip(1) {
        let fresh = batch.iter().any(|host| begun(&after.hosts[host]) && !begun(&before.hosts[host]));
        for host in after.batches[..at].iter().flatten().filter(|_| fresh) {
            let part = &after.hosts[host];
            assert_eq!(part.step, Step::Well, "{host} before batch {at}");
            assert!(hosts[host].in_place, "{host} before batch {at}");
            let accepted = part.trouble.is_some() && after.policy.pause_on_failure;
            assert!(part.watch.is_empty() || hosts[host].seen_well || accepted, "{host} was not seen well");
        }
    }
}

/// What happens in a turn.
fn turn(
    rollout: &mut Rollout,
    hosts: &mut BTreeMap<String, Host>,
    old: &mut BTreeSet<(String, Order)>,
    step: [u8; 4],
    now: u64,
) {
    let [what, which, luck, word] = step;
    let outstanding = rollout.outstanding();
    old.extend(outstanding.iter().cloned());
    match what % 8 {
        // An order arrives, and its answer.
        0..=3 if !outstanding.is_empty() => {
            let (host, order) = &outstanding[usize::from(which) % outstanding.len()];
            let answer = hosts.get_mut(host).unwrap().told(*order, luck);
            rollout.answered(host, *order, &answer, now);
        }
        // An order arrives, and its answer is lost.
        4 if !outstanding.is_empty() => {
            let (host, order) = &outstanding[usize::from(which) % outstanding.len()];
            hosts.get_mut(host).unwrap().told(*order, luck);
        }
        // One that was given before arrives late.
        5 if !old.is_empty() => {
            let (host, order) = old.iter().nth(usize::from(which) % old.len()).unwrap();
            let answer = hosts.get_mut(host).unwrap().told(*order, luck);
            rollout.answered(host, *order, &answer, now);
        }
        // The driver dies; what is kept is what another reads.
        // Whoever owes an answer may have been heard of.
        6 if luck.is_multiple_of(2) => {
            let late: Vec<String> = rollout.overdue(now);
            late.iter().for_each(|host| rollout.heard(host, now));
            assert!(rollout.overdue(now).is_empty());
        }
        6 => *rollout = serde_json::from_str(&serde_json::to_string(rollout).unwrap()).unwrap(),
        _ => {
            rollout.tick(now);
            let word = if word.is_multiple_of(4) { Word::Abort } else { Word::Continue };
            if matches!(rollout.phase, Phase::Paused { .. }) || word == Word::Abort && luck.is_multiple_of(32) {
                let _ = rollout.told(word, now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_hosts_or_none(
        count in 1_usize..5,
        batch in 1_usize..4,
        pause: bool,
        watched: u8,
        steps in prop::collection::vec(any::<[u8; 4]>(), 0..80),
    ) {
        let mut rollout = rollout(count, batch, pause, watched);
        let mut hosts: BTreeMap<String, Host> = rollout.hosts.keys().map(|name| (name.clone(), Host::default())).collect();
        let mut old = BTreeSet::new();
        let mut now = 0;
        for step in steps {
            now += u64::from(step[3] % 8);
            let before = rollout.clone();
            turn(&mut rollout, &mut hosts, &mut old, step, now);
            in_order(&before, &rollout, &hosts);
        }
        // From here on everybody is in touch, and a person who is asked calls it off.
        for _ in 0..100 {
            if matches!(rollout.phase, Phase::Paused { .. }) {
                rollout.told(Word::Abort, now).unwrap();
            }
            for (host, order) in rollout.outstanding() {
                let answer = hosts.get_mut(&host).unwrap().told(order, 7);
                rollout.answered(&host, order, &answer, now);
            }
        }
        let outcome = rollout.ended();
        let in_place = hosts.values().filter(|host| host.in_place).count();
        match outcome {
            Some(Outcome::Done) => prop_assert_eq!(in_place, count),
            Some(Outcome::Refused | Outcome::TakenBack) => prop_assert_eq!(in_place, 0),
            other => prop_assert!(false, "{:?}", other),
        }
        // Nothing that arrives after the end changes a host.
        for (host, order) in old {
            hosts.get_mut(&host).unwrap().told(order, 7);
        }
        prop_assert_eq!(hosts.values().filter(|host| host.in_place).count(), in_place);
    }
}

#[test]
fn it_pauses_where_it_is_told_to() {
    let mut rollout = rollout(3, 1, false, 0b001);
    rollout.policy.pause_after = Some(1);
    let mut hosts: BTreeMap<String, Host> = rollout.hosts.keys().map(|name| (name.clone(), Host::default())).collect();
    let mut all = |rollout: &mut Rollout| {
        for (host, order) in rollout.outstanding() {
            let answer = hosts.get_mut(&host).unwrap().told(order, 7);
            rollout.answered(&host, order, &answer, 0);
        }
    };
    (0..6).for_each(|_| all(&mut rollout));
    assert_eq!(rollout.phase, Phase::Paused { next: 1 });
    assert_eq!(
        rollout.hosts.values().map(|part| part.step).collect::<Vec<_>>(),
        [Step::Well, Step::Prepared, Step::Prepared]
    );
    assert!(rollout.told(Word::Continue, 0).is_ok());
    (0..5).for_each(|_| all(&mut rollout));
    assert_eq!(rollout.ended(), Some(Outcome::Done));
    assert!(rollout.told(Word::Abort, 0).unwrap_err().contains("greenroom undo c1"));
}

/// Commits on the first host, which is then unwell.
fn unwell(pause: bool) -> Rollout {
    let mut rollout = rollout(2, 1, pause, 0b11);
    for host in ["web0", "web1"] {
        rollout.answered(host, Order::Prepare, &Answer::Prepared { entries: 1 }, 0);
    }
    let committed = Answer::Committed { local: "c1".to_owned(), report: serde_json::Value::Null };
    rollout.answered("web0", Order::Commit, &committed, 0);
    assert_eq!(rollout.outstanding(), [("web0".to_owned(), Order::Watch)]);
    rollout.answered("web0", Order::Watch, &Answer::Unwell { why: "tcp 80: refused".to_owned() }, 0);
    rollout
}

#[test]
fn what_is_unwell_takes_all_back() {
    let rollout = unwell(false);
    assert_eq!(rollout.phase, Phase::Unwinding);
    assert_eq!(rollout.reason.as_deref(), Some("web0: tcp 80: refused"));
    assert_eq!(rollout.outstanding().len(), 2);
}

#[test]
fn or_a_person_takes_it_as_it_is() {
    let mut rollout = unwell(true);
    assert_eq!(rollout.phase, Phase::Paused { next: 0 });
    assert_eq!(rollout.hosts["web0"].step, Step::Unwell);
    assert!(rollout.told(Word::Continue, 0).is_ok());
    assert_eq!(rollout.outstanding(), [("web1".to_owned(), Order::Commit)]);
    assert!(rollout.hosts["web0"].trouble.is_some());
}

#[test]
fn a_host_that_is_heard_of_takes_its_time() {
    let mut rollout = rollout(1, 1, false, 0);
    rollout.heard("web0", 40);
    rollout.tick(89);
    assert_eq!(rollout.phase, Phase::Preparing);
    rollout.tick(90);
    assert_eq!(rollout.phase, Phase::Unwinding);
}
