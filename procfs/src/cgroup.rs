//! The control group of a process, as far as it is about CPUs.

/// Throttled time in a `cpu.stat` of a control group, ns: version 2 counts
/// microseconds, version 1 nanoseconds.
pub fn throttled_ns(cpu_stat: &str) -> Option<u64> {
    cpu_stat.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        match key {
            "throttled_usec" => Some(value.saturating_mul(1_000)),
            "throttled_time" => Some(value),
            _ => None,
        }
    })
}

/// Where the `cpu.stat` of the control group in the text of a process's `cgroup` may be.
pub fn cpu_stat_paths(cgroup: &str) -> Vec<String> {
    let path_of = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = path.trim_end_matches('/');
        if controllers.is_empty() {
            return Some(format!("/sys/fs/cgroup{path}/cpu.stat"));
        }
        let is_cpu = controllers.split(',').any(|c| c == "cpu");
        is_cpu.then(|| format!("/sys/fs/cgroup/cpu{path}/cpu.stat"))
    };
    cgroup.lines().filter_map(path_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_of_both_versions() {
        for (text, expected) in [
            ("usage_usec 5\nthrottled_usec 7\n", Some(7_000)),
            ("nr_periods 5\nthrottled_time 7\n", Some(7)),
            ("usage_usec 5\n", None),
            ("throttled_usec x\n", None),
            ("throttled_usec\n", None),
        ] {
            assert_eq!(throttled_ns(text), expected, "{text:?}");
        }
    }

    #[test]
    fn control_groups_of_both_versions() {
        let paths = cpu_stat_paths("4:cpu,cpuacct:/a\nnonsense\n3:memory:/a\n0::/user.slice/x\n");
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/cpu/a/cpu.stat",
                "/sys/fs/cgroup/user.slice/x/cpu.stat"
            ]
        );
    }
}
