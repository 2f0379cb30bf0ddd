//! `looptop record`: a target's frames go to a file until it is stopped.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use looptop_wire::{proto::CodeAddress, recording::private};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{attach::one_target, runtime};
use crate::{
    cli::{DEFAULT_TARGET, Record},
    model::{Model, Resolved, StackOf},
    naming::{AgentSymbols, Naming},
    record::{
        recorder::Recorder,
        segments::{Ring, RingBounds},
    },
    source::{self, Event, Options, Pace, Source, Target},
};

/// Records, and says on standard error what became of it.
pub(super) fn run(options: &Record) -> anyhow::Result<ExitCode> {
    let target = options.target.as_deref().unwrap_or_default();
    one_target("looptop record", target, &options.more)?;
    let runtime = runtime()?;
    let recorded = runtime.block_on(record(options, |path| {
        eprintln!("recording to {}; Ctrl-C ends", path.display());
    }));
    runtime.shutdown_background();
    let recorded = recorded?;
    for remark in &recorded.remarks {
        eprintln!("looptop: {remark}");
    }
    eprintln!("{recorded}");
    Ok(ExitCode::SUCCESS)
}

/// Why nothing was recorded, or no more.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The target makes no sense.
    #[error(transparent)]
    Target(#[from] source::TargetError),
    /// Nothing could be attached to in time.
    #[error("nothing was recorded: {0}")]
    NotAttached(String),
    /// The file cannot be written.
    #[error("cannot record to `{}`: {error}{}", .path.display(), advice(.error, *.ring))]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// A ring was to be recorded: a directory.
        ring: bool,
        /// What the operating system said.
        error: io::Error,
    },
}

fn advice(error: &io::Error, ring: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory if ring => {
            "; with --last or --max-bytes the output is a directory: name another one"
        }
        io::ErrorKind::AlreadyExists => "; choose another name, or overwrite it with --force",
        io::ErrorKind::NotFound => "; does its directory exist?",
        io::ErrorKind::StorageFull => "; what was recorded until then can be read",
        _ => "",
    }
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The file or directory.
    pub path: PathBuf,
    /// From the first to the last frame.
    pub length: Duration,
    /// Frames after the first keyframe.
    pub frames: u64,
    /// Bytes written, also those that left a ring since.
    pub bytes: u64,
    /// What could not be read, where a recording was recorded again.
    pub remarks: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "recorded {:.1} s in {} frames, {:.1} MB, to {}",
            self.length.as_secs_f64(),
            self.frames,
            self.bytes as f64 / 1e6,
            self.path.display()
        )
    }
}

/// Damage of one recording that is reported, at most.
const MAX_REMARKS: usize = 20;

/// Time allowed at the end for the names of the last stacks.
const NAMES: Duration = Duration::from_secs(5);

/// Records as `options` say, until their duration is over, the process is asked
/// to stop (SIGINT, SIGTERM, SIGHUP), or the target cannot be reached any more.
/// `began` is called when recording begins.
///
/// A target that goes away is waited for: what comes back is recorded on.
pub async fn record(options: &Record, began: impl FnOnce(&Path)) -> Result<Summary, RecordError> {
    let stop = stop_signal();
    record_until(options, began, stop).await
}

