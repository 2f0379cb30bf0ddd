//! What stands between the viewer and its target, in a sentence.

use std::{fmt, io, path::Path, time::Duration};

use looptop_outside::access::{Refusal, Why};
use tonic::{Code, Status};

use super::{
    sniff::{Answer, Sniffed},
    target::Target,
};

/// Text of a peer is cut at this many characters.
const MAX_QUOTE: usize = 160;
/// Why an application refuses a viewer is longer: it says what would change it.
const MAX_REFUSAL: usize = 320;

/// Kinds of [`Problem`], for those who must distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// Nothing listens there.
    Refused,
    /// The name resolves to nothing.
    UnknownHost,
    /// No route, or no answer to the attempt to connect.
    Unreachable,
    /// The path of a Unix socket or a recording does not exist.
    NoSuchPath,
    /// The path is not what it should be.
    WrongPath,
    /// The operating system forbids it.
    PermissionDenied,
    /// The connection stands, but nothing comes.
    NoAnswer,
    /// The target's process was stopped by a signal or a debugger.
    Stopped,
    /// Something else listens there.
    OtherProtocol,
    /// HTTP/2, but neither of the services that looptop reads.
    NoService,
    /// The agent speaks a newer protocol than this viewer.
    AgentTooNew,
    /// The agent speaks a protocol that this viewer no longer reads.
    AgentTooOld,
    /// The target ended the connection.
    Closed,
    /// A message was larger than the bound.
    TooLarge,
    /// A message could not be understood.
    Malformed,
    /// The target refused the request.
    Rejected,
    /// This user may not look, or the socket is not whose it should be.
    Forbidden,
    /// TLS was not agreed upon.
    Tls,
    /// Another viewer paused console-subscriber.
    Paused,
    /// A recording cannot be opened.
    Recording,
    /// A core dump cannot be read.
    Core,
    /// There is no such process, or no longer.
    NoProcess,
    /// The process may not be read from outside, or is nothing to read.
    NotReadable,
    /// The process runs another program than the one that was looked at.
    OtherProgram,
    /// What was looked at from outside is seen from within from now on.
    AgentAnswers,
    /// This build cannot do it.
    Unsupported,
    /// Any other error of the operating system.
    Io,
}

/// What was tried, what happened, and what to do. Displays as one sentence;
/// nothing in it comes raw from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Of which kind.
    pub kind: ProblemKind,
    /// What was tried and what happened.
    pub what: String,
    /// What to do; empty where there is nothing to say.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.advice.as_str() {
            "" => f.write_str(&self.what),
            advice => write!(f, "{}; {advice}", self.what),
        }
    }
}

impl std::error::Error for Problem {}

impl Problem {
    pub(super) fn new(
        kind: ProblemKind,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// The host name resolves to nothing.
    pub(super) fn unknown_host(host: &str, error: &io::Error) -> Self {
        Self::new(
            ProblemKind::UnknownHost,
            format!("unknown host `{}`: {error}", quote(host)),
            "check the spelling, or give an address",
        )
    }

    /// Connecting failed in the operating system.
    pub(super) fn connecting(target: &Target, error: &io::Error) -> Self {
        match target {
            Target::Unix(path) => connecting_unix(path, error),
            _ => connecting_tcp(target, error),
        }
    }

    /// No answer to the attempt to connect within `waited`.
    pub(super) fn connect_timeout(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::Unreachable,
            format!(
                "no answer from {target} within {:.1} s",
                waited.as_secs_f64()
            ),
            "is the host up, and does a firewall drop the port?",
        )
    }

