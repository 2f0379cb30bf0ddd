//! The one table of keys. Dispatch, footer, help and docs are made from it.

use std::fmt::Write as _;

use super::{
    Action, Connection, Key, Mode, Motion, State, Travel, Twin, ViewId, page,
    tables::{self, TableId},
};

/// Examples of the filter's terms, and what they mean.
pub const FILTERS: [(&str, &str); 6] = [
    ("conn !ticker", "that contain conn, and no ticker"),
    ("state:running", "whose column state contains running"),
    ("loc:file.rs", "whose location contains file.rs"),
    (
        "busy>100ms",
        "by number: > >= < <= = with ns us ms s m h, %, k, KiB",
    ),
    ("\"two words\"", "quotes keep spaces"),
    ("warn", "that a finding is about (tasks)"),
];

/// Where a binding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Wherever no filter is edited.
    Everywhere,
    /// Whatever is on screen, the filter's line included.
    Always,
    /// In a view that is a table.
    Tables,
    /// In a view, table or not.
    Views,
    /// In one view.
    View(ViewId),
    /// Where the lab's scenarios can be switched: its view and presenter mode.
    Lab,
    /// In the details of a stall.
    StallDetails,
    /// In details with lines that lead to others.
    Links,
    /// While another viewer keeps the server paused.
    Paused,
    /// While a recording is played.
    Playing,
    /// While there is something to record: what is live.
    Recordable,
    /// While the screen shows the past of a live session.
    Past,
    /// While the filter is edited.
    Filter,
}

/// A key, or several, for one action.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Any of these.
    pub keys: &'static [Key],
    /// What it does.
    pub action: Action,
    /// Where.
    pub scope: Scope,
    /// One word for the footer; empty to leave it out.
    pub label: &'static str,
    /// A sentence for the help.
    pub help: &'static str,
    /// The lower, the longer it stays in a narrow footer.
    pub rank: u8,
}

