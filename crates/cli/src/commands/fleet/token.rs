//! `greenroom token` and `greenroom login`: people of a control plane.

use greenroom_core::api::{MadeToken, NewToken, Token as Known};

use crate::args::{Global, Login, Token, TokenWhat};
use crate::error::{Failure, status};
use crate::remote::Access;
use crate::ui::{Tone, Ui};

pub(in crate::commands) fn run(global: &Global, args: &Token, ui: &Ui) -> Result<u8, Failure> {
    let http = crate::remote::open(global)?;
    match &args.what {
        TokenWhat::Create { name, role, valid } => {
            let valid_s = valid.map(|valid| valid.as_secs());
            let made: MadeToken =
                http.post("/v1/tokens", &NewToken { name: name.clone(), role: role.clone(), valid_s })?;
            if ui.json {
                ui.object(&made)?;
            } else {
                ui.print(&format!("{}\n", made.token.0))?;
                ui.say(&format!("{} of {name}; it is shown this once", made.id));
            }
        }
        TokenWhat::List => list(&http.get::<Vec<Known>>("/v1/tokens")?, ui)?,
        TokenWhat::Revoke { id } => {
            http.delete::<Vec<Known>>(&format!("/v1/tokens/{id}"))?;
            ui.say(&format!("{id} is good no more"));
        }
    }
    Ok(status::DONE)
}

fn list(tokens: &[Known], ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.object(&tokens);
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let day = |at: i64| {
        jiff::Timestamp::from_millisecond(at).map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
    };
    for token in tokens {
        let standing = match (token.revoked, token.expires) {
            (Some(at), _) => ui.tone(Tone::Dim, &format!("revoked {}", day(at))),
            (_, Some(at)) if at <= now => ui.tone(Tone::Dim, &format!("ended {}", day(at))),
            (_, Some(at)) => format!("until {}", day(at)),
            (_, None) => "without end".to_owned(),
        };
        let used = token.last_used.map_or_else(|| "never used".to_owned(), |at| format!("used {}", day(at)));
        ui.print(&format!("{}  {:<16} {:<10} {standing}  {used}\n", token.id, token.name, token.role))?;
    }
    Ok(())
}

pub(in crate::commands) fn login(args: &Login, ui: &Ui) -> Result<u8, Failure> {
    let authority = std::fs::read_to_string(&args.authority)
        .map_err(|error| Failure::usage(format!("cannot read the authority {}: {error}", args.authority.display())))?;
    let mut token = String::new();
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        ui.say("the token:");
    }
    std::io::stdin().read_line(&mut token)?;
    let access = Access { url: args.url.clone(), token: token.trim().to_owned(), authority };
    let dir = crate::env::config_dir().ok_or_else(|| Failure::usage("there is no home directory to keep it in"))?;
    // What does not work is not kept.
    let _: serde_json::Value = access.open()?.get("/v1/hosts")?;
    std::fs::create_dir_all(&dir)?;
    super::keep(&dir.join("server.json"), &access)?;
    ui.say(&format!("commands go to {} from now on", args.url));
    Ok(status::DONE)
}
