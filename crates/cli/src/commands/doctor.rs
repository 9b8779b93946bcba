//! `greenroom doctor`

use greenroom_engine::doctor::{Finding, examine};

use crate::args::Global;
use crate::error::{Failure, status};
use crate::ui::{Tone, Ui};

pub(super) fn run(global: &Global, ui: &Ui) -> Result<u8, Failure> {
    let findings = examine(&global.root, &global.state);
    let missing = findings.iter().any(|f| !f.ok && f.needed);
    if ui.json {
        ui.object(&serde_json::json!({ "ok": !missing, "findings": findings }))?;
    } else {
        let lines: String = findings.iter().map(|f| line(f, ui)).collect();
        ui.print(&lines)?;
    }
    Ok(if missing { status::FAULT } else { status::DONE })
}

fn line(finding: &Finding, ui: &Ui) -> String {
    let mark = match (finding.ok, finding.needed) {
        (true, _) => ui.tone(Tone::Good, "ok     "),
        (false, true) => ui.tone(Tone::Bad, "missing"),
        (false, false) => ui.tone(Tone::Warn, "note   "),
    };
    let mend = finding.mend.as_ref().map_or_else(String::new, |mend| format!("\n         mend: {mend}"));
    format!("{mark}  {}: {}{mend}\n", finding.what, finding.found)
}
