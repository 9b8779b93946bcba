//! What an agent makes of a message of a control plane, which may be of a later version.

use serde::Deserialize;

use super::ToAgent;

/// A message as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// All of it.
    All(Box<ToAgent>),
    /// A command that is not known here, or not all that it says: it has to be answered.
    Command {
        /// Its name.
        id: String,
        /// Its verb.
        verb: String,
    },
    /// Something that is no command, and that nobody waits for.
    Other {
        /// What kind of message.
        say: String,
    },
}

#[derive(Deserialize)]
struct Outline {
    say: String,
    #[serde(default)]
    id: serde_json::Value,
    #[serde(default)]
    verb: serde_json::Value,
}

impl Heard {
    /// Reads a message.
    ///
    /// # Errors
    /// It is none at all.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let error = match serde_json::from_str(text) {
            Ok(message) => return Ok(Self::All(Box::new(message))),
            Err(error) => error,
        };
        let Ok(outline) = serde_json::from_str::<Outline>(text) else { return Err(error) };
        if outline.say != "do" {
            return Ok(Self::Other { say: outline.say });
        }
        let Some(id) = outline.id.as_str() else { return Err(error) };
        let verb = outline.verb["verb"].as_str().unwrap_or_default().to_owned();
        Ok(Self::Command { id: id.to_owned(), verb })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, ImageOf, PROTOCOL, Program, Rehearse, Stage, Verb, What};
    use super::*;
    use crate::ContentHash;

    fn command(verb: Verb) -> String {
        let command = Command { id: "x1".to_owned(), fence: 1, person: "anna".to_owned(), verb };
        serde_json::to_string(&ToAgent::Do(command)).unwrap()
    }

    fn verbs() -> Vec<(Verb, u32)> {
        let (change, why) = ("c1".to_owned(), "a test".to_owned());
        let program = Program { hash: String::new(), size: 1, version: "1".to_owned() };
        let apply =
            |staged| What::Apply { rehearsal: "r1".to_owned(), force_verdict: None, once_elsewhere: false, staged };
        let prepare = |what| Verb::Prepare { change: "c1".to_owned(), what, why: None, hold_s: 1 };
        let stage = Stage {
            of: "web1".to_owned(),
            image: "g1".to_owned(),
            manifest: ContentHash::of(b""),
            system: ImageOf::default(),
            rehearse: Rehearse::default(),
            keep: Vec::new(),
        };
        vec![
            (Verb::Rehearse(Box::default()), 1),
            (prepare(apply(None)), 1),
            (prepare(apply(Some(ContentHash::of(b"")))), 2),
            (prepare(What::Undo { local: "c1".to_owned() }), 1),
            (prepare(What::Upgrade { program }), 1),
            (Verb::Commit { change: change.clone() }, 1),
            (Verb::Unwind { change: change.clone(), why }, 1),
            (Verb::Run { argv: vec!["status".to_owned()] }, 1),
            (Verb::Watch { change, services: Vec::new() }, 1),
            (Verb::Image(Box::default()), 1),
            (Verb::Stage(Box::new(stage)), 2),
        ]
    }

    #[test]
    fn what_is_known_is_taken_whole_and_of_what_is_not_the_name_is_known() {
        for (verb, since) in verbs() {
            assert_eq!(verb.since().protocol, since, "{verb:?}");
            assert!(since <= PROTOCOL);
            let text = command(verb.clone());
            assert!(matches!(Heard::read(&text), Ok(Heard::All(_))), "{text}");
            // With a word more it is another order, of which a part is not done.
            let more = text.replacen("\"verb\":{", "\"verb\":{\"quietly\":true,", 1);
            let name = serde_json::to_value(&verb).unwrap()["verb"].as_str().unwrap().to_owned();
            let id = "x1".to_owned();
            assert_eq!(Heard::read(&more).unwrap(), Heard::Command { id, verb: name }, "{more}");
        }
        let deep = command(verbs().remove(1).0).replace("\"what\":\"apply\"", "\"what\":\"apply\",\"half\":1");
        assert!(matches!(Heard::read(&deep), Ok(Heard::Command { .. })), "{deep}");
        let unknown = r#"{"say": "do", "id": "x2", "person": "anna", "verb": {"verb": "fly", "to": ["the", "moon"]}}"#;
        let (id, verb) = ("x2".to_owned(), "fly".to_owned());
        assert_eq!(Heard::read(unknown).unwrap(), Heard::Command { id, verb });
        let other = Heard::read(r#"{"say": "sing", "id": 7}"#).unwrap();
        assert_eq!(other, Heard::Other { say: "sing".to_owned() });
        for nothing in ["", "{}", "[]", "\"do\"", r#"{"say": "do"}"#, r#"{"say": "do", "id": 7}"#, r#"{"say": 1}"#] {
            assert!(Heard::read(nothing).is_err(), "{nothing}");
        }
    }
}
