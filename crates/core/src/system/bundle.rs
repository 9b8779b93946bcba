//! The files of a system as texts that travel: what `greenroom system push` sends, and what a control plane keeps.

use std::collections::BTreeMap;

use super::Files;

/// Files by their paths, relative to the directory of the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(pub BTreeMap<String, String>);

impl Files for Bundle {
    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "it is not among the files that were sent".to_owned())
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, String> {
        let prefix = if dir.is_empty() || dir.ends_with('/') { dir.to_owned() } else { format!("{dir}/") };
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect())
    }
}
