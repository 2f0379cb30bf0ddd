//! Several processes on a terminal: a page with a row for each, and the screen of the one
//! that is gone into, while the others are watched on.
//!
//! - `members`: which processes there are,
//! - `watcher`: one of them, beside the others.

mod members;
mod watcher;

use std::{collections::HashSet, time::Instant};

use tokio::runtime::Runtime;

pub use self::members::{Asked, Finder, Members};
use self::{
    members::Changes,
    watcher::{Turns, Watcher},
};
use super::{
    chores::Chores,
    input::Input,
    pace::Pace,
    run::{Left, RunError, Stage, Wanted, resume, suspend},
    screen::{ScreenError, Show, mouse, themes},
};
use crate::{
    app::{
        Event, ThemeId,
        several::{Choice, Several},
    },
    cli, config,
    source::targets::Named,
    ui::{self, Themes},
};

/// Shows them until the user quits. `members` are those that `finder` has found first.
/// Must run on the thread that is to draw.
pub fn show(
    finder: Finder,
    members: &Members,
    screen: &cli::Screen,
    runtime: &Runtime,
) -> Result<(), ScreenError> {
    let (themes, theme) = themes(screen)?;
    let _within = runtime.enter();
    let nothing = finder.nothing();
    let mut watched = Watched::new(runtime);
    watched.are(&members.named);
    let mut changes = Changes::begin(finder, runtime.handle());
    let mut stage = Stage::enter(mouse(screen))?;
    let mut page = Several::new(stage.tui.size(), screen.keys.clone(), Instant::now());
    page.theme = theme;
    page.has_own_theme = theme == ThemeId::Own;
    page.nothing = nothing;
    if !members.remarks.is_empty() {
        page.notify(members.remarks.join("; "));
    }
    let mut on_page = OnPage {
        page,
        watched,
        themes,
        own_theme: screen.theme.clone(),
        chores: Chores::default(),
    };
    loop {
        let Some(named) = runtime.block_on(on_page.run(&mut stage, &mut changes))? else {
            return Ok(());
        };
        // Its file may have been changed meanwhile.
        let themes = match self::themes(screen) {
            Ok(themes) => themes,
            Err(why) => {
                on_page.page.notify(why.to_string());
                continue;
            }
        };
        stage.tui.begin_anew().map_err(RunError::Draw)?;
        let show = Show {
            within: Some(on_page.page.theme),
            ..Show::new(named.target, &named.name, screen)
        };
        match show.run_on(&mut stage, themes, runtime)? {
            Left::Quit => return Ok(()),
            Left::Back(theme) => on_page.page.theme = theme,
        }
        stage.tui.begin_anew().map_err(RunError::Draw)?;
    }
}

/// The page, and what it shows.
struct OnPage {
    page: Several,
    watched: Watched,
    themes: Themes,
    own_theme: Option<std::path::PathBuf>,
    chores: Chores,
}

impl OnPage {
    /// Shows the page until a process is gone into; `None` where the program is to end.
    async fn run(
        &mut self,
        stage: &mut Stage,
        changes: &mut Changes,
    ) -> Result<Option<Named>, RunError> {
        self.page.size = stage.tui.size();
        let mut pace = Pace::new();
        loop {
            let choice = tokio::select! {
                biased;
                signal = stage.signals.next() => match signal {
                    Wanted::End | Wanted::Interrupt => Choice::Quit,
                    Wanted::Stop => Choice::Suspend,
                    Wanted::Continue => {
                        stage.keyboard.pause(false);
                        self.page.size = resume(&mut stage.tui).map_err(RunError::Draw)?;
                        pace.at_once();
                        Choice::Stay
                    }
                },
                input = stage.keyboard.next(), if !pace.is_late() => match input {
                    None => Choice::Quit,
                    Some(input) => {
                        pace.at_once();
                        self.page.now = Instant::now();
                        self.take(input)
                    }
                },
                // Four times a second without a key, which is more often than rows change.
                () = pace.due() => {
                    self.draw(stage).map_err(RunError::Draw)?;
                    pace.drawn();
                    Choice::Stay
                },
                members = changes.next() => {
                    self.page.now = Instant::now();
                    let came_and_went = self.watched.are(&members.named);
                    let said = came_and_went.into_iter().chain(members.remarks);
                    let said: Vec<String> = said.collect();
                    if !said.is_empty() {
                        self.page.notify(said.join("; "));
                    }
                    pace.soon();
                    Choice::Stay
                }
                event = self.chores.next() => {
                    if let Event::Notice(sentence) = event {
                        self.page.notify(sentence);
                    }
                    pace.soon();
                    Choice::Stay
                }
            };
            match choice {
                Choice::Stay => {}
                // A terminal that is gone shows at the next frame.
                Choice::Copy(text) => drop(stage.tui.copy(&text)),
                Choice::KeepTheme(theme) => self.keep(theme),
                Choice::Suspend => {
                    if suspend(&mut stage.tui, &stage.keyboard) {
                        return Ok(None);
                    }
                }
                Choice::Quit => return Ok(None),
                Choice::Open(id) => {
                    if let Some(named) = self.watched.named(id) {
                        return Ok(Some(named));
                    }
                }
            }
        }
    }

