//! Names of users and groups by their numbers: paths are compared by name, so that the same owner with another number is one
//! difference, in the list of users, and not one at each of its files.

use std::collections::HashMap;

use greenroom_core::drift::runtime::Facts;

/// Names by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    users: HashMap<u32, Box<str>>,
    groups: HashMap<u32, Box<str>>,
}

impl Names {
    pub(super) fn of(facts: &Facts) -> Self {
        // Of several names for one number the first by name, on every system.
        let mut out = Self::default();
        for (name, user) in &facts.users {
            out.users.entry(user.uid).or_insert_with(|| name.as_str().into());
        }
        for (name, group) in &facts.groups {
            out.groups.entry(group.gid).or_insert_with(|| name.as_str().into());
        }
        out
    }

    pub(super) fn user(&self, id: u32) -> Box<str> {
        self.users.get(&id).cloned().unwrap_or_else(|| format!("#{id}").into())
    }

    pub(super) fn group(&self, id: u32) -> Box<str> {
        self.groups.get(&id).cloned().unwrap_or_else(|| format!("#{id}").into())
    }
}
