//! What each command does, and the exit codes.

use std::{
    env, fs,
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context;

use crate::{
    app,
    check::{self, CheckError},
    cli::{self, Attach, Check, Cli, Command, ConfigAction},
    config::{self, Config},
    diagnose,
    feed::LiveFeed,
    run,
    source::{self, Target},
    terminal::MouseUse,
    ui,
};
#[cfg(feature = "demo")]
use crate::{lab_child, terminal};

/// `check` found something at or above `--fail-on`; elsewhere, a failure.
const FINDINGS: u8 = 1;
/// The command line or the configuration makes no sense.
const USAGE: u8 = 2;
/// Nothing could be attached to.
const NOT_ATTACHED: u8 = 3;

/// Runs the command and turns what happened into an exit code; errors go to
/// standard error as one sentence.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            let broken_pipe = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
            if error.downcast_ref().is_some_and(broken_pipe) {
                return ExitCode::SUCCESS;
            }
            eprintln!("looptop: {error:#}");
            ExitCode::from(code_of(&error))
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(CheckError::Target(_)) => return USAGE,
        Some(CheckError::NotAttached(_) | CheckError::Gone(_)) => return NOT_ATTACHED,
        None => {}
    }
    let usage = error.is::<config::ConfigError>()
        || error.is::<crate::source::TargetError>()
        || error.is::<UnknownRule>();
    #[cfg(feature = "demo")]
    let usage = usage || error.is::<looptop_demo::Unknown>();
    if usage { USAGE } else { FINDINGS }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => attach(cli.attach),
        Some(Command::Check(check)) => run_check(check),
        #[cfg(feature = "demo")]
        Some(Command::Demo(demo)) => run_demo(demo),
        #[cfg(feature = "demo")]
        Some(Command::Lab(args)) => {
            looptop_demo::serve(&args.try_into()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Explain { rule }) => print(explain(rule.as_deref())?.as_bytes()),
        Some(Command::Ls) => print(crate::source::processes::table().as_bytes()),
        Some(Command::Config { action }) => run_config(action),
        Some(Command::Completions { shell }) => print(&cli::completions(shell)),
        Some(Command::Man) => print(&cli::man()?),
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().lock().write_all(bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("could not start the runtime")
}

fn attach(attach: Attach) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let name = attach.target.unwrap_or_else(|| config.target.clone());
    let target = name.parse()?;
    show(
        target,
        app::Options {
            target: name,
            lab: None,
        },
        config.complete(attach.screen),
    )
}

fn show(target: Target, options: app::Options, screen: cli::Screen) -> anyhow::Result<ExitCode> {
    let depth = ui::Depth::detect(screen.color, |name| env::var(name).ok());
    let theme = match &screen.theme {
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("could not read the theme {}", path.display()))?;
            ui::Theme::with(&text, depth, screen.ascii)
                .with_context(|| format!("could not use the theme {}", path.display()))?
        }
        None => ui::Theme::new(depth, screen.ascii),
    };
    let mouse = if screen.no_mouse {
        MouseUse::Leave
    } else {
        MouseUse::Take
    };
    let runtime = runtime()?;
    let source = source::spawn(target, source::Options::default(), runtime.handle());
    let state = app::State::new(options, Instant::now());
    let done = runtime.block_on(run::run(state, &theme, mouse, LiveFeed::new(source)));
    // Threads that still look for symbols end with the process.
    runtime.shutdown_background();
    done?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "demo")]
fn run_demo(demo: cli::Demo) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let id = demo
        .scenario
        .as_deref()
        .unwrap_or(lab_child::DEFAULT_SCENARIO);
    let scenario = looptop_demo::find(id)?;
    let mode: looptop_demo::Mode = demo.mode.parse()?;
    let _: looptop_demo::Flavor = demo.flavor.parse()?;
    terminal::check()?;
    let lab = lab_child::LabChild::start(&demo, scenario.id)?;
    let name = lab.agent.to_string();
    let options = app::Options {
        target: name.clone(),
        lab: Some(app::Lab {
            scenario: scenario.id.to_owned(),
            mode: mode.as_str().to_owned(),
            caption: scenario.caption.to_owned(),
        }),
    };
    show(name.parse()?, options, config.complete(demo.screen))
}

fn run_check(mut check: Check) -> anyhow::Result<ExitCode> {
    let config: Config = config::load()?;
    check.target.get_or_insert(config.target);
    let runtime = runtime()?;
    let report = runtime.block_on(check::check(&check));
    runtime.shutdown_background();
    let report = report?;
    print(report.render(check.format).as_bytes())?;
    Ok(ExitCode::from(if report.fails(check.fail_on) {
        FINDINGS
    } else {
        0
    }))
}

fn run_config(action: ConfigAction) -> anyhow::Result<ExitCode> {
    let path = config::path();
    match action {
        ConfigAction::Path => print(format!("{}\n", path.display()).as_bytes()),
        ConfigAction::Print => print(config::load()?.print().as_bytes()),
        ConfigAction::Check => {
            config::load()?;
            let what = if path.exists() {
                "can be used"
            } else {
                "does not exist: defaults apply"
            };
            print(format!("{} {what}\n", path.display()).as_bytes())
        }
    }
}

/// A rule that does not exist, with the nearest one.
#[derive(Debug, thiserror::Error)]
#[error("there is no rule '{id}'; did you mean '{nearest}'? `looptop explain` lists them all")]
struct UnknownRule {
    id: String,
    nearest: &'static str,
}

fn explain(id: Option<&str>) -> Result<String, UnknownRule> {
    let Some(id) = id else {
        return Ok(diagnose::list());
    };
    diagnose::find(id)
        .map(diagnose::explain)
        .ok_or_else(|| UnknownRule {
            id: id.to_owned(),
            nearest: diagnose::nearest(id),
        })
}
