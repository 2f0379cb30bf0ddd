//! The pictures of README and docs/views.md: screens of recordings, saved as `S` saves
//! them, on a light and on a dark background.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use looptop::app::{Event, lab::Update};
use looptop::{
    app::{
        Connection, Key, State, ThemeId,
        bindings::{self, Keymap},
        several::{Process, Several, Summary},
        update,
    },
    ui::{self, Depth, Theme, paint, picture},
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    layout::{Position, Rect, Size},
};

/// A picture: its file, of what, the keys that lead to it, what it shows.
struct Shown {
    name: &'static str,
    of: Of,
    keys: &'static str,
    size: (u16, u16),
    about: &'static str,
}

enum Of {
    /// The end of a recording.
    Recording(&'static str),
    /// The same, with what the lab said of itself beside it.
    Lab(&'static str),
    /// Recordings as if each were a process, by its address.
    Several(&'static [(&'static str, &'static str)]),
}

const fn shown(
    name: &'static str,
    recording: &'static str,
    keys: &'static str,
    size: (u16, u16),
    about: &'static str,
) -> Shown {
    Shown {
        name,
        of: Of::Recording(recording),
        keys,
        size,
        about,
    }
}

const PICTURES: &[Shown] = &[
    shown(
        "overview",
        "sleep-in-handler",
        "",
        (100, 26),
        "the overview: the verdict with the culprit's line and the remedy, loop lag, two blocked workers, findings",
    ),
    shown(
        "tasks",
        "std-mutex-held",
        "2",
        (100, 20),
        "tasks: each with its state, polls, busy and scheduled time",
    ),
    shown(
        "workers",
        "cpu-in-handler",
        "3",
        (100, 16),
        "workers: what each of them polls, and how busy it was",
    ),
    shown(
        "stalls",
        "std-mutex-held",
        "4",
        (100, 16),
        "stalls: polls that took too long, by culprit line",
    ),
    shown(
        "stall",
        "cpu-in-handler",
        "4\n\n",
        (100, 30),
        "a stall: its cause, what it kept from running, its stack",
    ),
    shown(
        "explain",
        "std-mutex-held",
        "e",
        (100, 30),
        "the explanation of a finding: evidence, what the rule means, what to do",
    ),
    shown(
        "threads",
        "pool-exhaustion",
        "6",
        (100, 20),
        "threads of the process, with their time on a CPU",
    ),
    Shown {
        name: "lab",
        of: Of::Lab("sleep-in-handler"),
        keys: "7",
        size: (100, 34),
        about: "the lab: its scenarios, and how the service did with the mistake and without it",
    },
    shown(
        "waits",
        "lock-order",
        "8",
        (100, 22),
        "where tasks wait: a deadlock of two, and who waits behind them",
    ),
    shown(
        "waiting",
        "lock-order",
        "8\n\n",
        (100, 30),
        "a task of the deadlock: what it waits for, through which awaits, and who holds that",
    ),
    Shown {
        name: "several",
        of: Of::Several(&[
            ("10.0.0.7:6669", "healthy-busy"),
            ("10.0.0.8:6669", "sleep-in-handler"),
            ("10.0.0.9:6669", "std-mutex-held"),
            ("10.0.0.10:6669", "busy-yield"),
            ("pid:4211", "lock-order"),
        ]),
        keys: "",
        size: (120, 20),
        about: "several processes: a row for each, the one that suffers most first",
    },
    shown(
        "palette",
        "sleep-in-handler",
        "2:sort",
        (100, 24),
        "the command palette over the tasks: what can be done there, by a few letters of it",
    ),
    shown(
        "small",
        "sleep-in-handler",
        "",
        (42, 8),
        "a terminal of 42 columns and 8 rows: the verdict and its remedy",
    ),
];

fn key(c: char) -> Key {
    match c {
        '\n' => Key::Enter,
        c => Key::Char(c),
    }
}

/// Pictures that stand in other documents as well.
const ELSEWHERE: [(&str, &str, &str); 4] = [
    ("README.md", "docs/pictures/", "overview"),
    ("docs/waiting.md", "pictures/", "waits"),
    ("docs/waiting.md", "pictures/", "waiting"),
    ("docs/several.md", "pictures/", "several"),
];

fn screen_of(picture: &Shown, theme: &Theme, size: Size) -> Buffer {
    let recording = match picture.of {
        Of::Recording(recording) | Of::Lab(recording) => recording,
        Of::Several(processes) => return several(processes, theme, size),
    };
    let mut state: State = super::at_the_end(recording, size);
    if let Of::Lab(recording) = picture.of {
        let status = Event::Lab(Update::Status(Box::new(lab_status(recording))));
        state.apply(status, state.now);
    }
    state.prepare();
    for c in picture.keys.chars() {
        if let Some(action) = bindings::dispatch(&state, key(c)) {
            update(&mut state, action);
        }
        state.prepare();
    }
    let mut buffer = Buffer::empty(Rect::from((Position::ORIGIN, size)));
    paint(&state, theme, &mut buffer);
    buffer
}

/// What a lab said of itself while it was recorded: see [`a_lab_is_asked`].
fn lab_status(name: &str) -> looptop::app::lab::Status {
    let file = super::path(name).with_extension("lab");
    let sent = prost::Message::decode(fs::read(file).unwrap().as_slice());
    looptop::lab::client::status(sent.unwrap())
}

/// Makes `tests/recordings/sleep-in-handler.lab` anew: some seconds cured, and as many with
/// the mistake.
#[test]
#[ignore = "takes a minute, and writes what a picture shows"]
fn a_lab_is_asked() {
    use looptop_demo::proto::{StatusRequest, lab_client::LabClient};

    const NAME: &str = "sleep-in-handler";
    let lab = super::lab::Lab::start(NAME, "fixed", "multi-thread");
    std::thread::sleep(Duration::from_secs(20));
    lab.switch(NAME, "broken");
    std::thread::sleep(Duration::from_secs(20));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(async {
        let address = format!("http://{}", lab.agent());
        let channel = tonic::transport::Endpoint::new(address).unwrap();
        let mut client = LabClient::new(channel.connect().await.unwrap());
        client.status(StatusRequest {}).await.unwrap().into_inner()
    });
    let file = super::path(NAME).with_extension("lab");
    fs::write(file, prost::Message::encode_to_vec(&answer)).unwrap();
}

/// The page of several, with one that does not answer.
fn several(processes: &[(&str, &str)], theme: &Theme, size: Size) -> Buffer {
    let now = Instant::now();
    let shown = |(id, (address, recording)): (u64, &(&str, &str))| {
        let mut state = super::at_the_end(recording, size);
        state.prepare();
        let snapshot = state.shown();
        let verdict = (*snapshot.verdict).clone();
        let summary = Summary::new(&snapshot.model, &snapshot.findings, verdict);
        Arc::new(Process {
            connection: Connection::Live,
            summary: Some(Box::new(summary)),
            ..Process::new(id, (*address).to_owned(), false)
        })
    };
    let mut all: Vec<Arc<Process>> = (0..).zip(processes).map(shown).collect();
    all.push(Arc::new(Process {
        connection: Connection::Lost {
            problem: "connection refused: nothing listens on 10.0.0.11:6669".into(),
            retry_at: Some(now + Duration::from_secs(2)),
        },
        ..Process::new(u64::MAX, "10.0.0.11:6669".into(), false)
    }));
    let mut page = Several::new(size, Keymap::default(), now);
    page.found(all);
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
    let drawn = terminal.draw(|frame| ui::several::render(&page, theme, frame));
    drawn.unwrap();
    terminal.backend().buffer().clone()
}

fn svg(picture: &Shown, theme: ThemeId) -> String {
    let size = Size::new(picture.size.0, picture.size.1);
    let theme = Theme::built_in(theme, Depth::True, false);
    picture::svg(
        &screen_of(picture, &theme, size),
        theme.canvas(),
        &format!("looptop: {}", picture.about),
    )
}

/// Set to write the pictures and their page instead of comparing them.
const UPDATE: &str = "LOOPTOP_UPDATE_GENERATED";

fn compare(path: &Path, text: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert!(
        fs::read_to_string(path).unwrap_or_default() == text,
        "{} is not what looptop shows; run this test with {UPDATE}=1, and look at it",
        path.display()
    );
}

/// The element that shows a picture as a reader's screen is, light or dark.
fn element(folder: &str, picture: &Shown) -> String {
    let (name, about) = (picture.name, picture.about);
    format!(
        "<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"{folder}{name}-dark.svg\">\n  \
         <img alt=\"{about}\" src=\"{folder}{name}-light.svg\">\n</picture>\n"
    )
}

#[test]
fn pictures_are_what_the_program_shows() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut page = String::from(
        "# Views\n\nWhat the screen shows, of recordings of the lab (`tests/recordings/`). The program saved\n\
         these pictures itself, as its key `S` does; a test makes them anew and compares:\n\n\
         ```sh\nLOOPTOP_UPDATE_GENERATED=1 cargo test -p looptop --test recordings pictures\n```\n",
    );
    for picture in PICTURES {
        for (theme, ending) in [(ThemeId::Light, "light"), (ThemeId::Dark, "dark")] {
            let path = docs.join(format!("pictures/{}-{ending}.svg", picture.name));
            compare(&path, &svg(picture, theme));
        }
        let mut title = picture.about.to_owned();
        title[..1].make_ascii_uppercase();
        let shown = element("pictures/", picture);
        let _ = write!(page, "\n{title}.\n\n{shown}");
    }
    compare(&docs.join("views.md"), &page);
    let files = fs::read_dir(docs.join("pictures")).unwrap();
    assert_eq!(
        files.count(),
        PICTURES.len() * 2,
        "a picture that nobody makes"
    );

    for (page, folder, name) in ELSEWHERE {
        let text = fs::read_to_string(docs.join("..").join(page)).unwrap();
        let picture = PICTURES.iter().find(|picture| picture.name == name);
        let shown = element(folder, picture.unwrap());
        assert!(text.contains(&shown), "{page} should have:\n{shown}");
    }
}
