//! Agents that are not served: the last refusal of each host, for whoever waits for it.
//!
//! An agent hears why, and writes it into its own log. The person who waits for the host is elsewhere; so it is noted here too, one
//! note a host, written only for the host that the agent's certificate names, and gone when the host is in touch.

use greenroom_core::api::{Refusal, Unserved};
use greenroom_store::control::Agent;

use super::{Fleet, FleetError};

impl Fleet {
    /// Notes why the agent that showed this certificate is not served; on the stream of that epoch, where it had one.
    ///
    /// # Errors
    /// The state's.
    pub async fn unserved(&self, certificate: &str, epoch: Option<u64>, unserved: &Unserved) -> Result<(), FleetError> {
        let note = serde_json::to_string(unserved).map_err(FleetError::damaged("why an agent is not served"))?;
        self.control.refuse_agent(certificate, epoch, &note, self.now()).await?;
        Ok(())
    }
}

/// Why a host's agent is not served, where it is not in touch because of that.
pub(super) fn refusal(agent: &Agent) -> Option<Refusal> {
    let refused = agent.refused.as_ref()?;
    Some(Refusal { at: refused.at, unserved: serde_json::from_str(&refused.why).ok()? })
}

/// That a host is not in touch, with the reason where it is known, and what to do.
pub(super) fn away(agent: &Agent, otherwise: &str) -> (String, String) {
    match refusal(agent) {
        Some(Refusal { unserved, .. }) => {
            (format!("{} is not in touch, its agent is not served: {}", agent.host, unserved.why), unserved.hint)
        }
        None => (format!("{} is not in touch", agent.host), otherwise.to_owned()),
    }
}