    fn draw(&mut self, stage: &mut Stage) -> std::io::Result<()> {
        self.page.now = Instant::now();
        self.page.found(self.watched.latest());
        let (page, theme) = (&self.page, self.themes.get(self.page.theme));
        stage
            .tui
            .draw(|frame| ui::several::render(page, theme, frame))
    }

    fn take(&mut self, input: Input) -> Choice {
        match input {
            Input::Resize(size) => self.page.size = size,
            Input::Key(key) => return self.page.key(key),
            Input::Mouse(mouse, _, y) => self.page.mouse(mouse, y),
            Input::Paste(text) => self.page.paste(&text),
        }
        Choice::Stay
    }

    fn keep(&mut self, theme: ThemeId) {
        let own = self
            .own_theme
            .as_ref()
            .map(|path| path.display().to_string());
        let name = match (theme, own) {
            (ThemeId::Own, Some(own)) => own,
            (theme, _) => theme.name().to_owned(),
        };
        self.chores.add(move || config::keep_theme(&name));
    }
}

/// Those that are watched.
struct Watched {
    all: Vec<(u64, Watcher)>,
    next: u64,
    turns: Turns,
    runtime: tokio::runtime::Handle,
}

impl Watched {
    fn new(runtime: &Runtime) -> Self {
        Self {
            all: Vec::new(),
            next: 1,
            turns: Turns::default(),
            runtime: runtime.handle().clone(),
        }
    }

    /// Watches these and no others; returns who came and who went, where some were
    /// watched before.
    fn are(&mut self, named: &[Named]) -> Option<String> {
        let first = self.next == 1;
        let wanted: HashSet<&Named> = named.iter().collect();
        let mut went = Vec::new();
        self.all.retain(|(_, watcher)| {
            let stays = wanted.contains(&watcher.named);
            if !stays {
                went.push(watcher.latest().name());
            }
            stays
        });
        let known: HashSet<Named> = self.all.iter().map(|(_, w)| w.named.clone()).collect();
        let mut came = Vec::new();
        for named in named.iter().filter(|named| !known.contains(named)) {
            came.push(named.name.clone());
            let (id, named) = (self.next, named.clone());
            self.next += 1;
            let watcher = Watcher::begin(id, named, &self.turns, &self.runtime);
            self.all.push((id, watcher));
        }
        if first {
            return None;
        }
        let said = [counted(&came, "came"), counted(&went, "went")];
        let said: Vec<String> = said.into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    fn latest(&self) -> Vec<std::sync::Arc<crate::app::several::Process>> {
        self.all
            .iter()
            .map(|(_, watcher)| watcher.latest())
            .collect()
    }

    fn named(&self, id: u64) -> Option<Named> {
        let mut all = self.all.iter();
        let found = all.find(|(known, _)| *known == id);
        found.map(|(_, watcher)| watcher.named.clone())
    }
}

/// "2 came: a, b"; the first three by name.
fn counted(names: &[String], verb: &str) -> Option<String> {
    const NAMED: usize = 3;
    let shown = names
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        0 => None,
        n if n > NAMED => Some(format!("{n} {verb}: {shown} …")),
        n => Some(format!("{n} {verb}: {shown}")),
    }
}
