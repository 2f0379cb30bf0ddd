//! `looptop-demo serve`: puts the lab together and runs it until asked to stop.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    control,
    figures::Recorder,
    fixtures::Fixtures,
    front,
    lab::{Active, Lab},
    load,
    observed::{self, Observed},
    registry, remote,
    scenario::{Flavor, Mode},
    service,
};

/// Connections that may wait to be taken by the service.
const BACKLOG: usize = 1024;

/// How long the service may take to end, after which the process ends anyway: a
/// worker that never yields cannot be asked to.
const LAST_CALL: Duration = Duration::from_secs(3);

/// Seed of the load, unless set otherwise.
pub const DEFAULT_SEED: u64 = 6669;

/// How to run the lab.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Scenario to begin with; see [`crate::scenarios`].
    pub scenario: String,
    /// Mode to begin with.
    pub mode: Mode,
    /// HTTP port on loopback; 0 for a free one.
    pub port: u16,
    /// Workers of the observed runtime; `None` for what the scenario needs.
    pub workers: Option<usize>,
    /// Flavour of the observed runtime.
    pub flavor: Flavor,
    /// Seed of the load: the same seed gives the same requests at the same time.
    pub seed: u64,
    /// End when standard input does, and with the thread that started this
    /// process (Linux). For a program that runs the lab as its child.
    pub exit_with_parent: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            scenario: registry::scenarios()[0].id.to_owned(),
            mode: Mode::Broken,
            port: 0,
            workers: None,
            flavor: Flavor::MultiThread,
            seed: DEFAULT_SEED,
            exit_with_parent: false,
        }
    }
}

/// Asks for a signal when the parent ends without closing standard input, which others may
/// have inherited. Only Linux sends one; elsewhere the end of standard input has to do.
#[cfg(target_os = "linux")]
fn end_with_parent() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> nix::Result<()> {
    Ok(())
}

/// Runs the lab until Ctrl-C, SIGTERM, SIGHUP or, with `exit_with_parent`, the
/// end of standard input. Blocks; call it once in a process.
///
/// As soon as the lab answers, one line is printed to standard output:
/// `listening http=ADDRESS agent=ADDRESS pid=PID`; the agent's address is `off`
/// where `LOOPTOP=off`.
///
/// # Errors
///
/// An unknown scenario, or a port that cannot be had.
pub fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let scenario = registry::find(&options.scenario)?;
    if options.exit_with_parent {
        end_with_parent().context("could not ask for a signal at the parent's end")?;
    }
    allow_many_files();
    observed::show_tasks();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before there is anything that must be taken away again.
    let asked = {
        let _guard = runtime.enter();
        until_asked(options.exit_with_parent)?
    };
    let fixtures = Fixtures::start()?;
    let recorder = Arc::new(Recorder::new());
    let (connections, queue) = mpsc::channel(BACKLOG);
    let stop = CancellationToken::new();
    let router = service::router(&fixtures)?;
    let shape = (
        options.flavor,
        options.workers.unwrap_or(scenario.workers).max(1),
    );
    let soon = remote::Soon::default();
    let observed = Arc::new(observed::start(
        shape,
        remote::service(Arc::clone(&soon)),
        service::run(queue, router, stop.clone()),
    )?);
    observed::unseen(|| {
        let (listener, http) = runtime.block_on(listen(options.port))?;
        let lab = Arc::new(Lab::new(
            scenario,
            shape,
            (fixtures.phase.clone(), fixtures.readings.clone()),
            Arc::clone(&recorder),
            Arc::clone(&observed),
            http,
        ));
        // Nobody else sets it.
        let _ = soon.set(Arc::clone(&lab));
        let control = Control {
            lab,
            recorder,
            observed,
            connections,
            fixtures: &fixtures,
            options,
            http,
        };
        let first = Active {
            scenario,
            mode: options.mode,
        };
        runtime.block_on(control.run(listener, first, asked))?;
        control.end(&stop);
        Ok(())
    })
}

/// Everything that runs beside the observed service.
struct Control<'a> {
    lab: Arc<Lab>,
    recorder: Arc<Recorder>,
    observed: Arc<Observed>,
    connections: mpsc::Sender<std::net::TcpStream>,
    fixtures: &'a Fixtures,
    options: &'a ServeOptions,
    http: SocketAddr,
}

impl Control<'_> {
    /// Answers, loads and measures until it is time to stop.
    async fn run(
        &self,
        listener: TcpListener,
        first: Active,
        asked: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let router = control::router(Arc::clone(&self.lab));
        let front = tokio::spawn(front::run(
            listener,
            router,
            self.connections.clone(),
            Arc::clone(&self.observed),
        ));
        load::start(
            self.http,
            self.options.seed,
            self.lab.plans(),
            Arc::clone(&self.recorder),
        )?;
        let canary_stop = Arc::new(AtomicBool::new(false));
        load::watch_canary(
            self.http,
            self.fixtures.phase.clone(),
            Arc::clone(&self.recorder),
            Arc::clone(&canary_stop),
        )?;
        self.announce()?;
        self.lab.switch(first)?;
        asked.await;
        canary_stop.store(true, Ordering::Relaxed);
        front.abort();
        Ok(())
    }

    fn announce(&self) -> std::io::Result<()> {
        let agent = self
            .observed
            .agent()
            .map_or_else(|| "off".to_owned(), |agent| agent.to_string());
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "listening http={} agent={agent} pid={}",
            self.http,
            std::process::id()
        )?;
        out.flush()
    }

    /// Ends the service; the load goes with it.
    fn end(&self, stop: &CancellationToken) {
        self.observed.enter(|| stop.cancel());
        let begun = Instant::now();
        while !self.observed.is_finished() && begun.elapsed() < LAST_CALL {
            thread::sleep(Duration::from_millis(10));
        }
        // Other processes of the scenario go, even if the service does not.
        self.lab.clear_the_scene();
    }
}

/// Raises the limit on open files as far as it goes: a scenario that leaks
/// connections must run longer than the talk. Less is no reason not to begin.
fn allow_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn listen(port: u16) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(wanted).await.with_context(|| {
        format!("could not listen on {wanted} for HTTP; --port 0 takes a free port")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Waits for a reason to stop. The signals are caught from the call on.
fn until_asked(exit_with_parent: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let parent = CancellationToken::new();
    if exit_with_parent {
        let gone = parent.clone();
        thread::Builder::new()
            .name("lab-parent".into())
            .spawn(move || {
                let mut ignored = [0; 64];
                let mut input = std::io::stdin().lock();
                while matches!(input.read(&mut ignored), Ok(1..)) {}
                gone.cancel();
            })?;
    }
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
            () = parent.cancelled() => {}
        }
    })
}
