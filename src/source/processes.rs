//! `looptop ls`: the applications on this machine that can be attached to.
//!
//! Nothing is dialled: a process counts if one of its threads is the agent's or
//! console-subscriber's, and the addresses are those at which it listens.

use std::{fmt::Write, fs};

use super::host::owner;
use crate::escape::escaped;

/// The beginning of the name of a thread that serves viewers, and what it
/// belongs to. The kernel cuts names at 15 bytes.
const SERVERS: [(&str, &str); 2] = [
    ("looptop-agent", "looptop-agent"),
    ("console_subscri", "console-subscriber"),
];

struct Process {
    pid: u32,
    name: String,
    instrument: &'static str,
    addresses: Vec<String>,
}

/// The applications as a table for people. Some milliseconds; Linux only.
pub fn table() -> String {
    if !cfg!(target_os = "linux") {
        return "looptop ls reads Linux's procfs, which this system does not have\n".to_owned();
    }
    let mut found: Vec<Process> = owner::entries("/proc").filter_map(inspect).collect();
    found.sort_unstable_by_key(|process| process.pid);
    if found.is_empty() {
        return "no application with looptop-agent or console-subscriber runs here \
                (or none that this user may inspect)\n"
            .to_owned();
    }
    let mut text = format!(
        "{:>8}  {:<20}  {:<19}  LISTENS AT\n",
        "PID", "NAME", "INSTRUMENT"
    );
    for Process {
        pid,
        name,
        instrument,
        addresses,
    } in found
    {
        let addresses = if addresses.is_empty() {
            "?".to_owned()
        } else {
            addresses.join(" ")
        };
        let _ = writeln!(
            text,
            "{pid:>8}  {:<20}  {instrument:<19}  {addresses}",
            escaped(&name)
        );
    }
    text
}

fn inspect(pid: u32) -> Option<Process> {
    let directory = format!("/proc/{pid}/task");
    let threads = owner::entries::<u32>(&directory);
    let name = |tid: u32| fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok();
    let instrument = threads.filter_map(name).find_map(|thread| {
        let server = SERVERS
            .iter()
            .find(|(prefix, _)| thread.starts_with(prefix));
        server.map(|(_, instrument)| *instrument)
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Process {
        pid,
        name: name.trim_end().to_owned(),
        instrument,
        addresses: owner::listening_at(pid),
    })
}
