//! `stat` and `schedstat`: the state of a thread, and its times.

/// Linux fixes `USER_HZ` at 100 on every architecture that tokio supports, so a clock
/// tick of `/proc` is 10 ms.
pub const TICK_NS: u64 = 10_000_000;

/// State of a thread or process, as the kernel's letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedState {
    /// On a CPU, or ready for one.
    Running,
    /// Blocked, and a signal would wake it.
    Sleeping,
    /// Uninterruptible.
    Disk,
    /// By a signal or a debugger.
    Stopped,
    /// It has ended, and its parent has not asked how.
    Dead,
    /// Any other.
    Other,
}

impl SchedState {
    fn of(letter: &str) -> Self {
        match letter {
            "R" => Self::Running,
            "S" | "I" => Self::Sleeping,
            "D" => Self::Disk,
            "T" | "t" => Self::Stopped,
            "Z" | "X" => Self::Dead,
            _ => Self::Other,
        }
    }

    /// The state in a `stat` alone.
    pub fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_ascii_whitespace().next().map(Self::of)
    }
}

/// `stat` of a thread or process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// At most 15 bytes of the thread's name, or of the program's.
    pub name: String,
    /// What it does.
    pub state: SchedState,
    /// CPU time in the program, in ticks of [`TICK_NS`].
    pub user_ticks: u64,
    /// CPU time in the kernel, likewise.
    pub system_ticks: u64,
    /// When it started, since the machine booted, likewise.
    pub start_ticks: u64,
    /// Where the stack of its program begins: another place after each `exec`, as a
    /// rule. `None` where this user may not know.
    pub stack_start: Option<u64>,
}

impl Stat {
    /// Parses the file's only line.
    pub fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses and may itself hold spaces and parentheses; nothing
        // behind it does.
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = SchedState::of(fields.next()?);
        // Fields 14, 15, 22 and 28 of proc(5); the state was field 3.
        let user_ticks = fields.nth(10)?.parse().ok()?;
        let system_ticks = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(6)?.parse().ok()?;
        let stack_start = fields.nth(5).and_then(|field| field.parse().ok());
        Some(Self {
            name: name.to_owned(),
            state,
            user_ticks,
            system_ticks,
            start_ticks,
            stack_start: stack_start.filter(|start| *start > 0),
        })
    }
}

/// `schedstat`: what the scheduler did with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedStat {
    /// Time on a CPU, ns, in steps of the scheduler's tick.
    pub cpu_ns: u64,
    /// Time ready to run but without a CPU, ns.
    pub run_queue_ns: u64,
    /// Times that it was given a CPU.
    pub slices: u64,
}

impl SchedStat {
    /// Parses the file's only line.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        Some(Self {
            cpu_ns: numbers.next()?.ok()?,
            run_queue_ns: numbers.next()?.ok()?,
            slices: numbers.next()?.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let text =
            "12 (a) R (b c) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20 0 1 0 12345 22 3 4 5 6 7000 8";
        let stat = Stat::parse(text).expect("well formed");
        let expected = Stat {
            name: "a) R (b c".into(),
            state: SchedState::Sleeping,
            user_ticks: 77,
            system_ticks: 88,
            start_ticks: 12_345,
            stack_start: Some(7_000),
        };
        assert_eq!(stat, expected);
        assert_eq!(SchedState::parse(text), Some(SchedState::Sleeping));
        let forbidden = Stat::parse(&text.replace("7000", "0")).expect("well formed");
        assert_eq!(forbidden.stack_start, None);
        for bad in [
            "",
            "12",
            "12 (x",
            "12 (x)",
            "12 (x) S 1 2",
            ")(",
            "1 )x( R",
            "12 (x) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20 0 1 0",
            "12 (x) S 1 2 3 4 5 6 7 8 9 10 77 -8 0 0 20 0 1 0 5",
        ] {
            assert_eq!(Stat::parse(bad), None, "{bad:?}");
        }
        for bad in ["", "12 (x", "12 (x)"] {
            assert_eq!(SchedState::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn states_by_their_letters() {
        for (letter, expected) in [
            ("R", SchedState::Running),
            ("S", SchedState::Sleeping),
            ("I", SchedState::Sleeping),
            ("D", SchedState::Disk),
            ("T", SchedState::Stopped),
            ("t", SchedState::Stopped),
            ("Z", SchedState::Dead),
            ("running", SchedState::Other),
        ] {
            let stat = format!("1 (x) {letter} 1");
            assert_eq!(SchedState::parse(&stat), Some(expected), "{letter}");
        }
    }

    #[test]
    fn schedstat_has_three_numbers() {
        let stat = SchedStat::parse("100 20 3\n").expect("well formed");
        assert_eq!((stat.cpu_ns, stat.run_queue_ns, stat.slices), (100, 20, 3));
        for bad in ["", "100 20", "100 20 x", "-1 2 3"] {
            assert_eq!(SchedStat::parse(bad), None, "{bad:?}");
        }
    }
}