    /// The connection stands, and nothing comes.
    pub(super) fn no_answer(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::NoAnswer,
            format!(
                "{target} accepts the connection but sends nothing for {:.1} s",
                waited.as_secs_f64()
            ),
            "is the process frozen or overloaded, or is it another kind of server?",
        )
    }

    /// A process is looked at from outside, and its program is not read yet.
    pub(super) fn slow_to_read(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::NoAnswer,
            format!(
                "the program of {target} is being read for {:.1} s",
                waited.as_secs_f64()
            ),
            "a large one takes a second, or many where this machine has no CPU for looptop",
        )
    }

    /// A core dump cannot be read.
    pub(super) fn core(path: &Path, why: &dyn fmt::Display) -> Self {
        Self::new(
            ProblemKind::Core,
            format!(
                "the core dump `{}` cannot be shown: {}",
                quote(&path.display().to_string()),
                crate::escape::escaped(&why.to_string())
            ),
            "",
        )
    }

    /// A core dump is read, and nothing of it is to be seen yet.
    pub(super) fn slow_to_read_core(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::NoAnswer,
            format!("{target} is being read for {:.1} s", waited.as_secs_f64()),
            "a large one takes as long as its memory is long to read",
        )
    }

    /// A process is looked at from outside, and no look at it has come.
    pub(super) fn no_look(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::NoAnswer,
            format!("no look at {target} for {:.1} s", waited.as_secs_f64()),
            "this machine has no CPU for looptop; what you see is old",
        )
    }

    /// The stream stands, and no frame comes.
    pub(super) fn silent(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::NoAnswer,
            format!(
                "no data from {target} for {:.1} s though the connection stands",
                waited.as_secs_f64()
            ),
            "the process is frozen, starved by its host or cut off; what you see is old",
        )
    }

    /// The process is stopped.
    pub(super) fn stopped(pid: u32, name: &str) -> Self {
        Self::new(
            ProblemKind::Stopped,
            format!(
                "process {pid} ({}) is stopped by a signal or a debugger",
                quote(name)
            ),
            format!("`kill -CONT {pid}` lets it go on; what you see is old"),
        )
    }

    /// The process has ended, and its id was given anew.
    pub(super) fn other_process(pid: u32) -> Self {
        Self::new(
            ProblemKind::NoProcess,
            format!("process {pid} has ended, and another one has its id now"),
            "what you see is old; `looptop ls` lists what runs here",
        )
    }

    /// A process is not looked at from outside.
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let kind = match refusal.why() {
            Why::NoSuchProcess | Why::Thread { .. } | Why::Ended => ProblemKind::NoProcess,
            Why::Platform => ProblemKind::Unsupported,
            _ => ProblemKind::NotReadable,
        };
        Self::new(kind, refusal.what(), refusal.advice())
    }

    /// Another viewer paused the server.
    pub(super) fn paused() -> Self {
        Self::new(
            ProblemKind::Paused,
            "console-subscriber is paused for all its viewers, by another one or an earlier one",
            "resume it there or here; what you see is old",
        )
    }

    /// The peer answered, and it is neither an agent nor a console.
    pub(super) fn no_service(target: &Target) -> Self {
        Self::new(
            ProblemKind::NoService,
            format!(
                "{target} speaks HTTP/2 but serves neither looptop's agent nor console-subscriber"
            ),
            which_port(target),
        )
    }

    /// The agent answers in a protocol that this viewer cannot read.
    pub(super) fn protocol(theirs: u32, agent_version: &str) -> Self {
        let ours = looptop_wire::PROTOCOL;
        let what = format!(
            "the agent ({}) speaks protocol {theirs}, this looptop speaks {ours}",
            quote(agent_version)
        );
        if theirs > ours {
            Self::new(ProblemKind::AgentTooNew, what, "update looptop")
        } else {
            let advice = "update looptop-agent in the application";
            Self::new(ProblemKind::AgentTooOld, what, advice)
        }
    }

    /// A message contradicts the protocol.
    pub(super) fn malformed(target: &Target, detail: impl fmt::Display) -> Self {
        Self::new(
            ProblemKind::Malformed,
            format!("{target} sent a message that cannot be understood: {detail}"),
            "are looptop and the agent of the same version?",
        )
    }

    /// A silent connection was given up.
    pub(super) fn given_up(target: &Target, waited: Duration) -> Self {
        Self::new(
            ProblemKind::NoAnswer,
            format!(
                "the connection to {target} was given up after {:.0} s without an answer",
                waited.as_secs_f64()
            ),
            "the process is frozen, or its host is down or cut off",
        )
    }

    /// What looks at a process has failed, for no reason of the process's.
    pub(super) fn not_attached(pid: u32) -> Self {
        Self::new(
            ProblemKind::Io,
            format!("looking at process {pid} came to an end by a mistake of looptop's"),
            "it is tried again; please report it with what is printed",
        )
    }

    /// The threads of a process cannot be read.
    pub(super) fn unreadable(pid: u32, name: &str, error: &impl fmt::Display) -> Self {
        Self::new(
            ProblemKind::NotReadable,
            format!(
                "process {pid} ({}) cannot be looked at: {error}",
                quote(name)
            ),
            "run looptop as its user, or as root",
        )
    }

    /// No thread could be started that looks.
    pub(super) fn no_thread(pid: u32, error: &io::Error) -> Self {
        Self::new(
            ProblemKind::Io,
            format!("no thread could be started to look at process {pid}: {error}"),
            "is a limit of processes or memory reached?",
        )
    }

    /// The process that was looked at has ended.
    pub(super) fn process_ended(pid: u32, name: &str) -> Self {
        Self::new(
            ProblemKind::NoProcess,
            format!("process {pid} ({}) has ended", quote(name)),
            "start it again, and attach to its new id; `looptop ls` lists what runs",
        )
    }

    /// The process that was looked at has become another program.
    pub(super) fn other_program(pid: u32, name: &str) -> Self {
        Self::new(
            ProblemKind::OtherProgram,
            format!(
                "process {pid} runs another program now, {} no more (exec)",
                quote(name)
            ),
            "what you see is of the old one",
        )
    }

    /// The process that was looked at from outside has an agent that answers by now.
    pub(super) fn agent_answers(pid: u32) -> Self {
        Self::new(
            ProblemKind::AgentAnswers,
            format!("the agent or console-subscriber of process {pid} answers now"),
            "it is shown instead, which sees more",
        )
    }

    /// The stream ended without an error.
    pub(super) fn ended(target: &Target) -> Self {
        Self::new(
            ProblemKind::Closed,
            format!("{target} ended the connection"),
            "the application ended, or dropped a viewer that was too slow",
        )
    }

    /// A call failed; `sniffed` is what the connection's first bytes were.
    pub(super) fn call(target: &Target, status: &Status, sniffed: &Sniffed) -> Self {
        if let Answer::Other(text) = sniffed.answer() {
            return Self::other_protocol(target, &text);
        }
        match status.code() {
            Code::Unimplemented => Self::no_service(target),
            Code::OutOfRange if status.message().contains("too large") => {
                too_large(target, status.message())
            }
            Code::Internal if status.message().contains("decode") => {
                Self::malformed(target, quote(status.message()))
            }
            Code::Unauthenticated | Code::PermissionDenied => Self::forbidden(target, status),
            _ if is_transport(status) => Self::ended(target),
            code => Self::new(
                ProblemKind::Rejected,
                format!(
                    "{target} refused the request: {}",
                    quote(match status.message() {
                        "" => code.description(),
                        message => message,
                    })
                ),
                "",
            ),
        }
    }

    /// This user may not look; the application says why, and what would change it.
    pub(super) fn forbidden(target: &Target, status: &Status) -> Self {
        let why = quote_up_to(status.message(), MAX_REFUSAL);
        Self::new(
            ProblemKind::Forbidden,
            format!("{target} refused: {why}"),
            "",
        )
    }

    /// The peer speaks something else; `text` describes what.
    pub(super) fn other_protocol(target: &Target, text: &str) -> Self {
        Self::new(
            ProblemKind::OtherProtocol,
            format!("{target} speaks something else ({text})"),
            which_port(target),
        )
    }

    /// The peer hangs up at once.
    pub(super) fn hangs_up(target: &Target) -> Self {
        Self::new(
            ProblemKind::Closed,
            format!("{target} accepts the connection and closes it without a word"),
            which_port(target),
        )
    }
}

