//! `looptop ls`: the applications on this machine that can be attached to.
//!
//! - [`process`]: what procfs says of them,
//! - [`ask`]: what answers where they listen.
//!
//! Only a process one of whose threads is the agent's or console-subscriber's is
//! dialled, and of the sockets at which it listens those are listed that answer:
//! its own HTTP ports are none of them.

mod ask;
mod process;

use std::{
    fmt::{self, Write},
    time::Duration,
};

use futures::future::join_all;
use tokio::task::spawn_blocking;

use self::{
    ask::Answer,
    process::{Instrument, Process, Sockets},
};
use super::target::Target;
use crate::escape::escaped;

/// How long a socket has to answer. An agent answers at once, also while every
/// worker of its application is blocked.
const PATIENCE: Duration = Duration::from_secs(2);

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    pid: u32,
    name: String,
    instrument: String,
    at: At,
}

/// Where a process can be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Target(Target),
    /// Nowhere, and why.
    Nowhere(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(target) => target.fmt(f),
            Self::Nowhere(why) => f.write_str(why),
        }
    }
}

/// The applications as a table for people. As long as the slowest answer, at
/// most two seconds; Linux only.
pub async fn table() -> String {
    if !cfg!(target_os = "linux") {
        return "looptop ls reads Linux's procfs, which this system does not have\n".to_owned();
    }
    let found = spawn_blocking(process::all).await.unwrap_or_default();
    let rows = join_all(found.into_iter().map(rows)).await.concat();
    if rows.is_empty() {
        return "no application with looptop-agent or console-subscriber runs here \
                (or none that this user may inspect)\n"
            .to_owned();
    }
    format(&rows)
}

/// What the process with this id has to do with looptop, as a sentence, for
/// somebody who gave a number that is no port of ours; `None` where no process
/// has it.
pub async fn with_id(pid: u32) -> Option<String> {
    let process = spawn_blocking(move || process::of(pid)).await.ok()??;
    let name = super::problem::quote(&process.name);
    let whose = format!("{pid} is the process id of {name}");
    let Some(instrument) = process.instrument else {
        return Some(format!(
            "{whose}, in which no agent runs: write pid:{pid} to look at it from outside"
        ));
    };
    let who = match instrument {
        Instrument::Agent => "its agent",
        Instrument::Console => "its console-subscriber",
    };
    let places = rows(process).await.into_iter().map(|row| match row.at {
        At::Target(target) => format!("{who} listens at {target}"),
        At::Nowhere(why) => format!("{who} cannot be attached to ({why})"),
    });
    let places: Vec<String> = places.collect();
    let places = places.join(", and ");
    Some(format!("{whose}: {places}; pid:{pid} attaches to it"))
}

/// Where the agent or console-subscriber of the process with this id listens; `None`
/// where there is none that can be reached and answers.
pub(super) async fn listens_at(pid: u32) -> Option<Target> {
    let process = spawn_blocking(move || process::of(pid)).await.ok()??;
    let mut places = rows(process).await.into_iter().map(|row| row.at);
    places.find_map(|at| match at {
        At::Target(target) => Some(target),
        At::Nowhere(_) => None,
    })
}

/// The lines of one process: one for each socket that answers, or one that says
/// why none does.
async fn rows(process: Process) -> Vec<Row> {
    let Process {
        pid,
        name,
        instrument,
        sockets,
    } = process;
    let Some(instrument) = instrument else {
        return Vec::new();
    };
    let row = |name: String, instrument: String, at: At| Row {
        pid,
        name,
        instrument,
        at,
    };
    let without = |why: String| {
        let instrument = instrument.to_string();
        vec![row(name.clone(), instrument, At::Nowhere(why))]
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
    let (here, elsewhere): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|s| s.reachable);
    let asked = here.into_iter().map(|socket| async {
        let answer = ask::ask(&socket.target, PATIENCE).await;
        (socket.target, answer)
    });
    let mut rows = Vec::new();
    let mut silent = Vec::new();
    for (target, answer) in join_all(asked).await {
        match answer {
            Some(Answer::Agent { name, console }) => {
                let console = if console { " + console" } else { "" };
                let instrument = format!("{}{console}", Instrument::Agent);
                rows.push(row(name, instrument, At::Target(target)));
            }
            Some(Answer::Console) => {
                let instrument = Instrument::Console.to_string();
                rows.push(row(name.clone(), instrument, At::Target(target)));
            }
            None => silent.push(target),
        }
    }
    if !rows.is_empty() {
        return rows;
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
    without(match silent.len() {
        0 => "nowhere: it has no listening socket".into(),
        _ => format!("no answer within {:.0} s", PATIENCE.as_secs_f64()),
    })
}

/// The rows in columns as wide as what stands in them; nothing is cut.
fn format(rows: &[Row]) -> String {
    let heads = ["PID", "NAME", "INSTRUMENT", "LISTENS AT"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let at = row.at.to_string();
        let text = [&row.name, &row.instrument, &at].map(|text| escaped(text).into_owned());
        let [name, instrument, at] = text;
        [row.pid.to_string(), name, instrument, at]
    });
    let lines: Vec<[String; 4]> = std::iter::once(heads).chain(cells).collect();
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let [pids, names, instruments] = [0, 1, 2].map(width);
    let mut text = String::new();
    for [pid, name, instrument, at] in &lines {
        let _ = writeln!(
            text,
            "{pid:>pids$}  {name:<names$}  {instrument:<instruments$}  {at}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_and_columns_stand() {
        let row = |pid, name: &str, instrument: Instrument, at: At| Row {
            pid,
            name: name.into(),
            instrument: instrument.to_string(),
            at,
        };
        let target = |text: &str| At::Target(text.parse().unwrap());
        let rows = [
            row(
                7,
                "a-name-longer-than-any-column",
                Instrument::Agent,
                target("6669"),
            ),
            row(
                1_234_567,
                "b\x1b[2J",
                Instrument::Console,
                target("unix:/run/b.sock"),
            ),
            row(
                9,
                "c",
                Instrument::Agent,
                At::Nowhere("no answer within 1 s".into()),
            ),
        ];
        insta::assert_snapshot!(format(&rows), @r"
            PID  NAME                           INSTRUMENT          LISTENS AT
              7  a-name-longer-than-any-column  looptop-agent       127.0.0.1:6669
        1234567  b\u{1b}[2J                     console-subscriber  unix:/run/b.sock
              9  c                              looptop-agent       no answer within 1 s
        ");
    }
}
