//! Which agents know what: nobody is sent a command of a later version of the language than his agent speaks.
//!
//! What a person begins is refused before anything is touched ([`Fleet::all_know`]). What is in a mailbox all the same, because
//! the agent became an older one meanwhile, is answered in its place ([`Fleet::for_agent`]).

use greenroom_core::wire::{Answer, Class, Command, Failed, Since};
use greenroom_store::control;

use super::{Fleet, FleetError};

impl Fleet {
    /// Nothing begins that an agent does not know. One that never was in touch says what it knows when it is.
    pub(super) async fn all_know<'a>(
        &self,
        wanted: impl IntoIterator<Item = (&'a str, Since)>,
    ) -> Result<(), FleetError> {
        let agents = self.control.agents().await?;
        for (host, since) in wanted {
            let agent = agents.iter().find(|agent| agent.host == host);
            let older = agent.filter(|agent| agent.protocol.is_some_and(|known| known < since.protocol));
            if let Some(agent) = older {
                let (what, hint) = since.unknown_to(host, agent.version.as_deref().unwrap_or("?"));
                return Err(FleetError::Refused { what, hint });
            }
        }
        Ok(())
    }

    /// A command out of a mailbox as an agent that speaks this version of the language is sent it; `None`: it is not, and has its
    /// answer.
    ///
    /// # Errors
    /// The state's.
    pub async fn for_agent(&self, command: &control::Command, protocol: u32) -> Result<Option<Command>, FleetError> {
        let (what, hint) = match serde_json::from_str::<Command>(&command.body) {
            Ok(body) if body.verb.since().protocol <= protocol => return Ok(Some(body)),
            Ok(body) => {
                let agent = self.control.agent(&command.host).await?;
                let version = agent.and_then(|agent| agent.version);
                body.verb.since().unknown_to(&command.host, version.as_deref().unwrap_or("?"))
            }
            Err(_) => (
                format!("the control plane that {} is connected to does not know what another one wants", command.host),
                "control planes on one database are of one version: upgrade both".to_owned(),
            ),
        };
        let failed = Failed::new(Class::Refused, what).hint(hint);
        self.answered(&[(command.host.clone(), command.id.clone(), Answer::Failed(failed))]).await?;
        Ok(None)
    }
}