/// What to do where something else listens.
fn which_port(target: &Target) -> &'static str {
    if target.is_local() {
        "is this the right port? `looptop ls` lists where agents and console-subscribers \
         of this machine listen"
    } else {
        "is this the right port? looptop wants the agent's port or console-subscriber's"
    }
}

fn connecting_tcp(target: &Target, error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Problem::new(
            ProblemKind::Refused,
            format!("connection refused: nothing listens on {target}"),
            if target.is_local() {
                "is the application running, and does it call looptop_agent::init()? \
                 `looptop ls` lists what can be looked at here, also without it"
            } else {
                "is the application running, and does it call looptop_agent::init()?"
            },
        ),
        io::ErrorKind::PermissionDenied => Problem::new(
            ProblemKind::PermissionDenied,
            format!("connecting to {target} is forbidden: {error}"),
            "a firewall or sandbox on this machine refuses it",
        ),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::TimedOut => Problem::new(
            ProblemKind::Unreachable,
            format!("{target} cannot be reached: {error}"),
            "is the host up, and is there a route to it?",
        ),
        _ => Problem::new(
            ProblemKind::Io,
            format!("connecting to {target} failed: {error}"),
            "",
        ),
    }
}

fn connecting_unix(path: &std::path::Path, error: &io::Error) -> Problem {
    let shown = quote(&path.display().to_string());
    match error.kind() {
        io::ErrorKind::NotFound => Problem::new(
            ProblemKind::NoSuchPath,
            format!("there is no socket {shown}"),
            "is the application running, and does it listen at that path?",
        ),
        io::ErrorKind::PermissionDenied => Problem::new(
            ProblemKind::PermissionDenied,
            format!("opening the socket {shown} is forbidden: {error}"),
            "run looptop as the user of the application",
        ),
        _ if !is_socket(path) => Problem::new(
            ProblemKind::WrongPath,
            format!("{shown} is not a socket"),
            "a recording is named without `unix:`",
        ),
        io::ErrorKind::ConnectionRefused => Problem::new(
            ProblemKind::Refused,
            format!("connection refused: the socket {shown} is there, but nothing listens on it"),
            "it was left by a process that has ended; is the application running?",
        ),
        _ => Problem::new(
            ProblemKind::Io,
            format!("connecting to the socket {shown} failed: {error}"),
            "",
        ),
    }
}

