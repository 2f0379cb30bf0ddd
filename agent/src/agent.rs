//! The handle of a running agent, and how it starts.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::access::Permission;
use crate::access::reading::{self, Reader, Useless};
use crate::access::settings::TokenFrom;
use crate::access::token::Token;
use crate::config::{self, BadBind, Config, Retention};
use crate::runtimes::{MAX_RUNTIMES, Registration};
use crate::server::{self, Listeners, Services, tls};
use crate::shared::Shared;
use crate::sync::lock;
use crate::{capture, clock, complain, runtimes, subscriber, task, watchdog};

/// The agent that [`init`](crate::init) returns when it is called again.
static FIRST: Mutex<Option<Agent>> = Mutex::new(None);

/// A handle of the agent. It guards nothing: dropping it changes nothing, the
/// agent runs until [`Agent::shutdown`] or until the process ends.
#[derive(Clone, Debug)]
pub struct Agent {
    running: Option<Arc<Running>>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    #[cfg(feature = "metrics")]
    metrics: Option<SocketAddr>,
    /// Somebody was named who may read the process.
    reader_named: bool,
}

/// Why an agent did not start. The application goes on without it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address makes no sense.
    #[error("cannot listen: {0}")]
    Address(String),
    /// The address is taken, forbidden or unknown.
    #[error(
        "cannot listen at {address}: {source}; nobody can attach. Set LOOPTOP_BIND to another \
         address (LOOPTOP_BIND=0 takes a free port), or LOOPTOP=off"
    )]
    Bind {
        /// Where it was to listen.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The port for `/metrics` is taken, forbidden or unknown.
    #[error(
        "cannot serve /metrics at {address}: {source}. Set LOOPTOP_METRICS to another address, or \
         LOOPTOP_METRICS=off"
    )]
    Metrics {
        /// Where it was to listen.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not clear who may look, or somebody could who should not.
    #[error("not started: {0}")]
    Access(String),
    /// The system gave it no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl From<BadBind> for StartError {
    fn from(bad: BadBind) -> Self {
        Self::Address(bad.to_string())
    }
}

impl Agent {
    /// Settings of an agent, to be started with [`Builder::start`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An agent that does nothing.
    pub(crate) fn none() -> Self {
        Self { running: None }
    }

