//! What a user can do, and what the program then has to do outside of itself.

use crate::model::TaskId;

use super::{Playback, SourcePlace, ThemeId, Travel, Twin, ViewId};

/// Everything that can be asked of the program: keys, the mouse and tests all
/// speak it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ends the program.
    Quit,
    /// Closes what is on top: overlay, details, filter. Never quits.
    Back,
    /// Goes back to the page of several processes.
    Processes,
    /// Opens or closes the command palette.
    Palette,
    /// Does what is under the cursor of the command palette.
    Choose,
    /// Opens or closes the help.
    Help,
    /// Explains the finding under the cursor, or the verdict's.
    Explain,
    /// Copies that finding.
    Copy,
    /// Opens the line of that finding in an editor.
    Edit,
    /// Freezes the screen, or lets it live again.
    Freeze,
    /// Stops the program as a shell's job.
    Suspend,
    /// Opens a view.
    Show(ViewId),
    /// Opens the view to the right.
    NextView,
    /// Opens the view to the left.
    PreviousView,
    /// Moves the cursor, or scrolls a page.
    Move(Motion),
    /// Puts the cursor on a row, counted from 0 over all rows.
    Select(usize),
    /// Opens what is under the cursor.
    Open,
    /// Shows columns further right.
    PanRight,
    /// Shows columns further left.
    PanLeft,
    /// Sorts by the next visible column.
    SortNext,
    /// Sorts by the previous visible column.
    SortPrevious,
    /// Sorts by a column, or the other way round where it already does.
    SortBy(usize),
    /// Sorts the other way round.
    Invert,
    /// Groups the rows of the view: stalls by culprit, resources by operation,
    /// tasks by location, by name, as a tree.
    Group,
    /// Shows only tasks that a finding is about, or all.
    Warned,
    /// Asks a paused console-subscriber to go on.
    Resume,
    /// Shows or hides finished tasks.
    Finished,
    /// Shows all frames of a stack, or the folded stack.
    AllFrames,
    /// Charts show a longer time.
    LongerSpan,
    /// Charts show a shorter time.
    ShorterSpan,
    /// Runs a twin of the lab's scenario under the cursor.
    Run(Twin),
    /// Runs the other twin of it.
    OtherTwin,
    /// Shows the screen in the next theme.
    NextTheme,
    /// Shows it in this one.
    Theme(ThemeId),
    /// Saves the screen as text and as a picture.
    SaveScreen,
    /// Shows verdict and figures in large letters, or the view again.
    PresenterMode,
    /// Begins to edit the filter.
    Filter,
    /// Goes somewhere in time.
    Travel(Travel),
    /// Plays a recording faster.
    Faster,
    /// Plays a recording slower.
    Slower,
    /// Records what comes in, or ends that.
    Record,
    /// Saves the past that the screen can go back to.
    SavePast,
    /// Types into the filter, or the command palette.
    Type(String),
    /// Erases the last character of what is typed.
    Erase,
    /// Erases the last word of it.
    EraseWord,
    /// Applies the filter and ends editing.
    Accept,
    /// Clears the filter and ends editing.
    Clear,
}

/// A movement of the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// So many rows, as a mouse wheel does; negative is up.
    By(i16),
    /// As many rows as are visible.
    PageUp,
    /// As many rows as are visible.
    PageDown,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
}

/// What [`update`](super::update) leaves to the run loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// End the program.
    Quit,
    /// Go back to the page of several processes.
    Leave,
    /// Put text into the terminal's clipboard.
    Copy(String),
    /// Open a line in an editor.
    Edit(SourcePlace),
    /// Stop as a shell's job.
    Suspend,
    /// Keep this theme in the configuration.
    KeepTheme(ThemeId),
    /// Save the screen as text and as a picture.
    SaveScreen,
    /// Ask the source for the details of this task, or of none.
    WatchTask(Option<TaskId>),
    /// Have the lab run this twin of this scenario.
    RunTwin(String, Twin),
    /// Ask the source to make a paused server go on.
    Resume,
    /// Look up the names of the stacks that are new in the live model.
    NameStacks,
    /// Show a moment of the past of the live session.
    Travel(Travel),
    /// Do this with the recording.
    Playback(Playback),
    /// Begin to record, or end it.
    Record,
    /// Save the past of the live session to a file.
    SavePast,
}
