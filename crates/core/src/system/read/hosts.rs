//! Hosts, and the paths that are volatile or data on them.

use std::collections::BTreeMap;

use super::super::names::{about_address, is_address, is_name, is_ssh_target};
use super::super::{Host, Paths};
use super::{HOST_KEYS, NAME, Read};
use crate::document::{At, Table};
use crate::path::Shown;
use crate::policy::glob;

impl Read<'_> {
    pub(super) fn hosts(&mut self) -> Vec<Host> {
        let tables = self.named("host");
        if tables.is_empty() && !self.root.contains_key("host") {
            let hint = "add one with [host.NAME] and its address = \"…\"".to_owned();
            self.reader.note(&At { file: 0, span: 0..0 }, "there is no host", Some(hint));
        }
        let mut hosts: Vec<Host> = Vec::with_capacity(tables.len());
        // Two names for one machine would be changed as two.
        let mut reached: BTreeMap<(String, Option<String>), String> = BTreeMap::new();
        for (name, table) in tables {
            let host = self.host(name, &table);
            let other = reached.insert((host.address.clone(), host.ssh.clone()), name.to_owned());
            if let Some(other) = other.filter(|_| table.get("address").is_some()) {
                let message = format!("host `{}` has the same address", Shown(other.as_bytes()));
                self.reader.note(&table.at("address"), message, None);
            }
            hosts.push(host);
        }
        hosts
    }

    fn host(&mut self, name: &str, table: &Table<'_>) -> Host {
        self.reader.unknown(table, HOST_KEYS);
        let address = self.reader.text(table, "address");
        match &address {
            Some(text) if !is_address(text) => {
                let message = format!("`{}` is not an IP address or a DNS name", Shown(text.as_bytes()));
                self.reader.note(&table.at("address"), message, about_address(text));
            }
            None if table.get("address").is_none() && is_name(name) && !is_address(name) => {
                let message = format!("host `{name}` needs an `address`: its name is not a DNS name");
                self.reader.note(&table.at, message, None);
            }
            _ => {}
        }
        let ssh = self.reader.text(table, "ssh");
        if let Some(text) = ssh.as_ref().filter(|text| !is_ssh_target(text)) {
            let message = format!("`{}` is not a destination for ssh", Shown(text.as_bytes()));
            let hint = match text.rsplit_once(':') {
                Some(_) if is_ssh_target(&format!("ssh://{text}")) => format!("with a port: \"ssh://{text}\""),
                _ => "write user@host, a Host of your ssh_config, or ssh://user@host:port".to_owned(),
            };
            self.reader.note(&table.at("ssh"), message, Some(hint));
        }
        let roles = self.role_names(table);
        Host { name: name.to_owned(), address: address.unwrap_or_else(|| name.to_owned()), ssh, roles }
    }

    fn role_names(&mut self, table: &Table<'_>) -> Vec<String> {
        let mut roles: Vec<String> = Vec::new();
        for (role, at) in self.reader.strings(table, "roles") {
            if !is_name(role) {
                let message = format!("`{}` cannot be the name of a role: {NAME}", Shown(role.as_bytes()));
                self.reader.note(&at, message, None);
            } else if roles.iter().any(|other| other == role) {
                self.reader.note(&at, format!("role `{role}` is named twice"), None);
            } else {
                roles.push(role.to_owned());
            }
        }
        roles
    }

    /// The keys `volatile` and `data` of a table.
    pub(super) fn paths(&mut self, table: &Table<'_>) -> Paths {
        Paths { volatile: self.patterns(table, "volatile"), data: self.patterns(table, "data") }
    }

    fn patterns(&mut self, table: &Table<'_>, key: &str) -> Vec<String> {
        let mut out = Vec::new();
        for (text, at) in self.reader.strings(table, key) {
            let bare = if key == "volatile" { text.strip_prefix('!').unwrap_or(text) } else { text };
            let wrong = if !bare.starts_with('/') {
                Some("it must begin with /".to_owned())
            } else if bare.split('/').any(|part| part == "." || part == "..") {
                Some("it must not contain `.` or `..`".to_owned())
            } else if bare.contains('\n') {
                Some("it must be one line".to_owned())
            } else if key == "data" && bare.trim_end_matches('/').is_empty() {
                Some("not everything can be data".to_owned())
            } else {
                glob(bare).err()
            };
            match wrong {
                Some(why) => {
                    self.reader.note(&at, format!("`{key}`: `{}`: {why}", Shown(text.as_bytes())), None);
                }
                None => out.push(text.to_owned()),
            }
        }
        out
    }
}