    /// Whether it runs: it was not switched off, could start, and was not shut
    /// down.
    pub fn is_running(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|r| !r.shared.is_stopping())
    }

    /// The TCP address at which it listens, with the port that it got where it
    /// asked for port 0; `None` for a Unix socket or where it does not run.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.running.as_ref()?.address
    }

    /// The path of the Unix socket at which it listens, if there is one.
    pub fn socket_path(&self) -> Option<&Path> {
        self.running.as_ref()?.socket.as_deref()
    }

    /// The address at which there is `/metrics` alone, if there is one.
    #[cfg(feature = "metrics")]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.running.as_ref()?.metrics
    }

    /// Watches one more runtime, from any thread and at any time. Returns false
    /// where the agent does not run or watches 64 runtimes that are still alive.
    ///
    /// Spawns one task on the runtime, which measures the loop's lag.
    pub fn register_runtime(&self, name: impl Into<String>, handle: &Handle) -> bool {
        self.register(Registration {
            name: name.into(),
            handle: handle.clone(),
            max_blocking_threads: None,
            inside: None,
        })
    }

    /// Watches the runtime of the calling thread, unless it is watched already. For
    /// runtimes that are made where no handle is at hand: call it in
    /// `on_thread_start` of a runtime's builder, in an `HttpServer`'s factory, or
    /// first in what is given to `block_on`; as often as you like.
    ///
    /// Returns whether the runtime is watched now: false outside of a runtime, where
    /// the agent does not run, where it watches 64 others, or before tokio 1.49,
    /// which does not distinguish runtimes.
    ///
    /// The runtime is called as tokio's builder names it (1.51), else as the thread,
    /// else "runtime 1" and so on.
    ///
    /// ```
    /// # looptop_agent::Agent::builder().bind("127.0.0.1:0").start();
    /// let runtime = tokio::runtime::Builder::new_multi_thread()
    ///     .on_thread_start(|| {
    ///         looptop_agent::register_current();
    ///     })
    ///     .build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline(never)]
    pub fn register_current(&self) -> bool {
        let here = 0u8;
        // On a thread of a current-thread runtime's blocking pool, where
        // `on_thread_start` runs too, this is not the stack of `block_on`.
        let within = tokio::task::try_id().is_some();
        let address = within.then(|| std::ptr::from_ref(&here).addr() as u64);
        self.register_current_from(address)
    }

    /// `stack_address` is that of a local variable within `block_on`, where known.
    pub(crate) fn register_current_from(&self, stack_address: Option<u64>) -> bool {
        /// One at a time: all workers of a runtime start at once.
        static ALONE: Mutex<()> = Mutex::new(());
        let Some(running) = self.running.as_ref().filter(|_| self.is_running()) else {
            return false;
        };
        let Ok(handle) = Handle::try_current() else {
            return false;
        };
        guarded(capture::register_current_thread);
        let Some(identity) = runtimes::identity(&handle) else {
            return false;
        };
        let _alone = lock(&ALONE);
        if running.shared.runtimes.knows(&identity) {
            return true;
        }
        let number = running.shared.runtimes.revision();
        self.register(Registration {
            name: runtimes::given_name(&handle).unwrap_or_else(|| format!("runtime {number}")),
            handle,
            max_blocking_threads: None,
            inside: stack_address,
        })
    }

    fn register(&self, registration: Registration) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let runtimes = &running.shared.runtimes;
        let registered = guarded(|| runtimes.register(registration))
            .flatten()
            .is_some();
        if !registered {
            complain(&format!("cannot watch more than {MAX_RUNTIMES} runtimes"));
        }
        registered
    }

    /// Stops the agent: viewers are disconnected, its threads end within
    /// milliseconds, and it lets go of the runtimes. Nothing is waited for.
    pub fn shutdown(&self) {
        if let Some(running) = &self.running {
            running.shared.stop();
            if running.reader_named {
                reading::forbid();
            }
            for runtime in running.shared.runtimes.all() {
                runtime.release();
            }
        }
    }
}

/// Settings of an agent. The environment variables `LOOPTOP`, `LOOPTOP_BIND`,
/// `LOOPTOP_CAPTURE`, `LOOPTOP_METRICS`, `LOOPTOP_OTLP`, `LOOPTOP_TASKS` and `LOOPTOP_WAITS`, and those of who may look, beat
/// what is set here.
#[derive(Debug, Default)]
#[must_use = "nothing happens before `start`"]
pub struct Builder {
    config: Config,
    runtimes: Vec<Registration>,
    max_blocking_threads: Option<u64>,
    services: Services,
}

impl Builder {
    /// The name that viewers show; the file name of the program by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Where to listen: `host:port`, a port alone, `unix:PATH` or `off`, and whatever
    /// else the viewer takes for a target; `127.0.0.1:6669` by default. Port 0
    /// takes a free one, which is said on standard error. An address outside loopback is
    /// refused unless there is a token ([`Builder::token_file`]) or TLS with certificates
    /// of viewers. `LOOPTOP_BIND` beats it.
    pub fn bind(mut self, address: impl Into<String>) -> Self {
        self.config.bind = address.into();
        self.config.bind_is_default = false;
        self
    }

    /// Whether there is a Unix socket for this user's viewers beside the port; true by
    /// default on Unix. It is in `$XDG_RUNTIME_DIR/looptop`, otherwise in
    /// `/tmp/looptop-UID`. `LOOPTOP_SOCKET=off` and `on` beat it.
    pub fn socket(mut self, socket: bool) -> Self {
        self.config.access.socket = Some(socket);
        self
    }

