//! The pictures of README and docs/views.md: screens of recordings, saved as `S` saves
//! them, on a light and on a dark background.

use std::{fmt::Write as _, fs, path::Path};

use looptop::{
    app::{Key, State, ThemeId, bindings, update},
    ui::{Depth, Theme, paint, picture},
};
use ratatui::{buffer::Buffer, layout::Rect, layout::Size};

/// A picture: its file, the recording, the keys that lead to it, what it shows.
struct Shown {
    name: &'static str,
    recording: &'static str,
    keys: &'static str,
    size: (u16, u16),
    about: &'static str,
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
        recording,
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

fn svg(picture: &Shown, theme: ThemeId) -> String {
    let size = Size::new(picture.size.0, picture.size.1);
    let mut state: State = super::at_the_end(picture.recording, size);
    state.prepare();
    for c in picture.keys.chars() {
        if let Some(action) = bindings::dispatch(&state, key(c)) {
            update(&mut state, action);
        }
    }
    state.prepare();
    let theme = Theme::built_in(theme, Depth::True, false);
    let mut buffer = Buffer::empty(Rect::new(0, 0, size.width, size.height));
    paint(&state, &theme, &mut buffer);
    picture::svg(
        &buffer,
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

    let readme = fs::read_to_string(docs.join("../README.md")).unwrap();
    let first = element("docs/pictures/", &PICTURES[0]);
    assert!(readme.contains(&first), "README.md should have:\n{first}");
}
