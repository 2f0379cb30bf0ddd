//! `looptop export`: a recording for other programs.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use crate::{
    cli::Export,
    export::{Format, folded, perfetto, table, walk::Walked},
    record::{OpenError, Recording},
};

/// Exports, and says on standard error what there is to say of it.
pub(super) fn run(options: &Export) -> anyhow::Result<ExitCode> {
    let remarks = export(options).map_err(|error| match error {
        // A reader that has seen enough is no error.
        ExportError::Output(error) => error.into(),
        error => anyhow::Error::new(error),
    })?;
    for remark in remarks {
        eprintln!("looptop: {remark}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The recording cannot be read.
    #[error("`{}` cannot be opened: {error}", .path.display())]
    Open {
        /// The recording.
        path: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// The output cannot be written.
    #[error("cannot export to `{}`: {error}{}", .path.display(), advice(.error))]
    Write {
        /// The output.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Standard output cannot be written.
    #[error(transparent)]
    Output(io::Error),
    /// A trace is no text.
    #[error(
        "a trace is no text for a terminal; name a file with -o, and open it at ui.perfetto.dev"
    )]
    Terminal,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "; choose another name, or overwrite it with --force",
        io::ErrorKind::NotFound => "; does its directory exist?",
        _ => "",
    }
}

/// Exports as `options` say; what is to be said of it afterwards, a sentence
/// each, is for standard error.
pub fn export(options: &Export) -> Result<Vec<String>, ExportError> {
    let recording = Recording::open(&options.file).map_err(|error| ExportError::Open {
        path: options.file.clone(),
        error,
    })?;
    let walked = if let Some(path) = &options.output {
        let failed = |error| ExportError::Write {
            path: path.clone(),
            error,
        };
        let file = if options.force {
            File::create(path)
        } else {
            File::create_new(path)
        };
        let mut out = BufWriter::new(file.map_err(failed)?);
        let walked = write(&recording, options, &mut out).map_err(failed)?;
        out.flush().map_err(failed)?;
        walked
    } else {
        let stdout = io::stdout().lock();
        if options.format == Format::Perfetto && stdout.is_terminal() {
            return Err(ExportError::Terminal);
        }
        let mut out = BufWriter::new(stdout);
        let walked = write(&recording, options, &mut out).map_err(ExportError::Output)?;
        out.flush().map_err(ExportError::Output)?;
        walked
    };
    Ok(remarks(&recording, &walked))
}

fn write(recording: &Recording, options: &Export, out: &mut impl Write) -> io::Result<Walked> {
    match options.format {
        Format::Perfetto => perfetto::write(recording, out),
        Format::Folded => folded::write(recording, out),
        Format::Json => table::write_json(recording, out),
        Format::Csv => table::write_csv(recording, options.table, out),
    }
}

fn remarks(recording: &Recording, walked: &Walked) -> Vec<String> {
    let mut remarks: Vec<String> = recording.remark().map(str::to_owned).into_iter().collect();
    remarks.extend(walked.gaps.iter().cloned());
    if walked.stalls_left_out > 0 {
        remarks.push(format!(
            "{} reports of stalls were left out: there are more than an export holds",
            walked.stalls_left_out
        ));
    }
    if walked.stalls.is_empty() {
        remarks.push("the recording has no stall".to_owned());
    }
    remarks
}
