//! Chains as lines of `expected.txt`.

use std::fmt::Write as _;
use std::time::Duration;

use looptop_outside::awaits::{Held, Interest, Leaf, Link, Node, NodeKind, Role, Wanted};
use looptop_outside::waits::ResourceKind;

use crate::expected::Marks;
use crate::running::Running;

/// What names the places and things of a program.
pub(crate) struct Render<'a> {
    pub(crate) running: &'a Running,
    pub(crate) marks: &'a Marks,
}

impl Render<'_> {
    /// A node and those below it.
    pub(crate) fn render(&self, node: &Node, depth: usize, text: &mut String) {
        let is_async = matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
        let is_plumbing = is_async && !node.name.starts_with("waiting::");
        let depth_within = if is_plumbing { depth } else { depth + 1 };
        if !is_plumbing {
            let _ = writeln!(text, "{:1$}{2}", "", depth * 2, self.line(node));
        }
        for held in &node.holds {
            let _ = writeln!(text, "{:1$}{2}", "", depth_within * 2, self.held(held));
        }
        for child in &node.children {
            self.render(child, depth_within, text);
        }
    }

    fn line(&self, node: &Node) -> String {
        let link = match node.link {
            Link::Awaited => "",
            Link::NotStarted => "not started: ",
            Link::Kept => "kept: ",
        };
        let path = node.name.split('<').next().unwrap();
        let last = path.rsplit("::").next().unwrap();
        let is_macro = node.is_of_macro();
        let own = || {
            let path = path.strip_prefix("waiting::").unwrap_or(path);
            let parts = path.split("::").filter(|part| !part.starts_with('{'));
            parts.collect::<Vec<_>>().join("::")
        };
        let name = match (node.kind, &node.leaf) {
            (_, Some(leaf)) => self.leaf(leaf),
            (NodeKind::AsyncFn, _) => own(),
            (NodeKind::AsyncBlock, _) => format!("{}{{}}", own()),
            (NodeKind::Select, _) if is_macro => "select".to_owned(),
            (NodeKind::Join, _) if is_macro => "join".to_owned(),
            (NodeKind::Select, _) => format!("{last}, any"),
            (NodeKind::Join, _) => format!("{last}, all"),
            (NodeKind::Wrapper | NodeKind::Combinator, _) => last.to_owned(),
            (NodeKind::Leaf, None) => unknown(node),
        };
        // What a macro of another crate has written is not at a line of the program.
        let is_of_others = |file: &str| file.contains("/registry/src/");
        let location = node.location.as_ref();
        let location = location.filter(|at| !is_of_others(&at.source));
        let place = location.map(|at| self.marks.at(&at.file, at.line).unwrap_or(at.to_string()));
        let place = place.map_or(String::new(), |place| {
            let place = if node.by_macro {
                place.replace('#', "~")
            } else {
                place
            };
            format!(" {place}")
        });
        format!("{link}{name}{place}")
    }

    /// The resource in which an address is.
    fn resource(&self, address: u64) -> String {
        let before = self.running.resources.iter().rev();
        let mut before = before.skip_while(|(at, ..)| *at > address);
        let name = before.next().filter(|(at, size, _)| address - at < *size);
        name.map_or(String::new(), |(_, _, name)| format!(" {name}"))
    }

    fn held(&self, held: &Held) -> String {
        let resource = self.resource(held.address);
        let amount = match (held.role, held.amount) {
            (Role::Receiver, _) => ", receiver".to_owned(),
            (Role::Sender, _) => ", sender".to_owned(),
            (Role::Guard, 1) => String::new(),
            (Role::Guard, amount) => format!(", {}", many(amount)),
        };
        format!("holds {:?}{resource} in {}{amount}", held.kind, held.name)
    }

    pub(crate) fn leaf(&self, leaf: &Leaf) -> String {
        let of = match leaf {
            Leaf::Resource(wanted) => self.wanted(wanted),
            Leaf::Task { id, .. } => {
                let name = id.and_then(|id| self.running.tasks.get(&id));
                format!("Task {}", name.map_or("?", String::as_str))
            }
            Leaf::Timer { due } => {
                let now = monotonic();
                let hours = (due.as_secs_f64() - now.as_secs_f64()) / 3_600.0;
                format!("Timer {} h", hours.round())
            }
            Leaf::Socket { fd, interest } => {
                let name = fd.and_then(|fd| self.running.descriptors.get(&fd));
                let interest = match interest {
                    Interest::Unknown => String::new(),
                    interest => format!(", {interest:?}"),
                };
                format!("Socket {}{interest}", name.map_or("?", String::as_str))
            }
            Leaf::Never => "Never".to_owned(),
        };
        format!("-> {of}")
    }

    fn wanted(&self, wanted: &Wanted) -> String {
        // The program says where its locks are, and not its channels.
        let is_channel = matches!(
            wanted.kind,
            ResourceKind::Mpsc
                | ResourceKind::Oneshot
                | ResourceKind::Watch
                | ResourceKind::Broadcast
        );
        let name = (!is_channel).then(|| self.resource(wanted.address));
        let named = format!("{:?}{}", wanted.kind, name.unwrap_or_default());
        let senders = wanted.senders.map(|senders| format!("{senders} senders"));
        let senders = senders.unwrap_or_default();
        match wanted.kind {
            ResourceKind::RwLock | ResourceKind::Semaphore => {
                assert_eq!(wanted.free, Some(0), "{wanted:?}");
                format!("{named}, wants {}", many(wanted.amount))
            }
            ResourceKind::Barrier => {
                let (arrived, of) = (wanted.arrived.unwrap(), wanted.total.unwrap());
                format!("{named}, {arrived} of {of}")
            }
            ResourceKind::Mpsc if wanted.senders.is_none() => {
                let (queued, of) = (wanted.queued.unwrap(), wanted.total.unwrap());
                format!("{named} room, {queued} of {of}")
            }
            ResourceKind::Mpsc => {
                format!(
                    "{named} message, {senders}, {} queued",
                    wanted.queued.unwrap()
                )
            }
            ResourceKind::Oneshot if wanted.amount == 0 => format!("{named} closed"),
            ResourceKind::Oneshot => format!("{named} message, {senders}"),
            _ if senders.is_empty() => named,
            _ => format!("{named}, {senders}"),
        }
    }
}

/// What is waited for is not known: the crate in which it is.
pub(crate) fn unknown(node: &Node) -> String {
    let path = node.name.trim_start_matches('<');
    format!("? {}", path.split("::").next().unwrap_or(path))
}

fn many(amount: u64) -> String {
    if amount >= 1 << 20 {
        "all".to_owned()
    } else {
        amount.to_string()
    }
}

/// The system's monotonic clock, as long as the machine was not suspended.
fn monotonic() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    Duration::from_secs_f64(text.split(' ').next().unwrap().parse().unwrap())
}
