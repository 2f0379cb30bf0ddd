//! Recordings for other programs.
//!
//! - [`walk`]: through a recording once, with the model as it was,
//! - [`perfetto`]: a trace for ui.perfetto.dev,
//! - [`folded`]: stacks of stalls, weighted by time, for flame graphs,
//! - [`pprof`]: the same as a profile for `go tool pprof` and others,
//! - [`table`]: JSON and CSV.
//!
//! `docs/recording.md` describes what each holds.

pub mod folded;
pub mod perfetto;
pub mod pprof;
pub mod table;
mod trace_schema;
pub mod walk;

#[cfg(test)]
mod tests;

/// What a recording is turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A trace for ui.perfetto.dev
    Perfetto,
    /// Stacks of stalls in microseconds, for flame graphs
    Folded,
    /// A gzipped profile of stalls, for `go tool pprof`, Parca, Pyroscope
    Pprof,
    /// One object: sessions, stalls and samples
    Json,
    /// One of the tables that --table names
    Csv,
}

/// A table of the CSV format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Table {
    /// A row for each frame
    #[default]
    Samples,
    /// A row for each stall
    Stalls,
}