    /// A secret of at least 16 characters: whoever shows it may look, from wherever they
    /// can connect. `LOOPTOP_TOKEN` and `LOOPTOP_TOKEN_FILE` beat it.
    pub fn token(mut self, token: &str) -> Self {
        self.config.access.token = Some(TokenFrom::Text(Token::new(token)));
        self
    }

    /// As [`Builder::token`], out of a file that is read at the start.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.access.token = Some(TokenFrom::File(path.into()));
        self
    }

    /// Another user of this machine who may look, by name or number. The application's own
    /// and root always may, unless `none` is allowed: then only whoever shows a token or
    /// a certificate. `LOOPTOP_ALLOW` beats it.
    pub fn allow_user(mut self, user: impl Into<String>) -> Self {
        self.config.access.allow.push(user.into());
        self
    }

    /// What all but the application's own user and root may see;
    /// [`Permission::Names`] by default. `LOOPTOP_PERMIT` beats it.
    pub fn permit(mut self, permission: Permission) -> Self {
        self.config.access.permit = Some(Ok(permission));
        self
    }

    /// Lets processes read, sample and debug this one from outside where Yama
    /// (`kernel.yama.ptrace_scope` is 1) keeps that to its ancestors and root, so that this
    /// user's `looptop` sees what no agent shows. It is `PR_SET_PTRACER` of this process,
    /// and takes the place of whom somebody named before; a shut-down agent takes it back.
    ///
    /// What is named may do all that a debugger can, for as long as it is. On a system
    /// without Yama nothing changes. `LOOPTOP_PTRACER=any`, `=PID` and `=off` beat it.
    pub fn allow_reading(mut self, reader: Reader) -> Self {
        self.config.access.reader = Some(Ok(Some(reader)));
        self
    }

    /// Encrypts the port by TLS, with a certificate and its key in PEM; viewers that show
    /// a certificate which one of `viewers` has signed may look. `LOOPTOP_TLS_CERT`,
    /// `LOOPTOP_TLS_KEY` and `LOOPTOP_TLS_CLIENT_CA` beat it.
    #[cfg(feature = "tls")]
    pub fn tls(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        viewers: Option<PathBuf>,
    ) -> Self {
        self.config.access.tls = crate::access::settings::TlsFiles {
            certificate: Some(certificate.into()),
            key: Some(key.into()),
            authority: viewers,
        };
        self
    }

    /// A poll that runs longer is reported as a stall while it lasts; 10 ms by
    /// default, at least 1 ms.
    ///
    /// At level 0, where up to 61 short polls look like one, a worker that
    /// computes is reported after five times this.
    pub fn stall_threshold(mut self, threshold: Duration) -> Self {
        self.config.stall_threshold = threshold;
        self
    }

    /// How often the watchdog looks while something may be stuck; 5 ms by default,
    /// 1 ms to 1 s. Where nothing is, it looks half as often.
    pub fn watchdog_interval(mut self, interval: Duration) -> Self {
        self.config.watchdog_interval = interval;
        self
    }

    /// Time between frames for viewers that do not ask for another; 100 ms by
    /// default, 20 ms to 10 s.
    pub fn frame_interval(mut self, interval: Duration) -> Self {
        self.config.frame_interval = interval;
        self
    }

    /// How many finished tasks are kept, and in how many bytes; 10,000 and
    /// 8 MiB by default. The oldest go first.
    pub fn retention(mut self, tasks: usize, bytes: usize) -> Self {
        self.config.retention = Retention { tasks, bytes };
        self
    }

    /// Watches this runtime. May be called several times; the runtime in which
    /// [`Builder::start`] is called is watched without it only if this is never
    /// called.
    pub fn runtime(mut self, name: impl Into<String>, handle: &Handle) -> Self {
        self.runtimes.push(Registration {
            name: name.into(),
            handle: handle.clone(),
            max_blocking_threads: None,
            inside: None,
        });
        self
    }

    /// The bound of the blocking pools of the runtimes that this builder registers,
    /// which tokio does not say. Viewers then see when a pool is full. The order of
    /// calls does not matter.
    pub fn max_blocking_threads(mut self, threads: usize) -> Self {
        self.max_blocking_threads = Some(threads as u64);
        self
    }

    /// Whether stacks of stalled threads are captured; true by default.
    /// `LOOPTOP_CAPTURE=off` beats it.
    pub fn capture(mut self, capture: bool) -> Self {
        self.config.capture = capture;
        self
    }

    /// Whether the agent reads, in the memory of its own process, where tasks wait, and at
    /// level 0 the tasks themselves; false by default. `LOOPTOP_WAITS=on` and `off` beat it.
    ///
    /// It reads only while a viewer asks for that and may see memory: by default the
    /// application's own user and root on this machine ([`Builder::permit`]), and only
    /// where that viewer may not read the process itself. A thread of its own does it, with
    /// 2 % of a core ([`Builder::waits_share`]); nothing is written or stopped. Linux on
    /// x86-64.
    #[cfg(feature = "waits")]
    pub fn waits(mut self, waits: bool) -> Self {
        self.config.waits = waits;
        self
    }

    /// How much of a core the reading of [`Builder::waits`] may take, in percent, after its
    /// first look; 2 by default, 1 to 50. `LOOPTOP_WAITS=10%` beats it.
    #[cfg(feature = "waits")]
    pub fn waits_share(mut self, percent: u32) -> Self {
        self.config.waits_percent = percent;
        self
    }

    /// Whether there is `/metrics` for Prometheus at the agent's port, by HTTP/1.1 beside
    /// gRPC; true by default. `LOOPTOP_METRICS=off` and `on` beat it.
    ///
    /// It costs nothing before somebody scrapes, nor a little over a minute after the last
    /// scrape. Meanwhile a thread of the agent's takes a frame a second, as for a viewer, and
    /// runs looptop's rules over it.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.config.metrics.at_agent = metrics;
        self
    }

    /// A port of its own for `/metrics`, written as for [`Builder::bind`]. Other machines
    /// reach an address outside loopback, which is refused unless they show a token or a
    /// certificate, or `anybody` may scrape ([`Builder::allow_metrics`]).
    /// `LOOPTOP_METRICS=ADDRESS` beats it.
    #[cfg(feature = "metrics")]
    pub fn metrics_at(mut self, address: impl Into<String>) -> Self {
        self.config.metrics.bind = Some(address.into());
        self
    }

    /// Who may read `/metrics` and nothing else, beside those who may look: another user of
    /// this machine by name or number, `machine` for all of them, or `anybody` who can
    /// connect. They see numbers, and the functions, places and tasks that are to blame.
    /// `LOOPTOP_METRICS_ALLOW` beats it.
    #[cfg(feature = "metrics")]
    pub fn allow_metrics(mut self, user: impl Into<String>) -> Self {
        self.config.access.scrapers.push(user.into());
        self
    }

    /// Sends what `/metrics` shows, and each stall as a log record, by OTLP to a collector at
    /// `endpoint` (`http://localhost:4317`), over gRPC. Nothing is sent by default.
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, and before it `LOOPTOP_OTLP`, beat it;
    /// `LOOPTOP_OTLP=off` sends nothing.
    ///
    /// A thread of the agent's takes a frame a second then, as for a viewer, and runs
    /// looptop's rules over it. Nobody waits for the collector: up to 256 records wait for it,
    /// for a minute at most, and what is lost is counted (`looptop.lost`) and said once.
    #[cfg(feature = "otlp")]
    pub fn otlp(mut self, endpoint: impl Into<String>) -> Self {
        self.config.otlp.endpoint = Some(endpoint.into());
        self
    }

    /// Time between the metrics that [`Builder::otlp`] sends; a minute by default, at least
    /// 1 s. `OTEL_METRIC_EXPORT_INTERVAL` beats it.
    #[cfg(feature = "otlp")]
    pub fn otlp_interval(mut self, interval: Duration) -> Self {
        self.config.otlp.interval = Some(interval);
        self
    }

    /// How long a record of [`Builder::otlp`] is sent again and again to a collector that
    /// does not take it; a minute by default, at least 1 s. Then it is lost, and counted.
    #[cfg(feature = "otlp")]
    pub fn otlp_patience(mut self, patience: Duration) -> Self {
        self.config.otlp.patience = Some(patience);
        self
    }

    /// What the collector of [`Builder::otlp`] gets: [`Permission::Names`] by default, with
    /// functions, places, tasks and stacks; with [`Permission::Numbers`] none of these, but
    /// durations, causes and the ids of traces. `LOOPTOP_OTLP_PERMIT` beats it.
    #[cfg(feature = "otlp")]
    pub fn permit_otlp(mut self, permission: Permission) -> Self {
        self.config.otlp.permit = Some(Ok(permission));
        self
    }

    /// Whether the agent sets a `tracing` subscriber of its own, by which tasks are
    /// seen, where the process has none at this moment. `LOOPTOP_TASKS=on` and `off`
    /// beat it.
    ///
    /// Without this it does so where nobody else can: where the program's symbols
    /// say that no other subscriber is in it. `true` is for an application that
    /// knows that it sets none: whoever sets one afterwards gets an error, which
    /// `.init()` of tracing-subscriber turns into a panic. An application with a
    /// subscriber of its own puts [`layer`](crate::layer) into it instead.
    pub fn install_subscriber(mut self, install: bool) -> Self {
        self.config.install_subscriber = Some(install);
        self
    }

    /// For the starvation lab, no part of the stable interface: viewers divide by
    /// this the time after which their slow rules (leaks, growing queues) are sure,
    /// 1 to 60.
    #[doc(hidden)]
    pub fn time_scale(mut self, scale: f64) -> Self {
        self.config.time_scale = scale;
        self
    }

    /// Keeps the last minutes in memory, `bytes` compressed at most (256 KiB at
    /// least), and writes them to a recording in `directory` when a poll has been
    /// blocked for 1 s, or when a thread panics: `looptop replay FILE`.
    ///
    /// A recording is written at most once a minute, and the ten newest are kept.
    /// While it runs the agent samples once a second, as for a viewer.
    #[cfg(feature = "flight-recorder")]
    pub fn flight_recorder(mut self, directory: impl Into<std::path::PathBuf>, bytes: u64) -> Self {
        self.config.flight = Some((directory.into(), bytes));
        self
    }

    /// For the starvation lab, no part of the stable interface: serves more gRPC
    /// services on the agent's port.
    ///
    /// They run on the agent's own thread, so they must not block.
    #[doc(hidden)]
    #[cfg(feature = "services")]
    pub fn services(mut self, add: impl FnOnce(&mut Services)) -> Self {
        add(&mut self.services);
        self
    }

    /// Starts the agent. Never panics and never fails: where it cannot start it
    /// says so in one sentence on standard error, and the application goes on.
    #[inline(never)]
    pub fn start(self) -> Agent {
        let here = 0u8;
        match self.start_from(std::ptr::from_ref(&here).addr() as u64) {
            Ok(agent) => agent,
            Err(error) => {
                complain(&error.to_string());
                Agent::none()
            }
        }
    }

    /// As [`Builder::start`], for an application that wants to know.
    #[inline(never)]
    pub fn try_start(self) -> Result<Agent, StartError> {
        let here = 0u8;
        self.start_from(std::ptr::from_ref(&here).addr() as u64)
    }

    /// `stack_address` is that of a local variable of the function that the
    /// application called.
    pub(crate) fn start_from(self, stack_address: u64) -> Result<Agent, StartError> {
        if config::is_switched_off(config::environment) {
            return Ok(Agent::none());
        }
        let mut config = self.config.with_environment(config::environment);
        let policy = config.access.policy(|path| std::fs::read_to_string(path));
        config.policy = policy.map_err(|error| StartError::Access(error.to_string()))?;
        let reader = config.access.reader();
        let reader = reader.map_err(|error| StartError::Access(error.to_string()))?;
        let tls = tls::Acceptor::new(&config.access.tls, config.policy.token.is_some());
        let tls = tls.map_err(StartError::Access)?;
        let listeners = server::listen(&config)?;
        let (address, socket) = (listeners.address, listeners.path.clone());
        #[cfg(feature = "metrics")]
        let metrics = listeners.metrics.as_ref();
        #[cfg(feature = "metrics")]
        let metrics = metrics.and_then(|listener| listener.local_addr().ok());
        clock::now_ns();
        task::configure(task::Limits {
            history: config.retention.tasks,
            history_bytes: config.retention.bytes,
            ..task::Limits::default()
        });
        let stacks = install_capture(&config);
        // Before anything is spawned, or that would not be seen.
        guarded(|| subscriber::install(&config));
        let running = Arc::new(Running {
            address,
            socket,
            #[cfg(feature = "metrics")]
            metrics,
            reader_named: reader.is_some_and(named),
            shared: Arc::new(Shared::new(config, stacks)),
        });
        let agent = Agent {
            running: Some(Arc::clone(&running)),
        };
        let mut runtimes = self.runtimes;
        if let (true, Ok(handle)) = (runtimes.is_empty(), Handle::try_current()) {
            runtimes.push(Registration {
                name: runtimes::given_name(&handle).unwrap_or_else(|| "main".into()),
                handle,
                max_blocking_threads: None,
                inside: Some(stack_address),
            });
        }
        for mut registration in runtimes {
            registration.max_blocking_threads = self.max_blocking_threads;
            agent.register(registration);
        }
        start_threads(&running.shared, listeners, self.services, tls)?;
        let mut first = lock(&FIRST);
        if first.as_ref().is_none_or(|first| !first.is_running()) {
            *first = Some(agent.clone());
        }
        drop(first);
        Ok(agent)
    }
}

