//! The tools: a file each, and the registry.
//!
//! To add one, add a file with a type that is a [`Kind`], and its line in [`ALL`]. Its
//! arguments and its data are described to clients by the docs of their types.

mod check;
mod dump;
mod explain;
mod recordings;
mod shown;
mod stalls;
mod targets;
mod tasks;
mod waits;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::OwnedMutexGuard;

use super::{
    Otherwise,
    answer::{self, Answer, Failure, Source},
    found,
    session::{Wanted, Watched},
    sessions::Sessions,
};

/// What tools work with.
#[derive(Debug)]
pub(super) struct Desk {
    sessions: Sessions,
    otherwise: Otherwise,
}

impl Desk {
    pub(super) fn new(otherwise: Otherwise) -> Self {
        Self {
            sessions: Sessions::default(),
            otherwise,
        }
    }

    /// What is known of a target, as soon as it is what is wanted, and the target's name.
    async fn watched(
        &self,
        target: Option<&str>,
        wanted: Wanted,
    ) -> Result<(String, OwnedMutexGuard<Watched>), Failure> {
        let (name, target) = found::target(target, &self.otherwise).await?;
        let session = self.sessions.of(&name, &target);
        match session.known(wanted).await {
            Ok(watched) => Ok((session.name().to_owned(), watched)),
            Err(failure) => {
                if !failure.goes_on {
                    self.sessions.end(&session);
                }
                Err(failure)
            }
        }
    }
}

/// A tool.
trait Kind: 'static {
    /// By what it is called.
    const NAME: &'static str;
    /// A few words.
    const TITLE: &'static str;
    /// What it is for and what it returns.
    const ABOUT: &'static str;
    /// Whose words its answers have.
    const SOURCE: Source = Source::Target;
    /// What a call may say.
    type Arguments: DeserializeOwned + JsonSchema + Send;
    /// What it returns.
    type Data: Serialize + JsonSchema + Send;

    /// Answers.
    fn call(
        desk: Arc<Desk>,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Answer<Self::Data>, Failure>> + Send;
}

/// A tool of the registry.
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// What clients are shown of it.
    pub(super) describe: fn() -> Tool,
    /// Answers a call.
    pub(super) call: fn(Arc<Desk>, JsonObject) -> BoxFuture<'static, CallToolResult>,
}

/// All tools, in the order in which they are of use.
pub(super) const ALL: &[Entry] = &[
    entry::<check::Check>(),
    entry::<stalls::Stalls>(),
    entry::<waits::Waits>(),
    entry::<dump::Dump>(),
    entry::<tasks::Tasks>(),
    entry::<explain::Explain>(),
    entry::<targets::Targets>(),
    entry::<recordings::Recordings>(),
];

/// The tool of a name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|tool| tool.name == name)
}

const fn entry<K: Kind>() -> Entry {
    Entry {
        name: K::NAME,
        describe: describe::<K>,
        call: |desk, arguments| Box::pin(call::<K>(desk, arguments)),
    }
}

fn describe<K: Kind>() -> Tool {
    let annotations = ToolAnnotations::with_title(K::TITLE)
        .read_only(true)
        .destructive(false)
        .open_world(K::SOURCE == Source::Target);
    Tool::new(K::NAME, K::ABOUT, JsonObject::new())
        .with_title(K::TITLE)
        .with_input_schema::<K::Arguments>()
        .with_raw_output_schema(Arc::new(answer::schema::<K::Data>(K::SOURCE)))
        .annotate(annotations)
}

async fn call<K: Kind>(desk: Arc<Desk>, arguments: JsonObject) -> CallToolResult {
    let understood = serde_json::from_value(arguments.into());
    let arguments: K::Arguments = match understood {
        Ok(arguments) => arguments,
        Err(error) => {
            let sentence = format!("the arguments of `{}` are not understood: {error}", K::NAME);
            return Failure::new(sentence).into();
        }
    };
    match K::call(desk, arguments).await {
        Ok(answer) => answer::result(answer, K::SOURCE),
        Err(failure) => failure.into(),
    }
}

/// How long is watched where a call does not say.
const SECONDS: f64 = 5.0;
const MOST_SECONDS: f64 = 60.0;

fn seconds(asked: Option<f64>) -> Result<Duration, Failure> {
    let seconds = asked.unwrap_or(SECONDS);
    if (0.0..=MOST_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Failure::new(format!(
        "`seconds` is a number from 0 to {MOST_SECONDS}, and {seconds} was given; for longer \
         times use `looptop record` and check the recording"
    )))
}

/// The most of anything that one answer holds.
const MOST: usize = 100;

/// How many are wanted.
fn limit(asked: Option<usize>, otherwise: usize) -> usize {
    asked.unwrap_or(otherwise).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_takes_and_returns_and_only_reads() {
        for tool in ALL {
            let shown = (tool.describe)();
            assert_eq!(shown.name, tool.name);
            assert!(tool.name.bytes().all(|b| b.is_ascii_lowercase()));
            let annotations = shown.annotations.unwrap();
            assert_eq!(annotations.read_only_hint, Some(true), "{}", tool.name);
            assert_eq!(annotations.destructive_hint, Some(false), "{}", tool.name);
            assert!(shown.description.is_some_and(|about| about.len() > 60));
            let takes = shown.input_schema;
            assert_eq!(takes["additionalProperties"], false, "{}", tool.name);
            for (name, property) in takes
                .get("properties")
                .and_then(|p| p.as_object())
                .into_iter()
                .flatten()
            {
                assert!(property["description"].is_string(), "{} {name}", tool.name);
            }
            let returns = shown.output_schema.unwrap();
            assert_eq!(returns["type"], "object", "{}", tool.name);
            for (name, property) in returns["properties"].as_object().unwrap() {
                let described = property["description"].is_string();
                assert!(
                    described || property.get("$ref").is_some(),
                    "{} {name}",
                    tool.name
                );
            }
        }
    }

    #[test]
    fn a_time_is_bounded() {
        assert_eq!(seconds(None), Ok(Duration::from_secs(5)));
        assert_eq!(seconds(Some(0.5)), Ok(Duration::from_millis(500)));
        for wrong in [-1.0, 61.0, f64::NAN, f64::INFINITY] {
            let said = seconds(Some(wrong)).unwrap_err().to_string();
            assert!(said.contains("from 0 to 60"), "{said}");
        }
        assert_eq!(
            (limit(None, 5), limit(Some(0), 5), limit(Some(9_000), 5)),
            (5, 1, MOST)
        );
    }
}
