//! The system file against tables of documents, against its schema, and against arbitrary text.

mod draft;
mod files;
mod meaning;
mod refused;
mod schema;

use std::collections::BTreeMap;

use super::*;

/// Every key at least once.
const FULL: &str = r#"
[system]
name = "shop"
environment = "production"

[person.anna]
name = "Anna Berg"
email = "anna@example.org"
phone = "+49 30 123456"

[person.ben]
webhook = "https://chat.example.org/hooks/ben"

[team.web]
people = ["anna", "ben"]
email = "web@example.org"

[team.database]
people = ["ben"]

[role.web]
volatile = ["/srv/shop/cache/**", "!/srv/shop/cache/keep"]

[role.db]
data = ["/srv/pg/*/main"]
policy = { second_person = true, may_apply = { teams = ["database"], rights = ["admin"] } }

[service.shop]
roles = ["web"]
unit = "php8.2-fpm"
owner = "web"
after = ["database"]
batch = [1, "25%", "rest"]

[[service.shop.health]]
http = "http://127.0.0.1:8080/health?full"
status = [200, 204]
interval = "2s"
timeout = "1s"
failures = 5
successes = 1
grace = "30s"
settle = "0s"

[[service.shop.health]]
tcp = 9000

[service.database]
roles = ["db"]
unit = "postgresql@15-main"
health = [{ command = "pg_isready" }, { unit = "postgresql.service" }, { tcp = "[::1]:5432" }]

[service.nginx]
hosts = ["web2", "web1"]

[[test]]
name = "front page"
run = "curl -fsS http://127.0.0.1/"
timeout = "10s"
roles = ["web"]

[[test]]
run = "true"

[policy]
rehearsal_within = "24h"
on_failure = "pause"
host_lost_after = "5m"

[paths]
volatile = ["/srv/spool/**"]
data = ["/srv/uploads"]

[environment.production.host]
web1 = { address = "10.0.0.11", roles = ["web"] }
web2 = { address = "10.0.0.12", roles = ["web"], ssh = "ssh://root@bastion:2222" }
db1 = { address = "db1.example.org", roles = ["db"] }
stage1 = { roles = ["stage"] }

[environment.staging.host.web1]
address = "10.0.9.11"
roles = ["web"]

[environment.staging.policy]
may_apply = { people = ["anna"] }
on_failure = "undo"

[environment.staging.service.shop]
batch = ["100%"]
"#;

/// Files in memory.
struct Texts<'a>(BTreeMap<&'a str, &'a str>);

impl Files for Texts<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "No such file or directory".to_owned())
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, String> {
        let inside = |path: &&str| path.rsplit_once('/').map_or("", |(dir, _)| dir) == dir;
        let names: Vec<String> =
            self.0.keys().filter(|path| inside(path)).filter_map(|p| p.rsplit('/').next()).map(str::to_owned).collect();
        if names.is_empty() { Err("No such file or directory".to_owned()) } else { Ok(names) }
    }
}

fn read(text: &str) -> Result<Declaration, Vec<Problem>> {
    read_all(&[("greenroom.toml", text)])
}

fn read_all(files: &[(&str, &str)]) -> Result<Declaration, Vec<Problem>> {
    match Declaration::read(files[0].0, &Texts(files.iter().copied().collect())) {
        Ok(declaration) => Ok(declaration),
        Err(Unsound::Problems(problems)) => Err(problems),
        Err(Unsound::Unreadable(why)) => panic!("{why}"),
    }
}

fn full() -> Declaration {
    read(FULL).unwrap_or_else(|problems| panic!("{problems:#?}"))
}