const fn binding(
    keys: &'static [Key],
    action: Action,
    scope: Scope,
    (rank, label): (u8, &'static str),
    help: &'static str,
) -> Binding {
    Binding {
        keys,
        action,
        scope,
        label,
        help,
        rank,
    }
}

/// Left out of the footer.
const QUIET: (u8, &str) = (9, "");

use Key::{Char, Ctrl};
use Scope::{
    Always, Everywhere, Filter, Lab, Links, Past, Paused, Playing, Recordable, StallDetails,
    Tables, View, Views,
};

/// All of them. The first that holds and has the key wins.
pub static BINDINGS: &[Binding] = &[
    binding(&[Ctrl('c')], Action::Quit, Always, QUIET, "quit"),
    binding(
        &[Ctrl('z')],
        Action::Suspend,
        Always,
        QUIET,
        "suspend; fg comes back",
    ),
    binding(
        &[Key::Enter],
        Action::Accept,
        Filter,
        (1, "apply"),
        "apply the filter",
    ),
    binding(
        &[Key::Esc],
        Action::Clear,
        Filter,
        (2, "clear"),
        "clear the filter",
    ),
    binding(
        &[Key::Backspace, Ctrl('h')],
        Action::Erase,
        Filter,
        QUIET,
        "erase a character",
    ),
    binding(
        &[Ctrl('w')],
        Action::EraseWord,
        Filter,
        QUIET,
        "erase a word",
    ),
    binding(
        &[Char('?'), Key::F(1)],
        Action::Help,
        Everywhere,
        (2, "help"),
        "this help",
    ),
    binding(&[Char('q')], Action::Quit, Everywhere, (3, "quit"), "quit"),
    binding(
        &[Key::Esc],
        Action::Back,
        Everywhere,
        (4, "back"),
        "back; clears an active filter; never quits",
    ),
    binding(
        &[Key::Enter],
        Action::OtherTwin,
        Lab,
        (0, "switch"),
        "make the mistake of the scenario under the cursor; again: cure it",
    ),
    binding(
        &[Char('b')],
        Action::Run(Twin::Broken),
        Lab,
        (0, "broken"),
        "broken: the mistake of the scenario under the cursor",
    ),
    binding(
        &[Char('f')],
        Action::Run(Twin::Fixed),
        Lab,
        (0, "fixed"),
        "fixed: the same work without the mistake",
    ),
    binding(
        &[Char('o')],
        Action::Run(Twin::Off),
        Lab,
        (1, "off"),
        "off: no load but the canary",
    ),
    binding(
        &[Key::Enter],
        Action::Open,
        Views,
        (1, "details"),
        "details of what is under the cursor",
    ),
    binding(
        &[Char('e')],
        Action::Explain,
        Everywhere,
        (2, "explain"),
        "explain the finding under the cursor, or the verdict",
    ),
    binding(
        &[Char(' ')],
        Action::Freeze,
        Everywhere,
        (3, "freeze"),
        "freeze the screen, or hold a recording; the target runs on; again to go live",
    ),
    binding(
        &[Char('[')],
        Action::Travel(Travel::Back),
        Everywhere,
        (7, "past"),
        "back in time: steps of 100 ms in the last minute, of 1 s before and in a recording",
    ),
    binding(
        &[Char(']')],
        Action::Travel(Travel::Forward),
        Everywhere,
        QUIET,
        "forward in time, in the same steps",
    ),
    binding(
        &[Char('{')],
        Action::Travel(Travel::FarBack),
        Everywhere,
        QUIET,
        "10 s back in time",
    ),
    binding(
        &[Char('}')],
        Action::Travel(Travel::FarForward),
        Everywhere,
        QUIET,
        "10 s forward in time",
    ),
    binding(
        &[Char('(')],
        Action::Travel(Travel::PreviousFinding),
        Everywhere,
        QUIET,
        "back to where the finding before began; in a recording, the stall",
    ),
    binding(
        &[Char(')')],
        Action::Travel(Travel::NextFinding),
        Everywhere,
        QUIET,
        "forward to where the next finding begins; in a recording, the stall",
    ),
    binding(&[Char('x')], Action::Faster, Playing, QUIET, "play faster"),
    binding(&[Char('X')], Action::Slower, Playing, QUIET, "play slower"),
    binding(
        &[Char('R')],
        Action::Record,
        Recordable,
        (8, "record"),
        "record what comes in to a file; again to end it",
    ),
    binding(
        &[Char('R')],
        Action::SavePast,
        Past,
        (1, "save"),
        "in the past: save all that can be gone back to, up to 30 min, to a file",
    ),
    binding(
        &[Char('y')],
        Action::Copy,
        Everywhere,
        (6, "copy"),
        "copy that finding, or a task's details, to the clipboard (OSC 52)",
    ),
    binding(
        &[Char('p')],
        Action::Present,
        Everywhere,
        (7, "present"),
        "presenter mode: verdict and figures in large letters; again to leave",
    ),
    binding(
        &[Char('a')],
        Action::AllFrames,
        StallDetails,
        (1, "all frames"),
        "all frames of the stack, or only those that matter",
    ),
    binding(
        &[Key::Enter],
        Action::Open,
        Links,
        (1, "follow"),
        "in details: to where the marked line leads; Esc comes back",
    ),
    binding(
        &[Char('r')],
        Action::Resume,
        Paused,
        (0, "resume"),
        "make a console-subscriber that was paused go on, for all its viewers",
    ),
    binding(
        &[Char('/')],
        Action::Filter,
        Tables,
        (2, "filter"),
        "filter the rows",
    ),
    binding(
        &[Char('t')],
        Action::Group,
        View(ViewId::Stalls),
        (2, "group"),
        "stalls by culprit line, or one by one",
    ),
    binding(
        &[Char('t')],
        Action::Group,
        View(ViewId::Tasks),
        (4, "group"),
        "tasks one by one, by spawn location, by name, as a tree",
    ),
    binding(
        &[Char('w')],
        Action::Warned,
        View(ViewId::Tasks),
        (5, "warned"),
        "only tasks that a finding is about, or all",
    ),
    binding(
        &[Char('t')],
        Action::Group,
        View(ViewId::Resources),
        (2, "who waits"),
        "resources, or the operations on them: who waits for what",
    ),
    binding(
        &[Char('f')],
        Action::Finished,
        View(ViewId::Resources),
        (5, "dropped"),
        "show or hide what was dropped",
    ),
    binding(
        &[Char('f')],
        Action::Finished,
        View(ViewId::Tasks),
        (5, "finished"),
        "show or hide finished tasks",
    ),
    binding(
        &[Char('>'), Char('.')],
        Action::SortNext,
        Tables,
        (5, "sort"),
        "sort by the next column",
    ),
    binding(
        &[Char('<'), Char(',')],
        Action::SortPrevious,
        Tables,
        QUIET,
        "sort by the previous column",
    ),
    binding(
        &[Char('i')],
        Action::Invert,
        Tables,
        (6, "invert"),
        "sort the other way round",
    ),
    binding(
        &[Key::Right, Char('l')],
        Action::PanRight,
        Tables,
        QUIET,
        "show columns that did not fit",
    ),
    binding(
        &[Key::Left, Char('h')],
        Action::PanLeft,
        Tables,
        QUIET,
        "and back",
    ),
    binding(
        &[Key::Up, Char('k')],
        Action::Move(Motion::Up),
        Everywhere,
        QUIET,
        "one row up",
    ),
    binding(
        &[Key::Down, Char('j')],
        Action::Move(Motion::Down),
        Everywhere,
        QUIET,
        "one row down",
    ),
    binding(
        &[Key::PageUp, Ctrl('b')],
        Action::Move(Motion::PageUp),
        Everywhere,
        QUIET,
        "one page up",
    ),
    binding(
        &[Key::PageDown, Ctrl('f')],
        Action::Move(Motion::PageDown),
        Everywhere,
        QUIET,
        "one page down",
    ),
    binding(
        &[Char('g'), Key::Home],
        Action::Move(Motion::Top),
        Everywhere,
        QUIET,
        "to the first row",
    ),
    binding(
        &[Char('G'), Key::End],
        Action::Move(Motion::Bottom),
        Everywhere,
        QUIET,
        "to the last row",
    ),
    binding(
        &[Key::Tab],
        Action::NextView,
        Everywhere,
        (7, "next view"),
        "next view",
    ),
    binding(
        &[Key::BackTab],
        Action::PreviousView,
        Everywhere,
        QUIET,
        "previous view",
    ),
    binding(
        &[Char('+'), Char('=')],
        Action::LongerSpan,
        Everywhere,
        (8, "span"),
        "charts show a longer time: 10 s, 1 min, 5 min, 30 min",
    ),
    binding(
        &[Char('-')],
        Action::ShorterSpan,
        Everywhere,
        QUIET,
        "charts show a shorter time",
    ),
    binding(
        &[Char('1')],
        Action::Show(ViewId::Overview),
        Everywhere,
        QUIET,
        "Overview: verdict, lag, workers, findings, spawn locations",
    ),
    binding(
        &[Char('2')],
        Action::Show(ViewId::Tasks),
        Everywhere,
        QUIET,
        "Tasks: every task",
    ),
    binding(
        &[Char('3')],
        Action::Show(ViewId::Workers),
        Everywhere,
        QUIET,
        "Workers: what each does, over time",
    ),
    binding(
        &[Char('4')],
        Action::Show(ViewId::Stalls),
        Everywhere,
        QUIET,
        "Stalls: live ones first",
    ),
    binding(
        &[Char('5')],
        Action::Show(ViewId::Resources),
        Everywhere,
        QUIET,
        "Resources: locks, semaphores, timers",
    ),
    binding(
        &[Char('6')],
        Action::Show(ViewId::Threads),
        Everywhere,
        QUIET,
        "Threads of the process",
    ),
    binding(
        &[Char('7')],
        Action::Show(ViewId::Lab),
        Everywhere,
        QUIET,
        "Lab: scenarios, their twins, before and after",
    ),
];

/// The binding of a key now.
pub(super) fn bound(state: &State, key: Key) -> Option<&'static Binding> {
    BINDINGS
        .iter()
        .find(|b| b.keys.contains(&key) && holds(b.scope, state))
}

