//! A command of the program on one host, and what comes back from hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_core::api;
use greenroom_core::wire::{Answer, Class, Failed, Note, Verb};
use greenroom_store::control::{Outcome, Subject};

use super::stage::rehearsal_of;
use super::system::stranger;
use super::unserved::away;
use super::{Fleet, FleetError, answer, command, subject};

/// For so long a host that is just connecting again is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// How often the mailbox is looked at where no hint comes.
const LOOK: Duration = Duration::from_millis(500);

impl Fleet {
    /// Runs a command of the program on a host and waits for what comes of it.
    ///
    /// # Errors
    /// There is no such host, it is not in touch, or it did not answer; what it has not begun by then it never does.
    pub async fn run(&self, host: &str, argv: &[String], person: &str) -> Result<api::Ran, FleetError> {
        let joined = self.joined().await?;
        if !joined.iter().any(|name| name == host) {
            return Err(stranger(host, &joined, "--on HOST: one that has joined"));
        }
        self.must_be_in_touch(host).await?;
        let id = format!("{}.{host}", self.next_id("x").await?);
        let verb = Verb::Run { argv: argv.to_vec() };
        self.control.enqueue(&[command(id.clone(), host, 0, person, verb)?], None, self.now()).await?;
        match self.wait_for(&id).await {
            Ok(Answer::Ran { code, stdout, stderr }) => Ok(api::Ran { code, stdout, stderr }),
            Ok(Answer::Failed(failed)) => Err(FleetError::Host(failed)),
            Ok(other) => Err(FleetError::Host(unexpected(&other))),
            Err(error) => {
                self.withdraw(&id, host).await?;
                Err(error)
            }
        }
    }

    async fn must_be_in_touch(&self, host: &str) -> Result<(), FleetError> {
        let began = tokio::time::Instant::now();
        while let Some(agent) = self.control.agent(host).await?.filter(|agent| agent.holder.is_none()) {
            if began.elapsed() > GRACE {
                let (away, hint) = away(&agent, "greenroom status says since when; log in there");
                return Err(FleetError::refused(format!("nothing was run: {away}"), hint));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Nobody waits for it any more: a host that comes back later is not sent it.
    pub(super) async fn withdraw(&self, id: &str, host: &str) -> Result<(), FleetError> {
        let failed = Failed::new(Class::Refused, "nobody waits for it any more");
        self.answered(&[(host.to_owned(), id.to_owned(), Answer::Failed(failed))]).await
    }

    /// Waits until a command has its answer.
    pub(super) async fn wait_for(&self, id: &str) -> Result<Answer, FleetError> {
        let mut watch = self.control.watch().await?;
        let found = async {
            loop {
                if let Some(command) = self.control.command(id).await?
                    && let Some(answer) = answer(&command)?
                {
                    return Ok(answer);
                }
                watch.wait(LOOK, |hint| hint.subject == Subject::Command && hint.name == id).await;
            }
        };
        let late = || {
            FleetError::refused(
                format!(
                    "{id}: there was no answer for {} s; what had begun may have happened",
                    api::RUN_WITHIN.as_secs()
                ),
                "greenroom status says whether it is in touch",
            )
        };
        tokio::time::timeout(api::RUN_WITHIN, found).await.map_err(|_| late())?
    }

    /// Puts on record what commands came to; each of them at most once, and only from the host that it was for.
    ///
    /// # Errors
    /// The state's: nothing is on record then, and the host is asked again.
    pub async fn answered(&self, answers: &[(String, String, Answer)]) -> Result<(), FleetError> {
        let outcome = |(host, id, answer): &(String, String, Answer)| {
            let result = serde_json::to_string(answer).map_err(FleetError::damaged("the answer"))?;
            Ok(Outcome { id: id.clone(), host: host.clone(), result })
        };
        let outcomes = answers.iter().map(outcome).collect::<Result<Vec<_>, FleetError>>()?;
        for (host, id, answer) in answers {
            known(self.imaged(host, id, answer).await)?;
        }
        self.control.complete(&outcomes, self.now()).await?;
        let mut rehearsals: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, id, _) in answers {
            known(self.over(host, id).await)?;
            if let Some((rehearsal, of)) = rehearsal_of(id, host) {
                rehearsals.entry(rehearsal).or_default().push(of);
            }
        }
        for (rehearsal, hosts) in rehearsals {
            // What a host says of another's command is not on record, and nobody is told.
            let order = match self.order(rehearsal).await {
                Err(FleetError::Unknown(_)) => continue,
                order => order?,
            };
            let mut all = Vec::new();
            for host in hosts.into_iter().filter(|host| order.hosts.iter().any(|of| of == host)) {
                all.extend(self.answered_on_stage(rehearsal, &order, host).await?);
            }
            self.rehearsed(rehearsal, &all.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Hosts say what goes on with commands of their own that are not over, `(host, command, note)`: those who follow hear it.
    ///
    /// # Errors
    /// The state's.
    pub async fn went_on(&self, notes: &[(String, String, Note)]) -> Result<(), FleetError> {
        let ids: Vec<&str> = notes.iter().map(|(_, id, _)| id.as_str()).collect();
        let open = self.control.hosts_of_open(&ids).await?;
        // Who follows a rehearsal on a stage hears of the images that come first.
        let mut waiting = BTreeMap::new();
        for images in notes.iter().filter_map(|(host, id, _)| subject(id, host)).filter(|of| of.starts_with('g')) {
            if !waiting.contains_key(images)
                && let Some(rehearsal) = self.waits_for(images).await?
            {
                waiting.insert(images.to_owned(), rehearsal);
            }
        }
        let event = |(host, id, note): &(String, String, Note)| {
            open.get(id).filter(|of| *of == host)?;
            let (subject, of) = rehearsal_of(id, host).or_else(|| Some((subject(id, host)?, host.as_str())))?;
            let event = api::Event::Note { host: of.to_owned(), note: note.clone() };
            let subject = waiting.get(subject).map_or(subject, String::as_str);
            Some(serde_json::to_string(&event).map(|body| (subject.to_owned(), body)))
        };
        let events = notes.iter().filter_map(event).collect::<Result<Vec<_>, _>>();
        let events = events.map_err(FleetError::damaged("an event"))?;
        let events: Vec<(&str, &str)> = events.iter().map(|(of, body)| (of.as_str(), body.as_str())).collect();
        if !events.is_empty() {
            self.control.append_events_of(&events, self.now()).await?;
        }
        Ok(())
    }
}

/// What a host says of a command that nobody knows keeps nobody else's answer from being written.
fn known(outcome: Result<(), FleetError>) -> Result<(), FleetError> {
    if let Err(FleetError::Unknown(_)) = outcome { Ok(()) } else { outcome }
}

/// A host that answers something else than what was asked.
pub(super) fn unexpected(answer: &Answer) -> Failed {
    let what =
        format!("the host answered something else: {}", format!("{answer:?}").chars().take(100).collect::<String>());
    Failed::new(Class::Fault, what).hint("control plane and agent may be of different versions")
}
