//! Why a process is not looked at, in sentences.

use std::fmt;

use crate::program::{OLDEST_TOKIO, TokioVersion};

/// Why a process is not looked at. Displays as one sentence: what was tried, what
/// happened, and what to do. No character in it is raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pid: u32,
    name: String,
    why: Why,
}

/// The reason of a [`Refusal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// This system has no way to read a process.
    Platform,
    /// Nobody has this id.
    NoSuchProcess,
    /// It is the id of a thread.
    Thread {
        /// Of this process.
        of: u32,
    },
    /// It has ended: it may still be listed until its parent asks how.
    Ended,
    /// It belongs to the kernel.
    KernelThread,
    /// It belongs to another user.
    OtherUser {
        /// To whom.
        uid: u32,
        /// By name, where it has one.
        user: Option<String>,
        /// The user that looks.
        own: u32,
    },
    /// It is in a user namespace in which the one that looks has no rights.
    UserNamespace,
    /// It has made itself unreadable, or was started with rights its user has not.
    NotDumpable,
    /// It has capabilities that the one that looks has not.
    Capabilities,
    /// Yama, by its `ptrace_scope`.
    Yama {
        /// 1, 2 or 3.
        scope: i64,
    },
    /// A filter of system calls refuses the call to the one that looks.
    Seccomp,
    /// The kernel does not have the call, or a sandbox stands in its place.
    NoCall,
    /// Forbidden, and nothing shows why.
    Forbidden {
        /// What the kernel said.
        error: String,
    },
    /// It is for a 32-bit machine.
    ThirtyTwoBit,
    /// It is for another machine, by its number in ELF.
    OtherMachine(u16),
    /// Nothing of tokio shows in it.
    NotTokio,
    /// Its tokio keeps its tasks in another way.
    TooOld(TokioVersion),
}

impl Refusal {
    pub(super) fn new(pid: u32, name: &str, why: Why) -> Self {
        // A process chooses its name itself.
        let name = name.chars().take(MAX_NAME).flat_map(char::escape_debug);
        Self {
            pid,
            name: name.collect(),
            why,
        }
    }

    /// The reason.
    pub fn why(&self) -> &Why {
        &self.why
    }

    /// What was tried and what happened.
    pub fn what(&self) -> String {
        let Self { pid, name, why } = self;
        let forbidden = format!("reading process {pid} ({name}) is forbidden");
        match why {
            Why::Platform => {
                "a process can be read from outside on Linux on x86-64 alone".to_owned()
            }
            Why::NoSuchProcess => format!("no process has the id {pid}"),
            Why::Thread { of } => format!("{pid} is the id of a thread of process {of} ({name})"),
            Why::Ended => format!("process {pid} ({name}) has ended"),
            Why::KernelThread => {
                format!("{pid} ({name}) is a thread of the kernel, not a program")
            }
            Why::OtherUser { uid, user, own } => {
                let user = match user {
                    Some(user) => format!("{} (user id {uid})", user.escape_debug()),
                    None => format!("user id {uid}"),
                };
                format!("{forbidden}: it belongs to {user}, and looptop runs as user id {own}")
            }
            Why::UserNamespace => format!(
                "{forbidden}: it is in another user namespace, as in a container, in which \
                 this user has no rights"
            ),
            Why::NotDumpable => format!(
                "{forbidden}: it has made itself unreadable (PR_SET_DUMPABLE), or was started \
                 with rights that its user does not have"
            ),
            Why::Capabilities => {
                format!("{forbidden}: it has capabilities that looptop does not have")
            }
            Why::Yama { scope } => {
                let to_whom = match scope {
                    1 => "only those that started a program read it",
                    2 => "only root (CAP_SYS_PTRACE) read programs",
                    _ => "nobody read programs, not even root",
                };
                format!("{forbidden}: Yama (kernel.yama.ptrace_scope = {scope}) lets {to_whom}")
            }
            Why::Seccomp => format!(
                "{forbidden}: a seccomp filter, as in a container, refuses \
                 process_vm_readv to looptop"
            ),
            Why::NoCall => format!(
                "process {pid} ({name}) cannot be read: this kernel, or the sandbox in its \
                 place, has no process_vm_readv"
            ),
            Why::Forbidden { error } => format!(
                "{forbidden}, and nothing shows by whom ({error}): AppArmor, SELinux or \
                 another policy"
            ),
            Why::ThirtyTwoBit => {
                format!("process {pid} ({name}) is a 32-bit program; looptop reads 64-bit ones")
            }
            Why::OtherMachine(number) => format!(
                "process {pid} ({name}) is a program for another machine (ELF machine {number})"
            ),
            Why::NotTokio => format!(
                "process {pid} ({name}) shows nothing of tokio, neither in its executable nor \
                 by a thread"
            ),
            Why::TooOld(version) => format!(
                "process {pid} ({name}) has tokio {version}; looptop reads {}.{} and newer \
                 from outside",
                OLDEST_TOKIO.major, OLDEST_TOKIO.minor
            ),
        }
    }