/// What a key does now.
pub fn dispatch(state: &State, key: Key) -> Option<Action> {
    match (bound(state, key), key) {
        (Some(binding), _) => Some(binding.action.clone()),
        (None, Key::Char(c)) if state.mode() == Mode::Filter => Some(Action::Type(c.to_string())),
        _ => None,
    }
}

/// The bindings that hold now and have a label, the most useful first.
pub fn footer(state: &State) -> Vec<&'static Binding> {
    let mut shown: Vec<&Binding> = BINDINGS
        .iter()
        .filter(|b| !b.label.is_empty() && holds(b.scope, state))
        .collect();
    shown.sort_by_key(|b| b.rank);
    shown
}

fn holds(scope: Scope, state: &State) -> bool {
    let mode = state.mode();
    match scope {
        Scope::Always => true,
        Scope::Everywhere => mode != Mode::Filter,
        Scope::Filter => mode == Mode::Filter,
        Scope::Lab => state.lab_has_keys(),
        Scope::StallDetails => mode == Mode::Details && state.shows_stall_details(),
        Scope::Links => mode == Mode::Details && has_links(state),
        Scope::Paused => mode != Mode::Filter && is_paused(state),
        Scope::Playing => mode != Mode::Filter && state.player.is_some(),
        Scope::Recordable => {
            mode != Mode::Filter && state.player.is_none() && state.behind().is_none()
        }
        Scope::Past => mode != Mode::Filter && state.behind().is_some(),
        // The lab has its own meaning of these.
        Scope::Views => mode == Mode::View && state.view != ViewId::Lab,
        Scope::View(view) => mode == Mode::View && state.view == view,
        Scope::Tables => mode == Mode::View && state.table().is_some(),
    }
}

