//! Tokens of people and of hosts.

use greenroom_store::control::{Control, ControlError, EnrolmentRefusal, NewToken, Role};

use super::Home;

pub(super) async fn tokens(control: &Control) {
    for (less, more) in Role::ALL.into_iter().zip(Role::ALL.into_iter().skip(1)) {
        assert!(less < more);
    }
    let new = |id: &str, role, hash: &str, expires| NewToken {
        id: id.into(),
        name: "Ada".into(),
        role,
        hash: hash.into(),
        expires,
    };
    for (number, role) in Role::ALL.into_iter().enumerate() {
        assert_eq!(Role::parse(role.as_str()), Some(role));
        let token = new(&format!("t{number}"), role, &format!("hash {number}"), Some(100));
        control.add_token(&token, 7).await.unwrap();
        // Whoever was cut off does it again.
        control.add_token(&token, 8).await.unwrap();
        let found = control.token_by_hash(&token.hash).await.unwrap().unwrap();
        assert_eq!((found.id, found.name, found.role, found.created), (token.id, token.name, role, 7));
    }
    for taken in [new("t1", Role::Admin, "another", None), new("another", Role::Admin, "hash 1", None)] {
        assert!(matches!(control.add_token(&taken, 9).await, Err(ControlError::Exists { .. })), "{taken:?}");
    }
    assert_eq!(control.token_by_hash("hash").await.unwrap(), None);

    control.token_used("t0", 50).await.unwrap();
    control.token_used("t0", 40).await.unwrap();
    assert!(control.revoke_token("t0", 60).await.unwrap());
    assert!(!control.revoke_token("t0", 61).await.unwrap());
    assert!(!control.revoke_token("nobody", 61).await.unwrap());
    let all = control.tokens().await.unwrap();
    assert_eq!(all.len(), 4);
    assert_eq!((all[0].last_used, all[0].revoked), (Some(50), Some(60)));
    assert!(!all[0].good_at(99));
    assert_eq!((all[1].good_at(99), all[1].good_at(100)), (true, false));
    control.add_token(&new("for ever", Role::Viewer, "for ever", None), 1).await.unwrap();
    assert!(control.token_by_hash("for ever").await.unwrap().unwrap().good_at(i64::MAX));
}

pub(super) async fn enrolments(home: &Home) {
    let control = home.open().await;
    let refused = async |hash: &str, now| match control.use_enrolment(hash, now).await {
        Err(ControlError::Enrolment { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("x", 1).await, EnrolmentRefusal::Unknown);
    control.add_enrolment("x", "web1", 1, 100).await.unwrap();
    assert_eq!(refused("x", 100).await, EnrolmentRefusal::Expired);
    assert_eq!(control.enrolment("x", 99).await.unwrap(), "web1");
    let looked = async |hash: &str, now| match control.enrolment(hash, now).await {
        Err(ControlError::Enrolment { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(looked("x", 100).await, EnrolmentRefusal::Expired);
    assert_eq!(looked("y", 1).await, EnrolmentRefusal::Unknown);
    assert_eq!(control.use_enrolment("x", 99).await.unwrap(), "web1");
    assert_eq!(refused("x", 99).await, EnrolmentRefusal::Used);
    assert_eq!(looked("x", 99).await, EnrolmentRefusal::Used);
    // Making it again doesn't make it good again.
    control.add_enrolment("x", "web1", 2, 200).await.unwrap();
    assert_eq!(refused("x", 99).await, EnrolmentRefusal::Used);

    // Of all who try at once, by both control planes, one gets in.
    let other = home.open().await;
    control.add_enrolment("raced", "db1", 1, 100).await.unwrap();
    let tries: Vec<_> = (0..10)
        .map(|number| {
            let control = if number % 2 == 0 { control.clone() } else { other.clone() };
            tokio::spawn(async move { control.use_enrolment("raced", 50).await })
        })
        .collect();
    let mut got_in = 0;
    for each in tries {
        match each.await.unwrap() {
            Ok(host) => got_in += usize::from(host == "db1"),
            Err(ControlError::Enrolment { reason: EnrolmentRefusal::Used }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(got_in, 1);
}
