//! Kernels and settings that this machine does not have: a procfs in a directory, and a
//! kernel that answers what it is told.

use std::cell::Cell;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::program::tests::elf;

const PID: u32 = 4_211;
const OWN_UID: u32 = 1_000;
const PERMITTED: i32 = 0;
const EPERM: i32 = 1;
const ESRCH: i32 = 3;
const EFAULT: i32 = 14;
const ENOSYS: i32 = 38;

/// What is different from a process that may be read.
type Change = fn(&mut Fake);

struct Fake {
    root: TempDir,
    answer: i32,
    owner: u32,
    supported: bool,
    asked: Cell<Option<(u32, u64)>>,
}

impl Kernel for Fake {
    fn is_supported(&self) -> bool {
        self.supported
    }

    fn read(&self, pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.asked.set(Some((pid, address)));
        match self.answer {
            PERMITTED => Ok(buffer.len()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn owner(&self, _: &Path) -> io::Result<u32> {
        Ok(self.owner)
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        (uid == 70).then(|| "postgres".to_owned())
    }
}

fn status(pid: u32, uid: u32) -> String {
    format!(
        "Name:\tapp\nState:\tS (sleeping)\nTgid:\t{pid}\nTracerPid:\t0\n\
         Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nVmSize:\t 3760 kB\nCapPrm:\t0000000000000000\n\
         CapEff:\t0000000000000000\nSeccomp:\t0\n"
    )
}

const MAPS: &str = "\
7f00-7f10 rw-p 00000000 00:00 0 [heap]\n\
7f10-7f20 r--p 00000000 08:01 42 /opt/app\n\
7f20-7f30 r-xp 00001000 08:01 42 /opt/app\n";

const STAT: &str = "4211 (app) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20 0 1 0 12345 22 3 4 5 6 7000 8\n";

impl Fake {
    /// A tokio program of the user that looks, which may be read.
    fn new() -> Self {
        let mut fake = Self {
            root: tempfile::tempdir().unwrap(),
            answer: PERMITTED,
            owner: OWN_UID,
            supported: true,
            asked: Cell::new(None),
        };
        fake.write("self/status", &status(9_000, OWN_UID));
        fake.write("sys/kernel/perf_event_paranoid", "2\n");
        fake.process(PID, OWN_UID);
        fake.executable(&elf(b"/tokio-1.54.1/src/lib.rs", true));
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn of(&self, name: &str) -> PathBuf {
        self.path(&format!("{PID}/{name}"))
    }

    fn write(&mut self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&mut self, pid: u32, uid: u32) {
        self.write(&format!("{pid}/status"), &status(pid, uid));
        self.write(&format!("{pid}/stat"), STAT);
        self.write(&format!("{pid}/maps"), MAPS);
        self.write(&format!("{pid}/comm"), "app\n");
        self.thread("app");
    }

    fn executable(&mut self, bytes: &[u8]) {
        fs::write(self.path("app"), bytes).unwrap();
        let _ = fs::remove_file(self.of("exe"));
        symlink(self.path("app"), self.of("exe")).unwrap();
    }

    fn thread(&mut self, name: &str) {
        self.write(&format!("{PID}/task/{PID}/comm"), &format!("{name}\n"));
    }

    /// Replaces lines of a status by their keys.
    fn status(&mut self, of: &str, lines: &[(&str, &str)]) {
        let name = format!("{of}/status");
        let text = fs::read_to_string(self.path(&name)).unwrap();
        let changed = text.lines().map(|line| {
            let key = line.split(':').next().unwrap();
            let found = lines.iter().find(|(changed, _)| *changed == key);
            found.map_or_else(
                || line.to_owned() + "\n",
                |(key, value)| format!("{key}:\t{value}\n"),
            )
        });
        let changed: String = changed.collect();
        self.write(&name, &changed);
    }

    /// Its `maps` cannot be read, as where the kernel forbids it.
    fn forbid_maps(&mut self) {
        fs::remove_file(self.of("maps")).unwrap();
        fs::create_dir(self.of("maps")).unwrap();
    }

    fn examine(&self) -> Result<Access, Refusal> {
        examine(&Procfs::at(self.root.path()), self, PID)
    }
}

fn yama(fake: &mut Fake, scope: &str) {
    fake.answer = EPERM;
    fake.write("sys/kernel/yama/ptrace_scope", scope);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn why_a_process_is_not_looked_at() {
    let namespace: Change = |fake| {
        fake.answer = EPERM;
        for (name, target) in [("self", "user:[1]"), ("4211", "user:[2]")] {
            fs::create_dir_all(fake.path(&format!("{name}/ns"))).unwrap();
            symlink(target, fake.path(&format!("{name}/ns/user"))).unwrap();
        }
    };
    let cases: &[(&str, Change, Why)] = &[
        ("another platform", |f| f.supported = false, Why::Platform),
        (
            "nobody's id",
            |f| fs::remove_dir_all(f.path("4211")).unwrap(),
            Why::NoSuchProcess,
        ),
        (
            "a thread's id",
            |f| f.status("4211", &[("Tgid", "4200")]),
            Why::Thread { of: 4_200 },
        ),
        (
            "nobody has waited for it",
            |f| f.write("4211/stat", &STAT.replace(" S ", " Z ")),
            Why::Ended,
        ),
        (
            "it ends before its memory is read",
            |f| f.answer = ESRCH,
            Why::Ended,
        ),
        (
            "it has no memory any more",
            |f| f.write("4211/maps", ""),
            Why::Ended,
        ),
        (
            "a thread of the kernel",
            |f| f.write("4211/status", "Tgid:\t4211\nUid:\t0\t0\t0\t0\n"),
            Why::KernelThread,
        ),
        (
            "a thread of the kernel with a word for it",
            |f| f.write("4211/status", "Tgid:\t4211\nKthread:\t1\nVmSize:\t1 kB\n"),
            Why::KernelThread,
        ),
        (
            "another user's, by name",
            |f| {
                f.status("4211", &[("Uid", "70\t70\t70\t70")]);
                f.forbid_maps();
            },
            Why::OtherUser {
                uid: 70,
                user: Some("postgres".into()),
                own: OWN_UID,
            },
        ),
        (
            "a setuid program of the same user",
            |f| {
                f.status("4211", &[("Uid", "1000\t0\t0\t0")]);
                f.answer = EPERM;
            },
            Why::OtherUser {
                uid: 0,
                user: None,
                own: OWN_UID,
            },
        ),
        ("another user namespace", namespace, Why::UserNamespace),
        (
            "a process of the host, for root of a user namespace",
            |f| {
                f.answer = EPERM;
                f.status("self", &[("CapEff", "000001ffffffffff")]);
                f.write("self/uid_map", "         0       1000          1\n");
            },
            Why::UserNamespace,
        ),
        (
            "a user that a user namespace does not have",
            |f| {
                f.answer = EPERM;
                f.status("4211", &[("Uid", "65534\t65534\t65534\t65534")]);
                f.write("self/uid_map", "      1000       1000          1\n");
            },
            Why::UserNamespace,
        ),
        (
            "nobody's, where there is no user namespace",
            |f| {
                f.answer = EPERM;
                f.status("4211", &[("Uid", "65534\t65534\t65534\t65534")]);
                f.write("self/uid_map", "         0          0 4294967295\n");
            },
            Why::OtherUser {
                uid: 65_534,
                user: None,
                own: OWN_UID,
            },
        ),
        (
            "it forbids it",
            |f| {
                f.owner = 0;
                f.forbid_maps();
            },
            Why::NotDumpable,
        ),
        (
            "it has capabilities",
            |f| {
                f.answer = EPERM;
                f.status("4211", &[("CapPrm", "0000000000000400")]);
            },
            Why::Capabilities,
        ),
        ("Yama 1", |f| yama(f, "1"), Why::Yama { scope: 1 }),
        ("Yama 2", |f| yama(f, "2"), Why::Yama { scope: 2 }),
        ("Yama 3", |f| yama(f, "3"), Why::Yama { scope: 3 }),
        (
            "Yama 3, as root",
            |f| {
                yama(f, "3");
                f.status("self", &[("CapEff", "000001fffeffffff")]);
            },
            Why::Yama { scope: 3 },
        ),
        (
            "seccomp in a container: EPERM, though the user is the same and Yama is off",
            |f| {
                yama(f, "0");
                f.status("self", &[("Seccomp", "2")]);
            },
            Why::Seccomp,
        ),
        (
            "seccomp that hides the call",
            |f| {
                f.answer = ENOSYS;
                f.status("self", &[("Seccomp", "2")]);
            },
            Why::Seccomp,
        ),
        ("no such call", |f| f.answer = ENOSYS, Why::NoCall),
        (
            "nothing shows why",
            |f| f.answer = EPERM,
            Why::Forbidden {
                error: "Operation not permitted (os error 1)".into(),
            },
        ),
        (
            "a 32-bit program",
            |f| f.executable(&[&b"\x7fELF\x01\x01"[..], &[0; 64]].concat()),
            Why::ThirtyTwoBit,
        ),
        (
            "another machine's",
            |f| {
                let mut program = elf(b"", true);
                program[18] = 183;
                f.executable(&program);
            },
            Why::OtherMachine(183),
        ),
        (
            "no tokio",
            |f| f.executable(&elf(b"/serde-1.0.1/src/lib.rs", true)),
            Why::NotTokio,
        ),
        (
            "no tokio comes before what would be needed to read it",
            |f| {
                yama(f, "1");
                f.executable(b"#!/bin/sh\n");
            },
            Why::NotTokio,
        ),
        (
            "a tokio of old",
            |f| f.executable(&elf(b"/tokio-1.20.3/src/lib.rs", true)),
            Why::TooOld(TokioVersion::new(1, 20, 3)),
        ),
        (
            "a tokio of very old",
            |f| f.executable(&elf(b"/tokio-0.2.25/src/lib.rs", true)),
            Why::TooOld(TokioVersion::new(0, 2, 25)),
        ),
    ];
    let mut sentences = String::new();
    for (what, change, expected) in cases {
        let mut fake = Fake::new();
        change(&mut fake);
        let refusal = fake.examine().expect_err(what);
        assert_eq!(refusal.why(), expected, "{what}");
        let short = refusal.short();
        writeln!(sentences, "{what}\n  {refusal}\n  [{short}]").unwrap();
    }
    insta::assert_snapshot!(sentences);
}

#[test]
fn who_may_look_looks() {
    let cases: &[(&str, Change)] = &[
        ("the same user", |_| {}),
        ("Yama where it permits, as a parent", |f| {
            yama(f, "1");
            f.answer = PERMITTED;
        }),
        ("another user's, as root", |f| {
            f.status("4211", &[("Uid", "70\t70\t70\t70")]);
            f.status("self", &[("CapEff", "000001fffeffffff")]);
        }),
        ("its memory is mapped anew in between", |f| {
            f.answer = EFAULT;
        }),
    ];
    for (what, change) in cases {
        let mut fake = Fake::new();
        change(&mut fake);
        let access = fake.examine().unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(access.subject.pid(), PID, "{what}");
        assert_eq!(access.tokio, Some(TokioVersion::new(1, 54, 1)), "{what}");
        assert!(access.has_symbols, "{what}");
        // What is read to try it is the program's own first page, which is no secret.
        assert_eq!(fake.asked.get(), Some((PID, 0x7f10)), "{what}");
    }
}

#[test]
fn what_is_known_of_one_that_may_be_looked_at() {
    let mut fake = Fake::new();
    fake.executable(&elf(b"", false));
    fake.thread("tokio-rt-worker");
    fake.status("4211", &[("TracerPid", "77")]);
    fake.write("sys/kernel/perf_event_paranoid", "4\n");
    let access = fake.examine().unwrap();
    assert_eq!(access.tokio, None, "in a library, say");
    assert!(!access.has_symbols);
    assert_eq!(access.may_stop, Err(NoStop::Traced(77)));
    assert_eq!(access.may_sample, Err(NoSampler::Paranoid(4)));
    assert!(
        access
            .may_sample
            .unwrap_err()
            .to_string()
            .contains("sysctl"),
        "what to do"
    );

    fake.status("self", &[("CapEff", "0000004000000000")]);
    assert_eq!(fake.examine().unwrap().may_sample, Ok(()), "CAP_PERFMON");
    fs::remove_file(fake.path("sys/kernel/perf_event_paranoid")).unwrap();
    assert_eq!(fake.examine().unwrap().may_sample, Err(NoSampler::Missing));
}

#[test]
fn a_name_reaches_no_terminal_raw() {
    let mut fake = Fake::new();
    fs::remove_file(fake.of("exe")).unwrap();
    fake.write("4211/comm", "a\x1b[2J\u{202e}b\n");
    fake.status("4211", &[("Uid", "70\t70\t70\t70")]);
    fake.answer = EPERM;
    let sentence = fake.examine().unwrap_err().to_string();
    assert!(sentence.contains(r"a\u{1b}[2J\u{202e}b"), "{sentence}");
}

#[test]
fn tokio_is_recognised_without_looking_into_a_process() {
    let seen = |fake: &Fake, may_read: bool| {
        let process = Procfs::at(fake.root.path()).process(PID);
        tokio_in(&process, &mut Programs::default(), may_read)
    };
    let mut fake = Fake::new();
    let version = Tokio::Version(TokioVersion::new(1, 54, 1));
    assert_eq!(seen(&fake, true), Some(version));
    assert_eq!(seen(&fake, false), None, "nobody has read it yet");
    fake.executable(&elf(b"", true));
    assert_eq!(seen(&fake, true), Some(Tokio::None));
    for name in ["tokio-rt-worker", "tokio-runtime-w"] {
        fake.thread(name);
        for may_read in [true, false] {
            assert_eq!(seen(&fake, may_read), Some(Tokio::Unknown), "{name}");
        }
    }
    fs::remove_file(fake.of("exe")).unwrap();
    assert_eq!(seen(&fake, true), Some(Tokio::Unknown), "another user's");
    assert!(fake.asked.get().is_none());
}

#[test]
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
fn this_kernel_reads_this_process() {
    let own = Procfs::default().process(std::process::id());
    let maps = own.mappings().unwrap();
    let first = maps.iter().find(|mapping| mapping.inode != 0).unwrap();
    let mut bytes = [0; 4];
    let read = ThisKernel.read(std::process::id(), first.range.start, &mut bytes);
    assert_eq!((read.unwrap(), &bytes), (4, b"\x7fELF"));
    let nobody = ThisKernel.read(i32::MAX as u32, first.range.start, &mut bytes);
    assert_eq!(nobody.unwrap_err().raw_os_error(), Some(ESRCH));
    assert!(ThisKernel.owner(&own.path("maps")).is_ok());
}
