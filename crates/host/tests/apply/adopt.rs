//! What was found is taken as wanted: the tree stays, and the way back is as good as that of any change.

use std::io;

use greenroom_host::apply::{Error, HostState, Keep, NoFaults, POINTS, Refusal};
use proptest::prelude::*;

use super::faults::At;
use super::property::pair;
use super::support::{Lab, Source, Spec, file, spec};

/// A host that somebody brought from `before` to `after` by hand: the live tree is like after.
fn edited(before: &Spec, after: &Spec) -> Lab {
    // The lab's live tree is made like the first description.
    Lab::new(after, before)
}

fn adopt(lab: &Lab, faults: &dyn greenroom_host::apply::Faults) -> Result<(), Error> {
    let host = HostState::open(&lab.live())?;
    let guard = host.lock("test")?;
    guard.adopt_with_way_back("c1", &lab.changeset, &lab.source, serde_json::Value::Null, faults)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_adoption_touches_nothing_and_is_taken_back_and_brought_again((before, after) in pair()) {
        if greenroom_testkit::tier::why_not_privileged().is_some() {
            return Ok(());
        }
        let lab = edited(&before, &after);
        adopt(&lab, &NoFaults).unwrap();
        lab.assert_before();
        lab.undo_with("c1", "c2", &NoFaults).unwrap();
        lab.assert_after();
        lab.undo_with("c2", "c3", &NoFaults).unwrap();
        lab.assert_before();
    }
}

fn small() -> Lab {
    edited(&spec([("/a", file("old")), ("/b", file("gone"))]), &spec([("/a", file("new")), ("/c", file("made"))]))
}

#[test]
fn an_adoption_that_ends_half_way_leaves_nothing() {
    greenroom_testkit::need_root!();
    for point in POINTS.iter().take_while(|point| **point != "commit.decided") {
        let lab = small();
        let fail = At::new(point, 1, || Err(io::Error::other("made to fail")));
        let failed = adopt(&lab, &fail);
        assert!(failed.is_err(), "{point}");
        lab.assert_before();
        assert!(HostState::open(&lab.live()).unwrap().changes().unwrap().is_empty(), "{point}");
        adopt(&lab, &NoFaults).unwrap();
    }
}

#[test]
fn without_the_old_content_there_is_no_way_back_and_nothing_is_left_behind() {
    greenroom_testkit::need_root!();
    let lab = small();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    let nothing = Source::of(&lab.path("after"), &super::support::Walk::default());
    let failed = guard.adopt_with_way_back("c1", &lab.changeset, &nothing, serde_json::Value::Null, &NoFaults);
    assert!(matches!(failed, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound));
    assert!(host.changes().unwrap().is_empty());
    guard.adopt("c1", &lab.changeset.inverse(), serde_json::Value::Null).unwrap();
    let refused = guard.undo("c1", "c2", serde_json::Value::Null, &NoFaults);
    assert!(matches!(refused, Err(Error::Refused(Refusal::Record { .. }))));
}

#[test]
fn the_way_back_of_an_adoption_is_not_forgotten_by_accident() {
    greenroom_testkit::need_root!();
    let lab = small();
    adopt(&lab, &NoFaults).unwrap();
    let host = HostState::open(&lab.live()).unwrap();
    let guard = host.lock("test").unwrap();
    assert!(guard.forget("c1", Keep::Undo).is_err());
    guard.undo("c1", "c2", serde_json::Value::Null, &NoFaults).unwrap();
    guard.close("c2").unwrap();
    guard.forget("c1", Keep::Undo).unwrap();
    assert!(host.changes().unwrap().is_empty());
}
