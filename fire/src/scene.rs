//! Everything that takes part in a run.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::TcpStream,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use fastrand::Rng;
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Resource, Rlimit, Signal},
};
use tokio::runtime::Runtime;

use crate::{
    catalogue::{self, Scenario},
    lab::{Insight, Lab},
    processes::{self, ProcessId},
    programs::Programs,
    proxy::{Fault, Proxy},
    terminal::{Viewer, WAYS, Way},
    tool::Tool,
    witness::Witness,
};

/// A lab that nobody attacks any more answers within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Something that must be true and was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Which check.
    pub(crate) check: &'static str,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            check,
            text: text.into(),
        }
    }
}

/// Where a run puts its files, and what its processes get to know.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) programs: Programs,
    /// In which the viewers run.
    pub(crate) work: PathBuf,
    /// A file system of little room, where one may be mounted.
    pub(crate) small: Option<PathBuf>,
    /// By which the processes of this run are known.
    mark: String,
    planted: Option<String>,
    folder: tempfile::TempDir,
    folders: Cell<u32>,
}

/// The variable that marks the processes of a run.
const MARK: &str = "LOOPTOP_FIRE";
/// Room of the small file system.
const SMALL: &std::ffi::CStr = c"size=192k,mode=700";

impl Place {
    /// Makes it; why there is no small file system, if there is none.
    pub(crate) fn new(
        programs: Programs,
        planted: Option<String>,
    ) -> anyhow::Result<(Self, Option<String>)> {
        let folder = tempfile::Builder::new()
            .prefix("looptop-fire-")
            .tempdir()
            .context("there is no folder for the run's files")?;
        let within = |name: &str| -> anyhow::Result<PathBuf> {
            let path = folder.path().join(name);
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("{} could not be made", path.display()))?;
            Ok(path)
        };
        let work = within("work")?;
        for name in ["run", "home", "temporary"] {
            within(name)?;
        }
        let small = within("small")?;
        let flags = MountFlags::NODEV | MountFlags::NOEXEC;
        let mounted = mount("looptop-fire", &small, "tmpfs", flags, Some(SMALL));
        let place = Self {
            programs,
            work,
            small: mounted.is_ok().then_some(small),
            mark: format!("{}-{}", std::process::id(), fastrand::u32(..)),
            planted,
            folder,
            folders: Cell::new(0),
        };
        let why = mounted.err().map(|error| error.to_string());
        Ok((place, why))
    }

    /// The entry in the environment of this run's processes.
    pub(crate) fn mark(&self) -> String {
        format!("{MARK}={}", self.mark)
    }

    /// A new folder for the temporary files of one program.
    pub(crate) fn temporary(&self, name: &str) -> anyhow::Result<PathBuf> {
        let number = self.folders.get() + 1;
        self.folders.set(number);
        let path = self
            .folder
            .path()
            .join("temporary")
            .join(number.to_string());
        fs::create_dir(&path).with_context(|| format!("{name} has no folder"))?;
        Ok(path)
    }

    /// What is set for a program with a folder for temporary files.
    pub(crate) fn environment(&self, temporary: &Path) -> Vec<(&'static str, OsString)> {
        let within = |name: &str| self.folder.path().join(name).into_os_string();
        let mut environment = vec![
            (MARK, OsString::from(&self.mark)),
            ("HOME", within("home")),
            ("XDG_CONFIG_HOME", within("home")),
            ("XDG_RUNTIME_DIR", within("run")),
            ("TMPDIR", temporary.as_os_str().to_owned()),
        ];
        if let Some(defect) = &self.planted {
            environment.push((crate::programs::PLANTED, defect.into()));
        }
        environment
    }

    /// A command of this run's.
    pub(crate) fn command(&self, program: &Path, name: &str) -> anyhow::Result<Command> {
        let temporary = self.temporary(name)?;
        let mut command = Command::new(program);
        command.current_dir(&self.work);
        // Ctrl-C is for the run, which ends them.
        command.process_group(0);
        command.envs(self.environment(&temporary));
        Ok(command)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(small) = &self.small {
            // Somebody may still be in it.
            let _ = unmount(small, UnmountFlags::DETACH);
        }
    }
}

