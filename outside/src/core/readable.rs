//! A core dump, as the engine of waiting reads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use looptop_procfs::SyscallState;

use super::{CoreFile, CoreThread};
use crate::waiting::{Readable, ThreadAt};

impl Readable for CoreFile {
    type Space = Self;

    fn space(&self) -> &Self {
        self
    }

    fn file(&self, path: &Path) -> Option<PathBuf> {
        // In the place of one that is not here there may be another build of it: no file at
        // all is read then.
        let found = self.has_file(path).then(|| path.to_owned());
        Some(found.unwrap_or_default())
    }

    fn threads(&mut self) -> Vec<ThreadAt> {
        CoreFile::threads(self).map(|thread| at(&thread)).collect()
    }

    fn thread(&mut self, tid: u64) -> Option<ThreadAt> {
        let mut threads = CoreFile::threads(self);
        threads.find(|thread| thread.tid == tid).map(|t| at(&t))
    }

    fn descriptor(&mut self, _: i32) -> Option<Arc<str>> {
        None
    }

    fn clock(&self) -> Option<Duration> {
        None
    }

    fn goes_on(&self) -> bool {
        false
    }

    fn not_read(&self) -> Vec<Arc<str>> {
        let mut not_read: Vec<Arc<str>> = vec![
            "what descriptors and sockets are, which a core dump does not say".into(),
            "since when anything waits, as a core dump has no times".into(),
        ];
        if self.is_truncated() {
            not_read.push("memory behind the end of the core dump, which was cut short".into());
        }
        let lost = self.lost().iter().map(|lost| {
            let path = lost.path.display();
            let why = if lost.is_another {
                "of which another build is here"
            } else {
                "which is not here"
            };
            format!("the code of {path}, {why}")
        });
        not_read.extend(lost.map(Arc::from));
        not_read
    }
}

fn at(thread: &CoreThread) -> ThreadAt {
    let (sp, pc) = (thread.registers.sp, thread.registers.pc);
    ThreadAt {
        tid: thread.tid,
        state: match thread.call {
            Some(call) => SyscallState::In {
                number: call.number,
                args: call.args,
                sp,
                pc,
            },
            None => SyscallState::Outside { sp, pc },
        },
        registers: Some(thread.registers),
        fs: Some(thread.fs_base),
        slices: Some(0),
    }
}
