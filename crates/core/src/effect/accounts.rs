//! Users and groups, from passwd(5), group(5) and shadow(5).
//!
//! Of shadow only *that* a password is another comes out, never what it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Side, Sources, shown};
use crate::{Changeset, TreePath};

/// A user as passwd has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Id of the first group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A user that came, went or differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// The user's name.
    pub name: String,
    /// Before; `None`: there was none.
    pub from: Option<Account>,
    /// After; `None`: there is none.
    pub to: Option<Account>,
    /// The password is another, was set, locked or unlocked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
}

/// A group that came, went or has other members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    /// The group's name.
    pub name: String,
    /// Its id before; `None`: there was none.
    pub from: Option<u32>,
    /// Its id after; `None`: there is none.
    pub to: Option<u32>,
    /// Members it did not have before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    /// Members it has no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

type Table<'a> = BTreeMap<&'a [u8], Vec<&'a [u8]>>;

pub(super) fn changes(changeset: &Changeset, sources: &dyn Sources) -> (Vec<UserChange>, Vec<GroupChange>) {
    let read = |file: &str| {
        let path = TreePath::from(file);
        changeset.get(&path)?;
        let side = |side| sources.content(&path, side).unwrap_or_default();
        Some((side(Side::Before), side(Side::After)))
    };
    let passwd = read("/etc/passwd").unwrap_or_default();
    let shadow = read("/etc/shadow").unwrap_or_default();
    let group = read("/etc/group").unwrap_or_default();
    let users = users((&table(&passwd.0), &table(&passwd.1)), (&table(&shadow.0), &table(&shadow.1)));
    (users, groups(&table(&group.0), &table(&group.1)))
}

fn table(text: &[u8]) -> Table<'_> {
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let split = lines.map(|line| line.split(|b| *b == b':').collect::<Vec<_>>());
    split.map(|fields| (fields[0], fields)).collect()
}

fn at(fields: &[&[u8]], index: usize) -> String {
    fields.get(index).map(|f| shown(f)).unwrap_or_default()
}

fn number(fields: &[&[u8]], index: usize) -> Option<u32> {
    std::str::from_utf8(fields.get(index)?).ok()?.parse().ok()
}

fn users(passwd: (&Table<'_>, &Table<'_>), shadow: (&Table<'_>, &Table<'_>)) -> Vec<UserChange> {
    let account =
        |f: &Vec<&[u8]>| Some(Account { uid: number(f, 2)?, gid: number(f, 3)?, home: at(f, 5), shell: at(f, 6) });
    let hash = |t: &Table<'_>, name: &[u8]| t.get(name).and_then(|f| f.get(1).map(|h| h.to_vec()));
    let mut names: Vec<&[u8]> =
        [passwd.0, passwd.1, shadow.0, shadow.1].iter().flat_map(|t| t.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let (from, to) = (passwd.0.get(name).and_then(account), passwd.1.get(name).and_then(account));
        let password = match (hash(shadow.0, name), hash(shadow.1, name)) {
            (Some(before), Some(after)) => before != after,
            // A new system user has `!` or `*` there: nobody can log in, nothing to tell.
            (None, Some(new)) => !matches!(new.first(), Some(b'!' | b'*')),
            (_, None) => false,
        };
        if from != to || password {
            out.push(UserChange { name: shown(name), from, to, password });
        }
    }
    out
}

fn groups(before: &Table<'_>, after: &Table<'_>) -> Vec<GroupChange> {
    let members = |fields: Option<&Vec<&[u8]>>| -> Vec<String> {
        let list = fields.and_then(|f| f.get(3)).copied().unwrap_or_default();
        list.split(|b| *b == b',').filter(|m| !m.is_empty()).map(shown).collect()
    };
    let mut names: Vec<&[u8]> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let (was, is) = (before.get(name), after.get(name));
        let (old, new) = (members(was), members(is));
        let joined: Vec<String> = new.iter().filter(|m| !old.contains(m)).cloned().collect();
        let left: Vec<String> = old.iter().filter(|m| !new.contains(m)).cloned().collect();
        let (from, to) = (was.and_then(|f| number(f, 2)), is.and_then(|f| number(f, 2)));
        if from != to || !joined.is_empty() || !left.is_empty() {
            out.push(GroupChange { name: shown(name), from, to, joined, left });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::testing::World;

    fn world() -> World {
        let root = "root:x:0:0:root:/root:/bin/bash\n";
        let before = format!("{root}bob:x:1000:1000:Bob,,,:/home/bob:/bin/sh\nold:x:999:999::/:/usr/sbin/nologin\n");
        let after =
            format!("{root}bob:x:1000:1000:Robert,,,:/home/bob:/bin/bash\nnginx:x:101:103::/nonexistent:/bin/false\n");
        World::default()
            .file("/etc/passwd", Some(&before), Some(&after))
            .file(
                "/etc/shadow",
                Some("root:$y$SECRET1:19000:0:99999:7:::\nbob:!:19000::::::\n"),
                Some("root:$y$SECRET2:19001:0:99999:7:::\nbob:!:19002::::::\nnginx:!:19002::::::\n"),
            )
            .file(
                "/etc/group",
                Some("adm:x:4:bob,old\nsudo:x:27:\nsame:x:50:a\n"),
                Some("adm:x:4:bob\nsudo:x:27:bob\nsame:x:50:a\nnginx:x:103:\n"),
            )
    }

    #[test]
    fn users_that_came_went_and_differ() {
        let world = world();
        let (users, _) = changes(&world.changeset(), &world);
        let names: Vec<&str> = users.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["bob", "nginx", "old", "root"]);
        assert_eq!(users[0].from.as_ref().unwrap().shell, "/bin/sh");
        assert_eq!(users[0].to.as_ref().unwrap().shell, "/bin/bash");
        assert!(users[1].from.is_none() && users[1].to.as_ref().unwrap().uid == 101 && !users[1].password);
        assert!(users[2].to.is_none());
        assert!(users[3].password && users[3].from.is_some() && users[3].from == users[3].to);
    }

    #[test]
    fn memberships_and_new_groups() {
        let world = world();
        let (_, groups) = changes(&world.changeset(), &world);
        let lines: Vec<String> = groups
            .iter()
            .map(|g| format!("{} {:?}→{:?} +{:?} -{:?}", g.name, g.from, g.to, g.joined, g.left))
            .collect();
        let expected = [
            r#"adm Some(4)→Some(4) +[] -["old"]"#,
            r#"nginx None→Some(103) +[] -[]"#,
            r#"sudo Some(27)→Some(27) +["bob"] -[]"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn no_hash_comes_out() {
        let world = world();
        let (users, groups) = changes(&world.changeset(), &world);
        let json = serde_json::to_string(&(users, groups)).unwrap();
        assert!(!json.contains("SECRET") && !json.contains("$y$"), "{json}");
    }

    #[test]
    fn a_password_alone_is_told_of_a_user_that_passwd_did_not_change() {
        let world = World::default().file("/etc/shadow", Some("root:a:1\n"), Some("root:b:1\n"));
        let (users, _) = changes(&world.changeset(), &world);
        assert_eq!(users, [UserChange { name: "root".into(), from: None, to: None, password: true }]);
    }
}
