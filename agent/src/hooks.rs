//! Level 2: every task, by the runtime's own hooks, without tracing.
//!
//! Tokio has one callback of each kind. [`instrument`] takes them all; an
//! application that has its own gives them to [`Hooks`], which calls both: the
//! application's hooks run outside the time that counts as the task's.
//!
//! The task hooks exist under `--cfg tokio_unstable` only. Without it
//! `instrument` still prepares the runtime's threads for stack capture.

use tokio::runtime::Builder;

/// Shows the tasks of the runtime that `builder` will build to looptop.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut builder = tokio::runtime::Builder::new_multi_thread();
/// let runtime = looptop_agent::instrument(builder.enable_all()).build()?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
///
/// Under `--cfg tokio_unstable` every task of the runtime is seen with its
/// spawn location, polls and times. Not seen: the future of `block_on` itself,
/// tasks on a `LocalSet`, the blocking pool, names and wakes; the tracing layer
/// shows those. Both may be active: a task that the layer sees is left to it.
///
/// This replaces hooks that were set on `builder` before; see [`Hooks`].
pub fn instrument(builder: &mut Builder) -> &mut Builder {
    Hooks::new().instrument(builder)
}

type ThreadHook = Box<dyn Fn() + Send + Sync>;
#[cfg(tokio_unstable)]
type TaskHook = Box<dyn Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync>;

/// An application's own hooks, to be called beside looptop's.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut builder = tokio::runtime::Builder::new_multi_thread();
/// let runtime = looptop_agent::Hooks::new()
///     .on_thread_start(|| println!("one more thread"))
///     .instrument(&mut builder)
///     .build()?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "it takes effect with `instrument`"]
pub struct Hooks {
    thread_start: Option<ThreadHook>,
    #[cfg(tokio_unstable)]
    spawn: Option<TaskHook>,
    #[cfg(tokio_unstable)]
    before_poll: Option<TaskHook>,
    #[cfg(tokio_unstable)]
    after_poll: Option<TaskHook>,
    #[cfg(tokio_unstable)]
    terminate: Option<TaskHook>,
    #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
    schedule_latency: bool,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Hooks {
    /// No hooks of the application's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Builder::on_thread_start`].
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_start = Some(Box::new(f));
        self
    }

    /// Sets the hooks of `builder`, looptop's and these.
    pub fn instrument(self, builder: &mut Builder) -> &mut Builder {
        let own = self.thread_start;
        builder.on_thread_start(move || {
            crate::capture::register_current_thread();
            if let Some(own) = &own {
                own();
            }
        });
        #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
        let delays = self.schedule_latency;
        #[cfg(not(all(tokio_unstable, feature = "schedule-latency")))]
        let delays = false;
        crate::level::hooked(delays);
        #[cfg(all(tokio_unstable, feature = "schedule-latency"))]
        if delays {
            builder.track_task_schedule_latency();
        }
        #[cfg(tokio_unstable)]
        unstable::set(
            builder,
            [
                self.spawn,
                self.before_poll,
                self.after_poll,
                self.terminate,
            ],
        );
        builder
    }
}

/// Hooks that tokio offers under `--cfg tokio_unstable`.
#[cfg(tokio_unstable)]
impl Hooks {
    /// As [`Builder::on_task_spawn`].
    pub fn on_task_spawn<F>(mut self, f: F) -> Self
    where
        F: Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static,
    {
        self.spawn = Some(Box::new(f));
        self
    }

    /// As [`Builder::on_before_task_poll`].
    pub fn on_before_task_poll<F>(mut self, f: F) -> Self
    where
        F: Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static,
    {
        self.before_poll = Some(Box::new(f));
        self
    }

    /// As [`Builder::on_after_task_poll`].
    pub fn on_after_task_poll<F>(mut self, f: F) -> Self
    where
        F: Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static,
    {
        self.after_poll = Some(Box::new(f));
        self
    }

    /// As [`Builder::on_task_terminate`].
    pub fn on_task_terminate<F>(mut self, f: F) -> Self
    where
        F: Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static,
    {
        self.terminate = Some(Box::new(f));
        self
    }

    /// Lets tokio measure the delay between each wake and its poll, which then
    /// shows as the task's scheduled time. Two clock readings per poll dearer.
    #[cfg(feature = "schedule-latency")]
    pub fn track_schedule_latency(mut self) -> Self {
        self.schedule_latency = true;
        self
    }
}

#[cfg(tokio_unstable)]
mod unstable {
    use tokio::runtime::{Builder, TaskMeta};

    use super::TaskHook;
    use crate::task::hooked::{after_poll, before_poll, spawn, terminate};

    /// A hook without one of the application's own is set by itself, so that it
    /// costs no look for the other.
    pub(super) fn set(builder: &mut Builder, own: [Option<TaskHook>; 4]) {
        let [own_spawn, own_before, own_after, own_terminate] = own;
        match own_spawn {
            None => builder.on_task_spawn(spawn),
            Some(own) => builder.on_task_spawn(both(spawn, own)),
        };
        match own_before {
            None => builder.on_before_task_poll(before_poll),
            Some(own) => builder.on_before_task_poll(both(own, before_poll)),
        };
        match own_after {
            None => builder.on_after_task_poll(after_poll),
            Some(own) => builder.on_after_task_poll(both(after_poll, own)),
        };
        match own_terminate {
            None => builder.on_task_terminate(terminate),
            Some(own) => builder.on_task_terminate(both(terminate, own)),
        };
    }

    fn both(
        first: impl Fn(&TaskMeta<'_>) + Send + Sync,
        second: impl Fn(&TaskMeta<'_>) + Send + Sync,
    ) -> impl Fn(&TaskMeta<'_>) + Send + Sync {
        move |meta| {
            first(meta);
            second(meta);
        }
    }
}

#[cfg(all(test, tokio_unstable))]
mod tests;
