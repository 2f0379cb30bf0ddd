//! dial9 with its documented set-up: a rotating trace on disk, task tracking on.
//! The work uses `tokio::spawn` as in every other configuration; dial9 then sees
//! polls by the runtime's hooks (its wake events would need `dial9::spawn`).

use std::{io, path::PathBuf};

use dial9_tokio_telemetry::telemetry::{
    Dial9HandleTokioExt, DiskBuffer, TokioAttachOptions, recorder,
};
use tokio::runtime::{Builder, Runtime};

/// Stops the recorder when the runtime is gone.
pub(super) struct Keep {
    _recorder: Box<dyn std::any::Any>,
}

pub(super) fn start(builder: Builder) -> io::Result<(Runtime, Keep)> {
    // The driver gives each run a directory and removes it afterwards.
    let directory =
        std::env::var_os("BENCH_TRACE_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let writer = DiskBuffer::builder()
        .base_path(directory.join("trace.bin"))
        .max_file_size(64 * 1024 * 1024)
        .max_total_size(256 * 1024 * 1024)
        .build()?;
    let recorder = recorder(writer).build();
    let options = TokioAttachOptions::builder()
        .task_tracking_enabled(true)
        .build();
    let runtime = recorder.handle().attach_tokio_runtime(builder, options)?;
    Ok((
        runtime,
        Keep {
            _recorder: Box::new(recorder),
        },
    ))
}
