//! The only place that touches the agent: what is observed, and what is not.

use std::{future::Future, net::SocketAddr, thread};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};
use tracing::{Dispatch, dispatcher};

use crate::{proto::lab_server::LabServer, remote::Remote, scenario::Flavor};

/// What takes a minute to be sure in earnest takes 2 s on stage.
const TIME_SCALE: f64 = 30.0;

/// A small pool, so that it can be filled.
const BLOCKING_THREADS: usize = 32;

/// The observed runtime, driven by a thread of its own.
pub(crate) struct Observed {
    handle: Handle,
    driver: thread::JoinHandle<()>,
    agent: Option<SocketAddr>,
}

/// Makes the tasks of this process visible to the agent.
pub(crate) fn show_tasks() {
    use tracing_subscriber::layer::SubscriberExt;
    let subscriber = tracing_subscriber::registry().with(looptop_agent::layer());
    // A program that runs the lab may have its own subscriber: then it decides.
    drop(dispatcher::set_global_default(Dispatch::new(subscriber)));
}

/// Starts the runtime and runs `main` on it, as an application's `main` would.
///
/// `lab` is served beside the agent, on its thread.
pub(crate) fn start<F>(
    (flavor, workers): (Flavor, usize),
    lab: LabServer<Remote>,
    main: F,
) -> anyhow::Result<Observed>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut builder = match flavor {
        Flavor::MultiThread => Builder::new_multi_thread(),
        Flavor::CurrentThread => Builder::new_current_thread(),
    };
    if flavor == Flavor::MultiThread {
        builder.worker_threads(workers.max(1));
    }
    let runtime = builder
        .enable_all()
        .thread_name("lab-worker")
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let handle = runtime.handle().clone();
    // Before the first task: the agent's subscriber sees only what comes after.
    let agent = looptop_agent::Agent::builder()
        .name("lab")
        .max_blocking_threads(BLOCKING_THREADS)
        .runtime("lab", &handle)
        .services(|routes| {
            routes.add_service(lab);
        })
        .time_scale(TIME_SCALE)
        .try_start()?;
    let driver = thread::Builder::new()
        .name("lab-service".into())
        .spawn(move || {
            runtime.block_on(main);
            // Workers that are still blocked end with the process.
            runtime.shutdown_background();
        })?;
    Ok(Observed {
        handle,
        driver,
        agent: agent.local_addr(),
    })
}

impl Observed {
    /// Where the agent listens; `None` if it is off.
    pub(crate) fn agent(&self) -> Option<SocketAddr> {
        self.agent
    }

    /// Runs `work` as part of the observed application: what it spawns and wakes
    /// is seen.
    pub(crate) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        looptop_agent::observed(|| {
            let _runtime = self.handle.enter();
            work()
        })
    }

    /// Tasks of the observed runtime that have not ended.
    pub(crate) fn live_tasks(&self) -> usize {
        self.handle.metrics().num_alive_tasks()
    }

    /// Whether the service has come to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.driver.is_finished()
    }
}

/// Runs `work` on a runtime of the application's own beside the service's, which
/// is watched as well. The runtime ends with `work`, or when this is dropped, and
/// then waits for nobody.
pub(crate) async fn on_own_runtime<F>(
    name: &'static str,
    workers: usize,
    work: F,
) -> anyhow::Result<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .thread_name(name)
        .on_thread_start(|| {
            looptop_agent::register_current();
        })
        .build()?;
    let work = runtime.spawn(work);
    let _end = Ending(Some(runtime));
    Ok(work.await?)
}

/// Ends a runtime from within another, where nobody may wait for it.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` so that its runtime's tasks are not the application's: the agent's
/// layer hears nothing from this thread.
pub(crate) fn unseen<R>(work: impl FnOnce() -> R) -> R {
    looptop_agent::unobserved(work)
}

/// Gives the agent a number of the application's own, for its rules and screens.
pub(crate) fn gauge(name: &'static str, value: f64) {
    looptop_agent::gauge(name, value);
}

/// Spawns a task with a name, located where this is called.
#[track_caller]
pub(crate) fn spawn<F>(name: &'static str, work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(tokio_unstable)]
    {
        // Fails only outside a runtime, where `tokio::spawn` panics as well.
        tokio::task::Builder::new()
            .name(name)
            .spawn(work)
            .expect("called on the observed runtime")
    }
    #[cfg(not(tokio_unstable))]
    {
        let _ = name;
        tokio::spawn(work)
    }
}