#[cfg(unix)]
fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    // Where the type cannot be read, the first error is the better one.
    std::fs::metadata(path).map_or(true, |m| m.file_type().is_socket())
}

#[cfg(not(unix))]
fn is_socket(_: &std::path::Path) -> bool {
    true
}

fn too_large(target: &Target, message: &str) -> Problem {
    let mut numbers = message
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<u64>().ok());
    let mib = |bytes: Option<u64>| bytes.map(|n| n as f64 / f64::from(1 << 20));
    let sizes = match (mib(numbers.next()), mib(numbers.next())) {
        (Some(size), Some(limit)) => format!("{size:.1} MiB where {limit:.0} MiB is the limit"),
        _ => quote(message),
    };
    Problem::new(
        ProblemKind::TooLarge,
        format!("{target} sent a message of {sizes}"),
        "of console-subscriber, lower its retention (TOKIO_CONSOLE_RETENTION=60s) or use looptop_agent::init()",
    )
}

/// Whether the failure is of the connection rather than an answer.
pub(super) fn is_transport(status: &Status) -> bool {
    let code = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
    );
    code && (std::error::Error::source(status).is_some() || status.message().contains("h2 "))
}

/// A text from outside, with control characters escaped, cut to a length that
/// fits a sentence.
pub(crate) fn quote(text: &str) -> String {
    quote_up_to(text, MAX_QUOTE)
}

fn quote_up_to(text: &str, most: usize) -> String {
    let mut quoted: String = text
        .chars()
        .take(most)
        .flat_map(|c| {
            let raw = (!hostile(c)).then_some(c);
            let escaped = hostile(c).then(|| c.escape_default());
            raw.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect();
    if text.chars().nth(most).is_some() {
        quoted.push('…');
    }
    quoted
}

/// Control characters and those that reorder or hide text.
fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_leaves_nothing_raw() {
        assert_eq!(quote("plain é"), "plain é");
        assert_eq!(quote("a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(quote("a\u{202e}b"), "a\\u{202e}b");
        let long = quote(&"x".repeat(1_000));
        assert_eq!(long.chars().count(), MAX_QUOTE + 1);
    }

    #[test]
    fn a_problem_is_one_sentence() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let problem = Problem::connecting(&Target::default(), &refused);
        insta::assert_snapshot!(problem, @"connection refused: nothing listens on 127.0.0.1:6669; is the application running, and does it call looptop_agent::init()? `looptop ls` lists what can be looked at here, also without it");
        insta::assert_snapshot!(Problem::protocol(9, "9.1"), @"the agent (9.1) speaks protocol 9, this looptop speaks 1; update looptop");
        insta::assert_snapshot!(Problem::protocol(0, "0.0"), @"the agent (0.0) speaks protocol 0, this looptop speaks 1; update looptop-agent in the application");
    }
}