/// What ends an act.
pub(crate) enum Undo {
    /// A stopped process goes on.
    Continue(ProcessId),
    /// A limit is what it was.
    Limit(ProcessId, Resource, Rlimit),
    /// The proxy passes on what comes.
    Proxy,
    /// Connections are closed.
    Close(Vec<TcpStream>),
    /// Processes that compute are ended.
    Spinners(Vec<Child>),
    /// The witness reads on.
    Witness,
    /// What fills the small file system goes.
    Files(Vec<PathBuf>),
}

/// A program that becomes another one, and what it reads.
pub(crate) struct StandIn {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    /// It was asked to become another program.
    pub(crate) was_asked: bool,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of it.
pub(crate) struct Scene {
    pub(crate) scenarios: Vec<Scenario>,
    /// With an agent; it lives through many rounds.
    pub(crate) agented: Lab,
    /// Without one; likewise.
    pub(crate) bare: Lab,
    /// Viewers that live through many rounds: of the agent through the proxy, and of the
    /// other lab from outside.
    pub(crate) cast: Vec<Viewer>,
    /// What follows lives for one attack at most.
    pub(crate) victims: Vec<Lab>,
    pub(crate) stand_ins: Vec<StandIn>,
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) tools: Vec<Tool>,
    /// Recordings of this round, to be looked at.
    pub(crate) recordings: Vec<PathBuf>,
    pub(crate) proxy: Proxy,
    pub(crate) witness: Witness,
    /// Acts that cannot be done here, with the reason.
    pub(crate) left_out: BTreeMap<&'static str, String>,
    /// What was wrong since this was taken last.
    pub(crate) problems: Vec<Problem>,
    undos: Vec<(Instant, Undo)>,
    number: Cell<u32>,
    runtime: Runtime,
    /// After the processes: its folders are theirs.
    pub(crate) place: Place,
}

impl Scene {
    /// Starts what lives through many rounds.
    pub(crate) fn start(
        place: Place,
        why_no_mount: Option<String>,
        rng: &mut Rng,
    ) -> anyhow::Result<Self> {
        let scenarios = catalogue::read(&place.programs)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let first = &scenarios[0].id;
        let agented = Lab::start_lasting(&place, "lab", Some("127.0.0.1:0"), first)?;
        let bare = Lab::start_lasting(&place, "bare lab", None, first)?;
        let agent = agented.agent.context("the lab has no agent")?;
        let proxy = Proxy::start(runtime.handle(), agent, rng.fork())?;
        let mut left_out = BTreeMap::new();
        if let Some(why) = why_no_mount {
            left_out.insert(
                "small-disk",
                format!("no file system may be mounted: {why}"),
            );
        }
        let mut scene = Self {
            scenarios,
            witness: Witness::start(runtime.handle(), agent),
            agented,
            bare,
            cast: Vec::new(),
            victims: Vec::new(),
            stand_ins: Vec::new(),
            viewers: Vec::new(),
            tools: Vec::new(),
            recordings: Vec::new(),
            proxy,
            left_out,
            problems: Vec::new(),
            undos: Vec::new(),
            number: Cell::new(0),
            runtime,
            place,
        };
        scene.cast = vec![scene.watcher()?, scene.outsider()?];
        Ok(scene)
    }

    fn watcher(&self) -> anyhow::Result<Viewer> {
        let target = self.proxy.address.to_string();
        Viewer::start(&self.place, "watcher", &[target])
    }

    fn outsider(&self) -> anyhow::Result<Viewer> {
        Viewer::start(&self.place, "outsider", &[self.bare.target()])
    }

