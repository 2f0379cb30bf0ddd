//! `looptop run -- CMD`: a program as a child of this one, and the screen attached to it.
//!
//! The child reads nothing and writes to a file, so that nothing of it reaches the
//! screen. It is in a process group of its own, so that no key reaches it either. As it
//! is a descendant, Yama's `ptrace_scope` 1 lets it be read.

mod child;
mod output;

use std::{
    io::IsTerminal,
    path::Path,
    process::{ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::oneshot, time::sleep};

pub(super) use self::child::StartError;
use self::{
    child::{Child, Ended},
    output::Output,
};
use super::{USAGE, record::stop_signal, runtime};
use crate::{
    cli::Run,
    config,
    live::{screen::Show, terminal},
    source::{Target, processes::Family},
};

/// Between two looks for tokio in the child.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A program that has tokio in it is attached to after this: until then its agent may
/// begin to listen, or it may turn out to start another one (`exec`).
const SETTLE: Duration = Duration::from_millis(300);
/// Nobody needs to be told of a wait that is shorter.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the program, shows it until the user quits, and passes on its exit code.
pub(super) fn run(options: Run) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    terminal::check()?;
    if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        anyhow::bail!(
            "looptop run reads Linux's procfs, which this system does not have; \
             start the program yourself, and attach to its agent"
        );
    }
    let screen = config.complete(options.screen);
    let runtime = runtime()?;
    let Some((program, arguments)) = options.command.split_first() else {
        // The command line asks for it.
        return Ok(ExitCode::from(USAGE));
    };
    let output = Output::create(options.output.as_deref(), program)?;
    let child = {
        let _within = runtime.enter();
        Child::start(program, arguments, options.input.as_deref(), &output)?
    };
    let shown = match runtime.block_on(found(&child)) {
        Found::Tokio(pid) => {
            let target = Target::Process(pid);
            let name = target.to_string();
            let show = Show {
                ended: Some(sentence_at_the_end(&child, &runtime)),
                ..Show::new(target, &name, &screen)
            };
            show.run(None, &runtime)
        }
        Found::Ended | Found::Interrupted => Ok(()),
    };
    let left = if options.keep {
        child.ended()
    } else {
        runtime.block_on(end(&child))
    };
    report(&child, left, &output);
    runtime.shutdown_background();
    shown?;
    Ok(left.map_or(ExitCode::SUCCESS, code))
}

/// What became of the wait for a tokio program.
enum Found {
    /// The child, or a program that it has started.
    Tokio(u32),
    /// None, and the child has ended.
    Ended,
    /// None, and the user does not want to wait.
    Interrupted,
}

/// Waits for tokio in the child, or in what it starts, as `cargo run` does.
async fn found(child: &Child) -> Found {
    let looked = async {
        let began = Instant::now();
        let mut family = Family::of(child.pid());
        let mut since: Option<(u32, Instant)> = None;
        let mut told = false;
        loop {
            match family.tokio().await {
                Some(pid) => {
                    let since = match since {
                        Some((before, at)) if before == pid => at,
                        _ => since.insert((pid, Instant::now())).1,
                    };
                    if since.elapsed() >= SETTLE || family.listens(pid).await {
                        return pid;
                    }
                }
                None => since = None,
            }
            if !told && began.elapsed() >= PATIENCE {
                told = true;
                eprintln!(
                    "looptop: waiting for a tokio program: nothing of tokio shows yet in {} or \
                     in what it has started; Ctrl-C ends it",
                    child.shown()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        pid = looked => Found::Tokio(pid),
        _ = child.wait() => Found::Ended,
        () = stop_signal() => Found::Interrupted,
    }
}

/// Sends a sentence once the child has ended.
fn sentence_at_the_end(child: &Child, runtime: &Runtime) -> oneshot::Receiver<String> {
    let (sender, receiver) = oneshot::channel();
    let (waiting, shown) = (child.waiting(), child.shown().to_owned());
    runtime.spawn(async move {
        let ended = waiting.wait().await;
        let code = code_of(ended.status);
        // Nobody may look any more.
        let _ = sender.send(format!(
            "{shown} has ended {}; q quits, with exit code {code}",
            how(ended.status)
        ));
    });
    receiver
}

/// Ends the child, if it has not ended by itself.
async fn end(child: &Child) -> Option<Ended> {
    let ending = child.end();
    tokio::pin!(ending);
    tokio::select! {
        ended = &mut ending => return Some(ended),
        () = sleep(PATIENCE) => {}
    }
    eprintln!(
        "looptop: waiting for {} to end; it is killed {} s after it was asked to",
        child.shown(),
        child::GRACE.as_secs()
    );
    Some(ending.await)
}

/// Says on standard error what became of the child and where its output is.
fn report(child: &Child, left: Option<Ended>, output: &Output) {
    let shown = child.shown();
    match left {
        None => eprintln!(
            "looptop: {shown} runs on; `looptop pid:{}` looks at it again",
            child.pid()
        ),
        Some(ended) if ended.by_us => eprintln!("looptop: {shown} was ended"),
        Some(ended) => eprintln!("looptop: {shown} has ended {}", how(ended.status)),
    }
    let is_over = left.is_some();
    match output.close(is_over) {
        Some(path) if std::io::stderr().is_terminal() && is_over => {
            let tail = output.tail();
            if !tail.is_empty() && !left.is_some_and(|ended| ended.by_us) {
                eprintln!("its last words:\n{tail}");
            }
            place(path);
        }
        Some(path) => place(path),
        None => {}
    }
}

fn place(path: &Path) {
    eprintln!("its output is in {}", path.display());
}

/// How a program ended, in words.
fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit code {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(signal);
            let name = name.map_or_else(|_| format!("signal {signal}"), |name| name.to_string());
            format!("by {name}")
        }
        (None, None) => "in an unknown way".to_owned(),
    }
}

/// The exit code of a program, as a shell passes it on.
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let signalled = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signalled).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// What was ended because the user quit has not failed by that.
fn code(ended: Ended) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    if ended.by_us && ended.status.signal().is_some() {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(code_of(ended.status))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn exit_codes_are_passed_on() {
        // As wait(2) reports them.
        for (raw, words, expected) in [
            (0, "with exit code 0", 0),
            (7 << 8, "with exit code 7", 7),
            (255 << 8, "with exit code 255", 255),
            (9, "by SIGKILL", 137),
            (0x80 | 0xb, "by SIGSEGV", 139),
            (34, "by signal 34", 162),
        ] {
            let status = ExitStatus::from_raw(raw);
            assert_eq!((how(status).as_str(), code_of(status)), (words, expected));
        }
    }

    #[test]
    fn who_is_ended_by_the_user_has_not_failed() {
        let ended = |raw, by_us| Ended {
            status: ExitStatus::from_raw(raw),
            by_us,
        };
        let is_success = |ended| code(ended) == ExitCode::SUCCESS;
        assert!(is_success(ended(15, true)) && is_success(ended(9, true)));
        assert!(is_success(ended(0, true)) && is_success(ended(0, false)));
        assert!(!is_success(ended(15, false)));
        // It was asked to end and says itself how that went.
        assert!(!is_success(ended(3 << 8, true)));
    }
}
