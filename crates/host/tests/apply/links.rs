//! Hard-link groups: edited, split, joined, shortened, lengthened.

use super::support::{Item, Lab, Spec, dir, file, linked, spec};

fn cases() -> Vec<(&'static str, Spec, Spec)> {
    let pair = || spec([("/a", linked("x", 1)), ("/b", linked("x", 1))]);
    let three = || spec([("/a", linked("x", 1)), ("/b", linked("x", 1)), ("/c", linked("x", 1))]);
    let mode = |item: Item| Item { mode: 0o600, ..item };
    vec![
        ("edit both", pair(), spec([("/a", linked("y", 1)), ("/b", linked("y", 1))])),
        ("mode of both", pair(), spec([("/a", mode(linked("x", 1))), ("/b", mode(linked("x", 1)))])),
        ("split", pair(), spec([("/a", file("x")), ("/b", file("x"))])),
        ("split and edit one", pair(), spec([("/a", file("x")), ("/b", file("y"))])),
        ("split and edit the first", pair(), spec([("/a", file("y")), ("/b", file("x"))])),
        (
            "split and change a mode",
            three(),
            spec([("/a", mode(linked("x", 1))), ("/b", mode(linked("x", 1))), ("/c", file("x"))]),
        ),
        (
            "split in two groups",
            spec([("/a", linked("x", 1)), ("/b", linked("x", 1)), ("/c", linked("x", 1)), ("/d", linked("x", 1))]),
            spec([("/a", linked("x", 1)), ("/b", linked("x", 2)), ("/c", linked("x", 1)), ("/d", linked("x", 2))]),
        ),
        ("one leaves", three(), spec([("/a", linked("x", 1)), ("/b", linked("x", 1)), ("/c", file("x"))])),
        ("the first leaves", three(), spec([("/a", file("x")), ("/b", linked("x", 1)), ("/c", linked("x", 1))])),
        ("join", spec([("/a", file("x")), ("/b", file("x"))]), pair()),
        ("join and edit", spec([("/a", file("x")), ("/b", file("y"))]), pair()),
        ("delete one", pair(), spec([("/a", file("x"))])),
        ("delete the first", pair(), spec([("/b", file("x"))])),
        ("delete the first of three", three(), spec([("/b", linked("x", 1)), ("/c", linked("x", 1))])),
        ("delete the last of three", three(), spec([("/a", linked("x", 1)), ("/b", linked("x", 1))])),
        ("delete all", pair(), Spec::new()),
        ("delete one and edit", pair(), spec([("/a", file("y"))])),
        ("delete one and change the mode", pair(), spec([("/a", mode(file("x")))])),
        ("add a name", spec([("/b", file("x"))]), spec([("/b", linked("x", 1)), ("/c", linked("x", 1))])),
        ("add a first name", spec([("/b", file("x"))]), pair()),
        ("add a third", pair(), three()),
        ("add a first of three", spec([("/b", linked("x", 1)), ("/c", linked("x", 1))]), three()),
        ("rename one", pair(), spec([("/a", linked("x", 1)), ("/z", linked("x", 1))])),
        (
            "swap partners",
            spec([("/a", linked("x", 1)), ("/b", linked("x", 1)), ("/c", linked("y", 2)), ("/d", linked("y", 2))]),
            spec([("/a", linked("x", 1)), ("/c", linked("x", 1)), ("/b", linked("y", 2)), ("/d", linked("y", 2))]),
        ),
        (
            "create a group in a new directory",
            Spec::new(),
            spec([("/n", dir()), ("/n/a", linked("x", 1)), ("/n/b", linked("x", 1))]),
        ),
        ("one becomes a directory", pair(), spec([("/a", dir()), ("/a/x", linked("x", 1)), ("/b", linked("x", 1))])),
        ("immutable stays, another name goes", pair(), spec([("/a", Item { flags: 1, ..file("x") })])),
        (
            "immutable group gets a name",
            spec([("/a", Item { flags: 1, ..linked("x", 1) }), ("/b", Item { flags: 1, ..linked("x", 1) })]),
            spec([
                ("/a", Item { flags: 1, ..linked("x", 1) }),
                ("/b", Item { flags: 1, ..linked("x", 1) }),
                ("/c", Item { flags: 1, ..linked("x", 1) }),
            ]),
        ),
    ]
}

#[test]
fn groups_change_and_come_back() {
    greenroom_testkit::need_root!();
    for (what, before, after) in cases() {
        println!("{what}");
        Lab::new(&before, &after).round_trip();
        println!("{what}, the other way");
        Lab::new(&after, &before).round_trip();
    }
}
