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

fn rollout(hosts: usize, batch: usize, pause: bool) -> Rollout {
    let names: Vec<String> = (0..hosts).map(|n| format!("web{n}")).collect();
    let what = || What::Apply { rehearsal: "r1".to_owned(), force_verdict: None };
    let policy = Policy { pause_on_failure: pause, pause_after: None, patience_ms: 50 };
    let batches = names.chunks(batch).map(<[_]>::to_vec).collect();
    Rollout::new("c1", names.iter().map(|name| (name.clone(), what())).collect(), batches, policy, 0)
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
        steps in prop::collection::vec(any::<[u8; 4]>(), 0..80),
    ) {
        let mut rollout = rollout(count, batch, pause);
        let mut hosts: BTreeMap<String, Host> = rollout.hosts.keys().map(|name| (name.clone(), Host::default())).collect();
        let mut old = BTreeSet::new();
        let mut now = 0;
        for step in steps {
            now += u64::from(step[3] % 8);
            turn(&mut rollout, &mut hosts, &mut old, step, now);
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
    let mut rollout = rollout(3, 1, false);
    rollout.policy.pause_after = Some(1);
    let mut hosts: BTreeMap<String, Host> = rollout.hosts.keys().map(|name| (name.clone(), Host::default())).collect();
    let mut all = |rollout: &mut Rollout| {
        for (host, order) in rollout.outstanding() {
            let answer = hosts.get_mut(&host).unwrap().told(order, 7);
            rollout.answered(&host, order, &answer, 0);
        }
    };
    (0..5).for_each(|_| all(&mut rollout));
    assert_eq!(rollout.phase, Phase::Paused { next: 1 });
    assert_eq!(
        rollout.hosts.values().map(|part| part.step).collect::<Vec<_>>(),
        [Step::InPlace, Step::Prepared, Step::Prepared]
    );
    assert!(rollout.told(Word::Continue, 0).is_ok());
    (0..5).for_each(|_| all(&mut rollout));
    assert_eq!(rollout.ended(), Some(Outcome::Done));
    assert!(rollout.told(Word::Abort, 0).unwrap_err().contains("greenroom undo c1"));
}