/// Records until `stop`, or as `options` say.
pub async fn record_until(
    options: &Record,
    began: impl FnOnce(&Path),
    stop: impl Future<Output = ()>,
) -> Result<Summary, RecordError> {
    let name = options.target.as_deref().unwrap_or(DEFAULT_TARGET);
    let target: Target = name.parse()?;
    let symbols = AgentSymbols {
        target: target.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    let source = source::spawn(
        target,
        Options {
            pace: Pace::Unlimited,
            ..Options::default()
        },
        &tokio::runtime::Handle::current(),
    );
    let failed = |error| RecordError::Write {
        path: options.output.clone(),
        ring: options.last.is_some() || options.max_bytes.is_some(),
        error,
    };
    let mut run = Run::new(options, name, source, symbols).map_err(failed)?;
    tokio::pin!(stop);
    let attached = tokio::select! {
        attached = run.attach(Instant::now() + options.timeout) => attached.map_err(failed)?,
        () = &mut stop => Err("it was stopped before the target answered".to_owned()),
    };
    if let Err(why) = attached {
        run.discard();
        return Err(RecordError::NotAttached(why));
    }
    began(&options.output);
    let end = options.window.map(|window| Instant::now() + window);
    tokio::select! {
        done = run.observe(end) => done.map_err(failed)?,
        () = &mut stop => {}
    }
    run.finish().await.map_err(failed)
}

/// A recording in progress.
struct Run {
    path: PathBuf,
    source: Source,
    recorder: Recorder<File>,
    ring: Option<Ring>,
    naming: Option<Naming>,
    symbols: AgentSymbols,
    first_ns: Option<u64>,
    length: Duration,
    past_bytes: u64,
    remarks: Vec<String>,
    problem: Option<String>,
}

impl Run {
    fn new(
        options: &Record,
        name: &str,
        source: Source,
        symbols: AgentSymbols,
    ) -> io::Result<Self> {
        let bounds = RingBounds {
            age: options.last,
            bytes: options.max_bytes.map(|n| n.0),
        };
        let (ring, file) = if bounds.age.is_some() || bounds.bytes.is_some() {
            let (ring, file) = Ring::new(&options.output, bounds)?;
            (Some(ring), file)
        } else if options.force {
            (None, private::create(&options.output)?)
        } else {
            (None, private::create_new(&options.output)?)
        };
        Ok(Self {
            path: options.output.clone(),
            source,
            recorder: Recorder::new(file, name, options.redact)?,
            ring,
            naming: None,
            symbols,
            first_ns: None,
            length: Duration::ZERO,
            past_bytes: 0,
            remarks: Vec::new(),
            problem: None,
        })
    }

    /// Waits until something is recorded; otherwise says why it is not.
    async fn attach(&mut self, deadline: Instant) -> io::Result<Result<(), String>> {
        while !self.recorder.has_begun() {
            let Ok(Some(event)) = timeout_at(deadline, self.source.recv()).await else {
                break;
            };
            if !self.take(event)? {
                break;
            }
        }
        let mut why = || {
            self.problem
                .take()
                .unwrap_or_else(|| "nothing answered".into())
        };
        Ok(if self.recorder.has_begun() {
            Ok(())
        } else {
            Err(why())
        })
    }

    /// Records until `end`, or until nothing more can come.
    async fn observe(&mut self, end: Option<Instant>) -> io::Result<()> {
        loop {
            let ends = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ends => return Ok(()),
                (of, stack) = named(self.naming.as_mut()) => self.name(&of, &stack)?,
                event = self.source.recv() => {
                    let Some(event) = event else { return Ok(()) };
                    if !self.take(event)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes an event; `false` where nothing more can come.
    fn take(&mut self, event: Event) -> io::Result<bool> {
        match event {
            Event::Connected { hello, .. } => {
                self.problem = None;
                self.naming = None;
                self.first_ns = None;
                self.recorder.connected(&hello)?;
            }
            Event::Frame(frame) => {
                self.recorder.received(&frame, frame.encoded())?;
                if !frame.more {
                    self.whole_frame(frame.now_ns)?;
                }
            }
            Event::Silent { problem, .. } => self.problem = Some(problem.to_string()),
            Event::Lost { problem, retry_in } => {
                self.problem = Some(problem.to_string());
                return Ok(retry_in.is_some());
            }
            Event::Ended => return Ok(false),
            Event::Recording(extent) => self.remarks.extend(extent.remark),
            Event::Gap(why) if self.remarks.len() < MAX_REMARKS => self.remarks.push(why),
            Event::Connecting { .. }
            | Event::TaskDetails(_)
            | Event::Position(_)
            | Event::Gap(_) => {}
        }
        Ok(true)
    }

    fn whole_frame(&mut self, now_ns: u64) -> io::Result<()> {
        if !self.recorder.has_begun() {
            return Ok(());
        }
        if let Some(last) = self.first_ns.replace(now_ns) {
            self.length += Duration::from_nanos(now_ns.saturating_sub(last));
        }
        let model = self.recorder.model();
        self.naming
            .get_or_insert_with(|| Naming::new(model, Some(self.symbols.clone())))
            .request(model);
        match &mut self.ring {
            Some(ring) if ring.is_due(self.recorder.bytes()) => {
                let bytes = self.recorder.bytes();
                let next = ring.open()?;
                let done = self.recorder.rotate(next)?;
                self.past_bytes += bytes;
                let len = done.metadata().map_or(bytes, |m| m.len());
                ring.closed(len)
            }
            _ => Ok(()),
        }
    }

    fn name(&mut self, of: &StackOf, stack: &Resolved) -> io::Result<()> {
        self.recorder.name(of, stack)
    }

    async fn finish(mut self) -> io::Result<Summary> {
        if let Some(naming) = &mut self.naming {
            let mut model: Model = self.recorder.model().clone();
            naming.finish(&mut model, NAMES).await;
            for stall in model.stalls.iter() {
                let known = self.recorder.model().stalls.get(stall.id);
                let known = known.and_then(|s| s.resolved.as_ref());
                if let Some(stack) = stall
                    .resolved
                    .as_ref()
                    .filter(|stack| Some(*stack) != known)
                {
                    self.recorder.name(&StackOf::Stall(stall.id), stack)?;
                }
            }
            let unnamed: HashSet<&[CodeAddress]> = self
                .recorder
                .model()
                .other_stacks()
                .filter_map(|(stack, known)| known.is_none().then_some(stack))
                .collect();
            let named: HashMap<&[CodeAddress], &Resolved> = model
                .other_stacks()
                .filter(|(stack, _)| unnamed.contains(stack))
                .filter_map(|(stack, resolved)| Some((stack, resolved?)))
                .collect();
            for (stack, resolved) in named {
                self.recorder
                    .name(&StackOf::Addresses(stack.into()), resolved)?;
            }
        }
        let frames = self.recorder.frames();
        let file = self.recorder.finish()?;
        Ok(Summary {
            path: self.path,
            length: self.length,
            frames,
            bytes: self.past_bytes + file.metadata()?.len(),
            remarks: self.remarks,
        })
    }

    /// Nothing was recorded, so nothing is left behind.
    fn discard(self) {
        if self.ring.is_none() {
            // It is empty; if it cannot be removed it stays so.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn named(naming: Option<&mut Naming>) -> (StackOf, std::sync::Arc<Resolved>) {
    match naming {
        Some(naming) => naming.recv().await,
        None => std::future::pending().await,
    }
}

/// This process is asked to stop.
pub(super) async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let mut signals: Vec<_> = kinds
            .into_iter()
            .filter_map(|kind| signal(kind).ok())
            .collect();
        if !signals.is_empty() {
            let next = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            futures::future::select_all(next).await;
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
