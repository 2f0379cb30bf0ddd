//! Where a wait is written, as a reader of the application's code knows it.

use std::path::Path;

use looptop_symbols::{
    Crates, Origin, name,
    origin::{Seen, is_of_known_crates, origin},
};

use crate::model::{AwaitKind, AwaitLink, AwaitNode, AwaitShape, LocationId, Model};

/// A line of the application's async code, at which a task is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The node of the shape that it is of.
    pub node: usize,
    /// The async fn, in a few words; empty where it has no name.
    pub function: String,
    /// The line; `None` where the binary does not say.
    pub location: Option<LocationId>,
    /// A macro wrote the await, and the line is where the function begins.
    pub by_macro: bool,
}

/// Whose code a future is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// tokio's, the standard library's, a web server's: it only passes on.
    Plumbing,
    /// A library's that the application uses.
    Library,
    /// The application's own.
    Application,
}

/// Whose code a future of a shape is, by its type or poll function, and the file in
/// which it waits.
pub fn whose(model: &Model, node: &AwaitNode) -> Whose {
    let name = base_name(model.text(node.future));
    let location = model.location(node.location);
    if !name.contains("::") {
        // It has no name but the line at which it is written, or none at all.
        let written = name.rsplit_once(':').map(|(file, _)| file);
        return by_file(location.map(|l| l.file).or(written));
    }
    let by_name = |crates: &Crates| {
        let seen = Seen {
            function: Some(name),
            file: None,
            binary: Some(Path::new("application")),
            own_c: false,
        };
        of_origin(origin(seen, crates))
    };
    let mut crates = Crates::default();
    let known = by_name(&crates);
    match location {
        // Nothing else says of a crate that it is a dependency.
        Some(location) if known == Whose::Application => {
            crates.learn(location.file);
            by_name(&crates)
        }
        None if known == Whose::Application && is_of_known_crates(name) => Whose::Library,
        _ => known,
    }
}

fn by_file(file: Option<&str>) -> Whose {
    let seen = Seen {
        function: None,
        file,
        binary: Some(Path::new("application")),
        own_c: false,
    };
    of_origin(origin(seen, &Crates::default()))
}

fn of_origin(origin: Origin) -> Whose {
    match origin {
        Origin::User => Whose::Application,
        Origin::Dependency => Whose::Library,
        Origin::Plumbing | Origin::System => Whose::Plumbing,
    }
}

/// The place of what is waited for at `node`: the innermost of the application's async
/// code around it; of a library's where none is the application's own; never tokio's,
/// which helps nobody.
pub fn place(model: &Model, shape: &AwaitShape, node: usize) -> Option<Place> {
    let mut best: Option<(Rank, usize)> = None;
    for at in path(shape, node) {
        let of = &shape.nodes[at];
        let whose = whose(model, of);
        let rank = Rank {
            whose,
            has_line: of.location.is_some(),
        };
        // A name alone says where only of async code.
        let is_telling = rank.has_line || is_async(of.kind);
        if whose == Whose::Plumbing || !is_telling {
            continue;
        }
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, at));
        }
    }
    let (_, at) = best?;
    let of = &shape.nodes[at];
    Some(Place {
        node: at,
        function: function_words(model, of),
        location: of.location,
        by_macro: of.by_macro,
    })
}

/// Which place says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    whose: Whose,
    has_line: bool,
}

fn is_async(kind: AwaitKind) -> bool {
    matches!(kind, AwaitKind::AsyncFn | AwaitKind::AsyncBlock)
}

/// From a node out to the task's own future.
fn path(shape: &AwaitShape, node: usize) -> impl Iterator<Item = usize> {
    let first = (node < shape.nodes.len()).then_some(node);
    std::iter::successors(first, |at| shape.parent(*at))
}

/// A future is polled with its task: nothing around it is kept, or was not polled yet.
pub fn is_polled(shape: &AwaitShape, node: usize) -> bool {
    path(shape, node).all(|at| {
        !matches!(
            shape.nodes[at].link,
            AwaitLink::Kept | AwaitLink::NotStarted
        )
    })
}

/// The future within which one lives that is kept and not polled; the outermost of such.
pub fn kept_in(shape: &AwaitShape, node: usize) -> Option<usize> {
    let kept = path(shape, node).filter(|at| shape.nodes[*at].link == AwaitLink::Kept);
    kept.last()
}

/// The function of a future in a few words: "`audit::reload`".
pub fn function_words(model: &Model, node: &AwaitNode) -> String {
    match model.text(node.future) {
        "" => String::new(),
        name => name::short_future(base_name(name)),
    }
}

/// A name without the arguments of its last part: what a future is of, and not what it
/// is about. Of `app::audit::{async_fn_env#0}<T>` all but the `<T>`.
fn base_name(name: &str) -> &str {
    if !name.ends_with('>') || name.starts_with('<') {
        return name;
    }
    let mut depth = 0_u32;
    let bytes = name.as_bytes();
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            // Not that of `->`.
            b'>' if at > 0 && bytes[at - 1] != b'-' => depth += 1,
            b'<' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &name[..at];
                }
            }
            _ => {}
        }
    }
    name
}
