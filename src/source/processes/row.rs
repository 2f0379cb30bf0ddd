//! A place to attach to, or why there is none.

use std::{collections::HashSet, fmt, time::Duration};

use futures::future::join_all;
use looptop_outside::access::Refusal;

use super::{
    ask::{self, Answer},
    process::{Instrument, Process, Sockets, Way},
};
use crate::source::target::Target;

/// How long a socket has to answer. An agent answers at once, also while every
/// worker of its application is blocked.
const PATIENCE: Duration = Duration::from_secs(2);

/// A place where a process can be attached to, and what is known of the process.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The process.
    pub pid: u32,
    /// What it calls itself, otherwise the file name of its program.
    pub name: String,
    /// The arguments with which it was started.
    pub arguments: String,
    /// Its user, by name where it has one.
    pub user: String,
    /// What makes it observable: an agent, console-subscriber, its tokio.
    pub instrument: String,
    /// How many threads it has.
    pub threads: u64,
    /// Its share of one CPU since the look before, 1 for a whole one; `None` at the
    /// first look.
    pub cpu: Option<f64>,
    /// Where.
    pub at: At,
}

/// Where a process can be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// There.
    Target(Target),
    /// It may not be read from outside.
    Refused(Refusal),
    /// Nowhere, and why.
    Nowhere(String),
}

impl At {
    /// Where, if it can be attached to.
    pub(super) fn target(self) -> Option<Target> {
        match self {
            Self::Target(target) => Some(target),
            Self::Refused(_) | Self::Nowhere(_) => None,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(target) => target.fmt(f),
            Self::Refused(refusal) => f.write_str(&refusal.short()),
            Self::Nowhere(why) => f.write_str(why),
        }
    }
}

/// What there is to attach to at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) instrument: String,
    pub(super) at: At,
    /// What listens there wants a token before it says who it is.
    pub(super) wants_token: bool,
}

/// The places of one process: one for each socket that answers, or one that says why
/// none does; itself, where it has no instrument.
pub(super) async fn places(process: &Process) -> Vec<Place> {
    match &process.way {
        Way::None => Vec::new(),
        Way::Outside(version, access) => {
            let tokio = version.map_or_else(|| "tokio".to_owned(), |v| format!("tokio {v}"));
            vec![Place {
                name: process.name.clone(),
                instrument: tokio,
                at: match access {
                    Ok(()) => At::Target(Target::Process(process.pid)),
                    Err(refusal) => At::Refused(refusal.clone()),
                },
                wants_token: false,
            }]
        }
        Way::Within(instrument, sockets) => within(process, *instrument, sockets).await,
    }
}

async fn within(process: &Process, instrument: Instrument, sockets: &Sockets) -> Vec<Place> {
    let Process { pid, name, .. } = process;
    let without = |why: String| {
        vec![Place {
            name: name.clone(),
            instrument: instrument.to_string(),
            at: At::Nowhere(why),
            wants_token: false,
        }]
    };
    let sockets = match sockets {
        Sockets::Unseen => {
            return without("unknown: run looptop as that user or root to see where".into());
        }
        Sockets::Stopped => {
            return without(format!(
                "no answer: stopped by a signal or a debugger; `kill -CONT {pid}` lets it go on"
            ));
        }
        Sockets::Seen(sockets) => sockets,
    };
    let (here, elsewhere): (Vec<_>, Vec<_>) = sockets.iter().partition(|s| s.reachable);
    let asked = here.into_iter().map(|socket| async {
        let answer = ask::ask(&socket.target, PATIENCE).await;
        (socket.target.clone(), answer)
    });
    let mut places = Vec::new();
    let mut wants_token = None;
    let mut sessions = HashSet::new();
    let (mut silent, mut closed) = (0, 0);
    for (target, answer) in join_all(asked).await {
        let (name, instrument) = match answer {
            Some(Answer::Agent {
                name,
                console,
                session,
                ..
            }) => {
                // Its other socket.
                if !sessions.insert(session) {
                    continue;
                }
                let console = if console { " + console" } else { "" };
                (name, format!("{}{console}", Instrument::Agent))
            }
            Some(Answer::Console) => (name.clone(), Instrument::Console.to_string()),
            Some(Answer::WantsToken) => {
                wants_token = wants_token.or(Some(target));
                continue;
            }
            Some(Answer::Closed) => {
                closed += 1;
                continue;
            }
            None => {
                silent += 1;
                continue;
            }
        };
        places.push(Place {
            name,
            instrument,
            at: At::Target(target),
            wants_token: false,
        });
    }
    if !places.is_empty() {
        return places;
    }
    if let Some(target) = wants_token {
        return vec![Place {
            name: name.clone(),
            instrument: format!("{} with a token", Instrument::Agent),
            at: At::Target(target),
            wants_token: true,
        }];
    }
    if closed > 0 {
        return without("it does not show itself to this user".into());
    }
    if !elsewhere.is_empty() {
        let targets: Vec<String> = elsewhere.iter().map(|s| s.target.to_string()).collect();
        let which = if targets.len() > 1 { "one of " } else { "" };
        return without(format!(
            "{which}{}, in another network namespace: `nsenter -t {pid} -n looptop ls` asks there; \
             or publish the port",
            targets.join(" ")
        ));
    }
    without(match silent {
        0 => "nowhere: it has no listening socket".into(),
        _ => format!("no answer within {:.0} s", PATIENCE.as_secs_f64()),
    })
}
