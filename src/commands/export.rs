//! `looptop export`: a recording for other programs, or a target, which is recorded first.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::{record, runtime};
use crate::{
    cli::{Export, Record},
    export::{Format, folded, perfetto, pprof, table, walk::Walked},
    record::{OpenError, Recording},
    source::Target,
};

/// Exports, and says on standard error what there is to say of it.
pub(super) fn run(mut options: Export) -> anyhow::Result<ExitCode> {
    let recorded = match live(&options.file) {
        Some(target) => Some(Recorded::of(target, options.window)?),
        None => None,
    };
    if let Some(recorded) = &recorded {
        options.file.clone_from(&recorded.0);
    }
    let options = &options;
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

/// What names a target that is no file: an address, or a process. Whatever exists as a
/// file is one.
fn live(named: &Path) -> Option<String> {
    let text = named.to_str()?;
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_address = is_number || text.contains(':');
    let target = text.parse::<Target>().ok()?;
    (is_address && !target.is_past() && !named.exists()).then(|| text.to_owned())
}

/// A recording that goes when it was exported.
struct Recorded(PathBuf);

impl Recorded {
    /// Records a target for a while.
    fn of(target: String, window: Duration) -> anyhow::Result<Self> {
        let name = format!("looptop-export-{}.looptop", std::process::id());
        let recorded = Self(std::env::temp_dir().join(name));
        let options = Record {
            target: Some(target),
            more: Vec::new(),
            output: recorded.0.clone(),
            window: Some(window),
            last: None,
            max_bytes: None,
            redact: false,
            force: false,
            timeout: ATTACH,
        };
        let runtime = runtime()?;
        let done = runtime.block_on(record::record(&options, |_| {
            eprintln!("recording for {} s; Ctrl-C ends", window.as_secs());
        }));
        runtime.shutdown_background();
        done?;
        Ok(recorded)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Where it cannot be removed it is one of the temporary files that stay.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How long a target has to answer.
const ATTACH: Duration = Duration::from_secs(5);

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
    /// A trace or a profile is no text.
    #[error("a {what} is no text for a terminal; name a file with -o, and open it {how}")]
    Terminal {
        /// Which of them.
        what: &'static str,
        /// How it is opened.
        how: &'static str,
    },
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
        if let Some(refusal) = no_text(options.format).filter(|_| stdout.is_terminal()) {
            return Err(refusal);
        }
        let mut out = BufWriter::new(stdout);
        let walked = write(&recording, options, &mut out).map_err(ExportError::Output)?;
        out.flush().map_err(ExportError::Output)?;
        walked
    };
    Ok(remarks(&recording, &walked))
}

/// Why a format is not for a terminal.
fn no_text(format: Format) -> Option<ExportError> {
    let (what, how) = match format {
        Format::Perfetto => ("trace", "at ui.perfetto.dev"),
        Format::Pprof => ("profile", "with `go tool pprof`"),
        Format::Folded | Format::Json | Format::Csv => return None,
    };
    Some(ExportError::Terminal { what, how })
}

fn write(recording: &Recording, options: &Export, out: &mut impl Write) -> io::Result<Walked> {
    match options.format {
        Format::Perfetto => perfetto::write(recording, out),
        Format::Folded => folded::write(recording, out),
        Format::Pprof => pprof::write(recording, out),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address_is_recorded_and_what_is_a_file_is_opened() {
        for (named, is_live) in [
            ("127.0.0.1:6669", true),
            ("http://[::1]:6669", true),
            ("unix:/run/app.sock", true),
            ("pid:7", true),
            ("6669", true),
            ("missing.looptop", false),
            ("run/a.looptop", false),
            ("core:core.7", false),
            ("ftp://x", false),
            ("", false),
        ] {
            assert_eq!(live(Path::new(named)).is_some(), is_live, "{named}");
        }
    }

    #[test]
    fn only_text_is_for_a_terminal() {
        use clap::ValueEnum;
        let refused = Format::value_variants()
            .iter()
            .filter(|f| no_text(**f).is_some());
        let refused: Vec<_> = refused.copied().collect();
        assert_eq!(refused, [Format::Perfetto, Format::Pprof]);
    }
}
