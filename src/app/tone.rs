//! What a piece of text means; a theme says how that looks.

/// Meanings that a theme gives a look to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    /// Ordinary text.
    Text,
    /// Of lesser weight: units, finished tasks, what is unknown.
    Dim,
    /// Of greater weight: names, figures that matter.
    Strong,
    /// All is well.
    Good,
    /// Worth knowing.
    Notice,
    /// Others wait because of it.
    Warning,
    /// The loop stands still.
    Critical,
    /// A task or thread that runs.
    Running,
    /// A task that waits for a worker.
    Scheduled,
    /// Bars and lines of a chart.
    Chart,
    /// Rules and boxes.
    Border,
    /// Titles of panels, names of columns.
    Title,
    /// The column that sorts, the tab that is open.
    Active,
    /// A key that can be pressed.
    Key,
    /// The row under the cursor.
    Selected,
    /// The badge of a live connection.
    BadgeLive,
    /// The badge of a connection that is not live.
    BadgeLost,
    /// The badge of a frozen screen.
    BadgeFrozen,
    /// Text that is typed in.
    Input,
}

impl Tone {
    /// All of them, as a theme must name them.
    pub const ALL: [Tone; 19] = [
        Tone::Text,
        Tone::Dim,
        Tone::Strong,
        Tone::Good,
        Tone::Notice,
        Tone::Warning,
        Tone::Critical,
        Tone::Running,
        Tone::Scheduled,
        Tone::Chart,
        Tone::Border,
        Tone::Title,
        Tone::Active,
        Tone::Key,
        Tone::Selected,
        Tone::BadgeLive,
        Tone::BadgeLost,
        Tone::BadgeFrozen,
        Tone::Input,
    ];
}
