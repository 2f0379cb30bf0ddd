//! Who may read this process from outside, where Yama keeps that to its ancestors.
//!
//! Many systems let a process be read, sampled and debugged by its own ancestors and root
//! alone (`kernel.yama.ptrace_scope` is 1). A process may name others for itself
//! (`PR_SET_PTRACER`). What it names may then do all that a debugger can, so nothing is
//! named unless the application asks for it.

use std::fmt;

/// Whom [`Builder::allow_reading`](crate::Builder::allow_reading) lets read, sample and
/// debug this process from outside, beside those whom the kernel lets in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reader {
    /// Every process of the application's own user: as on systems without Yama.
    Owner,
    /// The process with this id, and what it starts.
    Process(u32),
}

impl Reader {
    /// As `LOOPTOP_PTRACER` says it; `None` for nobody.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("any") {
            return Ok(Some(Self::Owner));
        }
        match text.parse() {
            Ok(pid @ 1..=0x7fff_ffff) => Ok(Some(Self::Process(pid))),
            _ if crate::config::is_off(text) => Ok(None),
            _ => Err(text.to_owned()),
        }
    }
}

/// Where Yama says what it allows.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
const SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Why naming somebody changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Useless {
    /// Nothing keeps the owner out, or this is no Linux: not worth a word.
    NotNeeded,
    /// Yama allows only who may trace everything, or nobody.
    Forbidden(u32),
    /// There is no such process, or the kernel refuses.
    Refused(String),
}

impl fmt::Display for Useless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNeeded => f.write_str("nothing keeps this user's processes from reading it"),
            Self::Forbidden(scope) => write!(
                f,
                "LOOPTOP_PTRACER changes nothing here: kernel.yama.ptrace_scope is {scope}, which \
                 leaves reading to {}",
                if *scope == 2 { "root" } else { "nobody" }
            ),
            Self::Refused(why) => write!(f, "LOOPTOP_PTRACER cannot be done: {why}"),
        }
    }
}

/// Whether Yama's setting, as its file says it, leaves something to name.
#[cfg_attr(
    not(all(target_os = "linux", not(looptop_elsewhere))),
    allow(dead_code)
)]
fn is_of_use(scope: Option<&str>) -> Result<(), Useless> {
    match scope.and_then(|scope| scope.trim().parse().ok()) {
        None | Some(0) => Err(Useless::NotNeeded),
        Some(1) => Ok(()),
        Some(scope) => Err(Useless::Forbidden(scope)),
    }
}

/// Names who may read this process; what was named before counts no more, whoever has
/// named it. It holds for the whole process, and not for those that it starts.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
pub(crate) fn allow(reader: Reader) -> Result<(), Useless> {
    is_of_use(std::fs::read_to_string(SCOPE).ok().as_deref())?;
    // As the kernel's `PR_SET_PTRACER_ANY`, which is -1.
    let who = match reader {
        Reader::Owner => libc::c_ulong::MAX,
        Reader::Process(pid) => libc::c_ulong::from(pid),
    };
    set_ptracer(who).map_err(|error| Useless::Refused(error.to_string()))
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
pub(crate) fn allow(_: Reader) -> Result<(), Useless> {
    Err(Useless::NotNeeded)
}

/// Takes back what [`allow`] has named.
pub(crate) fn forbid() {
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    // It fails only where nothing was named.
    drop(set_ptracer(0));
}

#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
#[allow(unsafe_code)]
fn set_ptracer(who: libc::c_ulong) -> std::io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: this option takes a number, touches no memory of ours, and changes only whom
    // the kernel lets trace this process.
    let result = unsafe { libc::prctl(libc::PR_SET_PTRACER, who, none, none, none) };
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_by_name() {
        for (text, reader) in [
            ("any", Ok(Some(Reader::Owner))),
            (" ANY ", Ok(Some(Reader::Owner))),
            ("4211", Ok(Some(Reader::Process(4211)))),
            ("1", Ok(Some(Reader::Process(1)))),
            ("off", Ok(None)),
            ("0", Ok(None)),
            ("no", Ok(None)),
            ("alice", Err("alice".to_owned())),
            ("-1", Err("-1".to_owned())),
            ("4294967295", Err("4294967295".to_owned())),
        ] {
            assert_eq!(Reader::parse(text), reader, "{text}");
        }
    }

    #[test]
    fn only_where_yama_asks_for_a_name_is_one_given() {
        for (scope, expected) in [
            (None, Err(Useless::NotNeeded)),
            (Some("0\n"), Err(Useless::NotNeeded)),
            (Some("1\n"), Ok(())),
            (Some("2\n"), Err(Useless::Forbidden(2))),
            (Some("3\n"), Err(Useless::Forbidden(3))),
            (Some("?"), Err(Useless::NotNeeded)),
        ] {
            assert_eq!(is_of_use(scope), expected, "{scope:?}");
        }
        for (scope, who) in [(2, "root"), (3, "nobody")] {
            let sentence = Useless::Forbidden(scope).to_string();
            assert!(sentence.contains("LOOPTOP_PTRACER") && sentence.ends_with(who));
        }
    }

    /// What it says is what the kernel does: whether this one has Yama or not.
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    #[test]
    fn the_kernel_takes_the_name_where_it_has_yama() {
        let scope = std::fs::read_to_string(SCOPE).ok();
        let expected = is_of_use(scope.as_deref());
        assert_eq!(allow(Reader::Owner), expected);
        // Without Yama no kernel knows the option.
        assert_eq!(set_ptracer(libc::c_ulong::MAX).is_ok(), scope.is_some());
        assert_eq!(allow(Reader::Process(std::process::id())), expected);
        if expected.is_ok() {
            let nobody = allow(Reader::Process(0x7fff_ffff));
            assert!(matches!(nobody, Err(Useless::Refused(_))), "{nobody:?}");
        }
        forbid();
    }
}