    /// What to do.
    pub fn advice(&self) -> String {
        const LIST: &str = "`looptop ls` lists the tokio programs of this machine";
        const AGENT: &str = "add looptop_agent::init() to the application";
        let as_root = format!("`sudo looptop pid:{}`", self.pid);
        match &self.why {
            Why::Platform => AGENT.to_owned(),
            Why::NoSuchProcess | Why::Ended | Why::KernelThread => LIST.to_owned(),
            Why::Thread { of } => format!("write pid:{of}"),
            Why::OtherUser { uid: 0, .. } | Why::NotDumpable | Why::Capabilities => {
                format!("look as root: {as_root}")
            }
            Why::OtherUser { .. } => format!("run looptop as that user or as root: {as_root}"),
            Why::UserNamespace => {
                format!("run looptop in that container, or as root of the host: {as_root}")
            }
            Why::Yama { scope: 1 } => format!(
                "start it with `looptop run -- CMD`, look as root ({as_root}), or lift it \
                 until the next boot: `sudo sysctl kernel.yama.ptrace_scope=0`"
            ),
            Why::Yama { scope: 2 } => format!(
                "look as root ({as_root}), or lift it until the next boot: \
                 `sudo sysctl kernel.yama.ptrace_scope=0`"
            ),
            Why::Yama { .. } => format!(
                "this can be changed by a reboot alone; or {AGENT}, which needs no permission"
            ),
            Why::Seccomp => {
                "give looptop's container SYS_PTRACE (Docker: `--cap-add SYS_PTRACE`), or run \
                 looptop on the host"
                    .to_owned()
            }
            Why::NoCall => format!("run looptop on the host, or {AGENT}"),
            Why::Forbidden { .. } => "the kernel's log (`sudo dmesg`) may name it".to_owned(),
            Why::ThirtyTwoBit | Why::OtherMachine(_) => "build it for x86-64".to_owned(),
            Why::NotTokio => {
                format!("where it starts the program that is meant, name that one; {LIST}")
            }
            Why::TooOld(_) => "build it with a newer one: `cargo update -p tokio`".to_owned(),
        }
    }

    /// The reason and what would be needed, for a line of a table.
    pub fn short(&self) -> String {
        match &self.why {
            Why::Platform => "not on this system".to_owned(),
            Why::NoSuchProcess | Why::Ended => "it has ended".to_owned(),
            Why::Thread { of } => format!("a thread of {of}"),
            Why::KernelThread => "a thread of the kernel".to_owned(),
            Why::OtherUser { uid: 0, .. } => "needs root".to_owned(),
            Why::OtherUser { uid, user, .. } => match user {
                Some(user) => format!("needs user {} or root", user.escape_debug()),
                None => format!("needs user id {uid} or root"),
            },
            Why::UserNamespace => "needs root: another user namespace".to_owned(),
            Why::NotDumpable => "needs root: it has made itself unreadable".to_owned(),
            Why::Capabilities => "needs root: it has more capabilities".to_owned(),
            Why::Yama { scope: 1 } => {
                "needs root or `looptop run`: Yama, ptrace_scope 1".to_owned()
            }
            Why::Yama { scope: 2 } => "needs root: Yama, ptrace_scope 2".to_owned(),
            Why::Yama { scope } => format!("never: Yama, ptrace_scope {scope}"),
            Why::Seccomp => "needs SYS_PTRACE: seccomp".to_owned(),
            Why::NoCall => "no process_vm_readv here".to_owned(),
            Why::Forbidden { error } => format!("forbidden: {error}"),
            Why::ThirtyTwoBit => "a 32-bit program".to_owned(),
            Why::OtherMachine(_) => "for another machine".to_owned(),
            Why::NotTokio => "no tokio".to_owned(),
            Why::TooOld(_) => {
                let oldest = OLDEST_TOKIO;
                format!("needs tokio {}.{} or newer", oldest.major, oldest.minor)
            }
        }
    }
}

/// More of a name is not shown.
const MAX_NAME: usize = 64;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.advice())
    }
}

impl std::error::Error for Refusal {}