    /// Has `stop` say that this process was asked to end, by Ctrl-C or SIGTERM.
    pub(crate) fn note_signals(&self, stop: &'static AtomicBool) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let _within = self.runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        self.runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.store(true, Ordering::Relaxed);
        });
        Ok(())
    }

    /// A number that no other thing of this run has.
    pub(crate) fn next_number(&self) -> u32 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// The lab that is looked at so.
    pub(crate) fn lab(&self, insight: Insight) -> &Lab {
        match insight {
            Insight::Agent => &self.agented,
            Insight::Outside => &self.bare,
        }
    }

    pub(crate) fn scenario(&self, rng: &mut Rng) -> (String, String) {
        let scenario = &self.scenarios[rng.usize(..self.scenarios.len())];
        let modes: &[&str] = match scenario.broken {
            Some(_) => &["broken", "broken", "broken", "fixed", "off"],
            None => &["fixed", "off"],
        };
        let mode = modes[rng.usize(..modes.len())];
        (scenario.id.clone(), mode.to_owned())
    }

    /// Has something undone after a while.
    pub(crate) fn undo_in(&mut self, after: Duration, undo: Undo) {
        self.undos.push((Instant::now() + after, undo));
    }

    /// Undoes what is due.
    pub(crate) fn tend(&mut self) {
        let now = Instant::now();
        let (due, later) = self.undos.drain(..).partition(|(at, _)| *at <= now);
        self.undos = later;
        let due: Vec<(Instant, Undo)> = due;
        for (_, undo) in due {
            self.undo(undo);
        }
    }

    fn undo(&self, undo: Undo) {
        match undo {
            // Those that are gone need nothing.
            Undo::Continue(pid) => drop(processes::signal(pid, Signal::CONT)),
            Undo::Limit(pid, resource, limit) => {
                let raw = i32::try_from(pid).ok();
                let pid = raw.and_then(rustix::process::Pid::from_raw);
                if pid.is_some() {
                    let _ = rustix::process::prlimit(pid, resource, limit);
                }
            }
            Undo::Proxy => self.proxy.set(Fault::Plain),
            Undo::Close(connections) => drop(connections),
            Undo::Spinners(children) => {
                for mut child in children {
                    drop(child.kill());
                    drop(child.wait());
                }
            }
            Undo::Witness => self.witness.pause(false),
            Undo::Files(paths) => {
                for path in paths {
                    drop(fs::remove_file(path));
                }
            }
        }
    }

    /// Ends the attack: undoes everything, switches the labs off and ends what lives for
    /// one attack, each by another way.
    pub(crate) fn calm_down(&mut self, rng: &mut Rng) {
        for (_, undo) in std::mem::take(&mut self.undos) {
            self.undo(undo);
        }
        self.proxy.set(Fault::Plain);
        self.witness.pause(false);
        self.switch_off();
        for mut tool in std::mem::take(&mut self.tools) {
            let wrong = tool.end();
            self.note("end", wrong);
            self.note_left_behind(&tool.name, &tool.temporary);
            self.note_crashes(&tool.name, &tool.output);
        }
        for viewer in std::mem::take(&mut self.viewers) {
            let way = rng.choice(&WAYS).copied().unwrap_or(Way::CtrlC);
            self.end_viewer(viewer, way);
        }
        self.victims.clear();
        self.stand_ins.clear();
    }

    /// Ends a viewer, and looks at how it ended and what it left.
    pub(crate) fn end_viewer(&mut self, mut viewer: Viewer, way: Way) {
        let wrong = viewer.end(way);
        self.problems.extend(wrong);
        self.note_left_behind(&viewer.name, &viewer.temporary);
        self.note_crashes(&viewer.name, &viewer.output);
    }

    fn switch_off(&mut self) {
        let mut wrong = Vec::new();
        let first = &self.scenarios[0].id;
        for lab in [&mut self.agented, &mut self.bare] {
            if let Err(error) = lab.switch(first, "off", PATIENCE) {
                let threads = processes::threads(lab.pid());
                let states: String = threads.iter().map(|thread| thread.state).collect();
                let (runs, end) = (lab.runs(), lab.output.end(500));
                wrong.push(format!(
                    "{} (pid {}, runs: {runs}, threads: {states}) does not answer: {error:#}; \
                     {end}",
                    lab.name,
                    lab.pid(),
                ));
            }
        }
        self.note("answer", wrong);
    }

    /// Puts in place again what lives through many rounds and does not run; so does what
    /// was found to be broken.
    pub(crate) fn mend(&mut self, broken: bool) -> anyhow::Result<()> {
        self.end_strays();
        let first = self.scenarios[0].id.clone();
        if broken || !self.agented.runs() {
            let bind = self
                .agented
                .agent
                .context("the lab has no agent")?
                .to_string();
            self.agented.end();
            self.agented = Lab::start_lasting(&self.place, "lab", Some(&bind), &first)?;
        }
        if broken || !self.bare.runs() {
            self.bare.end();
            self.bare = Lab::start_lasting(&self.place, "bare lab", None, &first)?;
            // Its viewer has nothing to look at any more.
            self.cast[1].end(Way::Kill);
        }
        for index in 0..self.cast.len() {
            if broken || !self.cast[index].runs() {
                // One that has ended by itself may have left its terminal as it was.
                let wrong = self.cast[index].end(Way::Kill);
                self.problems.extend(wrong);
                self.cast[index] = match index {
                    0 => self.watcher()?,
                    _ => self.outsider()?,
                };
            }
        }
        Ok(())
    }

    /// Ends all; what was wrong with that is among the problems.
    pub(crate) fn end(&mut self, rng: &mut Rng) {
        self.calm_down(rng);
        for viewer in std::mem::take(&mut self.cast) {
            let way = rng.choice(&WAYS).copied().unwrap_or(Way::CtrlC);
            self.end_viewer(viewer, way);
        }
        let wrong = [self.agented.end(), self.bare.end()];
        self.note("end", wrong.into_iter().flatten());
        let outputs = [&self.agented, &self.bare].map(|lab| (lab.name.clone(), lab.output.clone()));
        for (name, output) in outputs {
            self.note_crashes(&name, &output);
        }
    }

    /// Kills processes of this run that belong to nobody any more; they were reported.
    pub(crate) fn end_strays(&self) {
        let lasting = self.lasting();
        for (pid, _) in processes::marked(&self.place.mark()) {
            if !lasting.contains(&pid) {
                drop(processes::signal(pid, Signal::KILL));
            }
        }
    }

    /// Adds to the problems.
    pub(crate) fn note(&mut self, check: &'static str, texts: impl IntoIterator<Item = String>) {
        let problems = texts.into_iter().map(|text| Problem::new(check, text));
        self.problems.extend(problems);
    }

    /// Adds what a program has written of crashes.
    pub(crate) fn note_crashes(&mut self, name: &str, output: &crate::output::Output) {
        let crashes = output.take_crashes();
        self.note(
            "crash",
            crashes.iter().map(|crash| format!("{name}: {crash}")),
        );
    }

    /// Adds the files that a program has left where temporary files go.
    pub(crate) fn note_left_behind(&mut self, name: &str, folder: &Path) {
        self.note("file", left_behind(name, folder));
    }

    /// Process ids of what lives through many rounds.
    pub(crate) fn lasting(&self) -> Vec<ProcessId> {
        let labs = [self.agented.pid(), self.bare.pid()];
        labs.into_iter()
            .chain(self.cast.iter().map(Viewer::pid))
            .collect()
    }
}

/// Files that a program has left where temporary files go.
fn left_behind(name: &str, folder: &Path) -> Option<String> {
    let left = crate::lab::left_in(folder);
    let some = left.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    (!left.is_empty()).then(|| format!("{name} has left {} temporary files: {some}", left.len()))
}
