//! `status`: lines of a key and a value.

/// The number behind `key:` in a text of the form of `status` or `meminfo`.
pub fn number(text: &str, key: &str) -> Option<u64> {
    value(text, key)?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
}

/// `status` of a process or thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status(String);

impl Status {
    /// Of the file's text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// What stands behind `key:`, without the spaces around it.
    pub fn text(&self, key: &str) -> Option<&str> {
        value(&self.0, key).map(str::trim)
    }

    /// The number behind `key:`.
    pub fn number(&self, key: &str) -> Option<u64> {
        number(&self.0, key)
    }

    /// An amount of memory, in bytes; the kernel writes KiB.
    pub fn bytes(&self, key: &str) -> Option<u64> {
        Some(self.number(key)?.saturating_mul(1024))
    }

    /// The process that a thread belongs to; a process's own id is that.
    pub fn process(&self) -> Option<u32> {
        self.number("Tgid")?.try_into().ok()
    }

    /// The user with whose rights it acts.
    pub fn effective_uid(&self) -> Option<u32> {
        let ids = self.text("Uid")?;
        ids.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Times that it gave up its CPU, and that its CPU was taken from it.
    pub fn switches(&self) -> Option<(u64, u64)> {
        Self::parse_switches(&self.0)
    }

    /// [`Status::switches`], of a text.
    pub fn parse_switches(text: &str) -> Option<(u64, u64)> {
        Some((
            number(text, "voluntary_ctxt_switches")?,
            number(text, "nonvoluntary_ctxt_switches")?,
        ))
    }

    /// CPUs on which it may run.
    pub fn cpus(&self) -> Option<u32> {
        let list = value(&self.0, "Cpus_allowed_list")?;
        let count = |range: &str| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
            to.checked_sub(from)?.checked_add(1)
        };
        let mut counts = list.trim().split(',').map(count);
        // A sum of options panics where it overflows.
        let sum = counts.try_fold(0_u32, |sum, count| sum.checked_add(count?));
        sum.filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_behind_keys() {
        let text = "Tgid:\t7\nVmRSS:\t  123 kB\nVmRSSx: 9\nvoluntary_ctxt_switches:\t7\n\
            nonvoluntary_ctxt_switches:\t1\n";
        let status = Status::new(text.into());
        assert_eq!(status.number("VmRSS"), Some(123));
        assert_eq!(status.bytes("VmRSS"), Some(123 * 1024));
        assert_eq!(status.number("Vm"), None);
        assert_eq!(status.text("VmRSS"), Some("123 kB"));
        assert_eq!(status.text("Vm"), None);
        assert_eq!(status.process(), Some(7));
        assert_eq!(status.switches(), Some((7, 1)));
        assert_eq!(Status::new("Tgid:\t-7\n".into()).process(), None);
        let uid = |text: &str| Status::new(text.into()).effective_uid();
        assert_eq!(uid("Uid:\t0\t1000\t0\t0\n"), Some(1000));
        assert_eq!(uid("Uid:\t0\n"), None);
        let huge = format!("VmRSS: {} kB", u64::MAX);
        assert_eq!(Status::new(huge).bytes("VmRSS"), Some(u64::MAX));
    }

    #[test]
    fn cpus_are_counted() {
        for (list, expected) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-1,4,6-7", Some(5)),
            ("3-0", None),
            ("0-4294967295", None),
            ("0-4294967294,0-4294967294", None),
            ("x", None),
            ("", None),
        ] {
            let status = Status::new(format!("Cpus_allowed_list:\t{list}\n"));
            assert_eq!(status.cpus(), expected, "{list}");
        }
        assert_eq!(Status::default().cpus(), None);
    }
}