fn has_links(state: &State) -> bool {
    page::page(state).is_some_and(|page| !page.links.is_empty())
}

fn is_paused(state: &State) -> bool {
    matches!(state.connection, Connection::Paused { .. })
}

/// The titles of the help's sections, and what belongs there.
pub fn sections() -> Vec<(&'static str, Vec<&'static Binding>)> {
    let section = |title, scopes: &[Scope]| {
        let part = BINDINGS
            .iter()
            .filter(|b| scopes.contains(&b.scope))
            .collect();
        (title, part)
    };
    vec![
        (
            "Anywhere",
            BINDINGS
                .iter()
                .filter(|b| anywhere(b) && !is_view(b))
                .collect(),
        ),
        ("Views", BINDINGS.iter().filter(|b| is_view(b)).collect()),
        section("Tables", &[Scope::Tables, Scope::View(ViewId::Tasks)]),
        section("Resources", &[Scope::View(ViewId::Resources)]),
        section(
            "Stalls",
            &[Scope::View(ViewId::Stalls), Scope::StallDetails],
        ),
        section(
            "Recordings",
            &[Scope::Playing, Scope::Recordable, Scope::Past],
        ),
        section("Lab, and presenter mode", &[Scope::Lab]),
        section("While typing a filter", &[Scope::Filter]),
    ]
}

fn anywhere(binding: &Binding) -> bool {
    matches!(
        binding.scope,
        Scope::Everywhere | Scope::Always | Scope::Views | Scope::Links | Scope::Paused
    )
}

fn is_view(binding: &Binding) -> bool {
    matches!(binding.action, Action::Show(_))
}

/// The keys of a binding, as a person reads them.
pub fn names(binding: &Binding) -> String {
    let names: Vec<String> = binding.keys.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// `docs/keys.md`: keys, columns and the filter.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Keys, columns, filter\n\n\
         Generated from the tables of bindings and columns (`src/app/bindings.rs`,\n\
         `src/app/tables/`); a test keeps this file current. On screen: `?`.\n\n\
         ## Keys\n\n",
    );
    for (title, bindings) in sections() {
        let _ = write!(text, "### {title}\n\n| key | what it does |\n|---|---|\n");
        for binding in bindings {
            let keys = names(binding).replace('|', "\\|");
            let keys = keys.replace(' ', "` `");
            let _ = writeln!(text, "| `{keys}` | {} |", binding.help);
        }
        text.push('\n');
    }
    text.push_str(
        "## Columns\n\nThe name in the first column is the one for a filter. Narrow screens drop\n\
         columns, the highest priority number first.\n",
    );
    for table in TableId::ALL {
        let _ = write!(
            text,
            "\n### {table:?}\n\n| name | heading | priority | meaning |\n|---|---|---|---|\n"
        );
        for head in tables::heads(table) {
            let (id, title, help) = (head.id, head.title, head.help);
            let _ = writeln!(text, "| `{id}` | {title} | {} | {help} |", head.priority);
        }
    }
    text.push_str(
        "\n## Filter\n\nTerms are separated by spaces, and all must match; `!` turns one round.\n\n\
         | term | matches rows |\n|---|---|\n",
    );
    for (example, meaning) in FILTERS {
        let _ = writeln!(text, "| `{example}` | {meaning} |");
    }
    text
}