/// Whether the kernel took the name of who may read this process; says why not.
fn named(reader: Reader) -> bool {
    match reading::allow(reader) {
        Ok(()) => true,
        Err(Useless::NotNeeded) => false,
        Err(useless) => {
            complain(&useless.to_string());
            false
        }
    }
}

/// The agent that already runs, if one does.
pub(crate) fn first() -> Option<Agent> {
    let mut first = lock(&FIRST);
    if first.as_ref().is_some_and(|agent| !agent.is_running()) {
        *first = None;
    }
    first.clone()
}

/// The signal for stack capture is `SIGRTMIN` plus this, far from the first ones, which
/// libraries take when they need any; where the application handles it already, the next
/// that is free.
pub(crate) const SIGNAL_OFFSET: i32 = 9;

fn install_capture(config: &Config) -> Result<(), String> {
    if !config.capture {
        return Err("stack capture is switched off (LOOPTOP_CAPTURE or the builder)".into());
    }
    let installed = guarded(|| capture::install(SIGNAL_OFFSET).map_err(|e| e.to_string()));
    installed.unwrap_or_else(|| Err("installing stack capture failed".into()))
}

fn start_threads(
    shared: &Arc<Shared>,
    listeners: Listeners,
    services: Services,
    tls: Option<tls::Acceptor>,
) -> Result<(), StartError> {
    let for_server = Arc::clone(shared);
    let server = std::thread::Builder::new().name(server::THREAD_NAME.into());
    let started = server.spawn(move || {
        guarded(|| server::run(&for_server, listeners, services, tls));
    });
    started.map_err(StartError::Thread)?;
    let for_watchdog = Arc::clone(shared);
    let watchdog = std::thread::Builder::new().name(watchdog::THREAD_NAME.into());
    let started = watchdog.spawn(move || {
        guarded(|| watchdog::run(&for_watchdog));
    });
    match started {
        Ok(thread) => {
            shared.set_watchdog(thread.thread().clone());
            Ok(())
        }
        Err(error) => {
            shared.stop();
            Err(StartError::Thread(error))
        }
    }
}

/// Runs `run`; a panic of the agent's own ends here.
fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok()
}
