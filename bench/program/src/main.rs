//! The program that the benchmarks observe. One workload a run; results are
//! lines `name value` on standard output, which the driver reads.
//!
//! ```text
//! looptop-bench-program about
//! looptop-bench-program micro --millis 60
//! looptop-bench-program http --cpu 0
//! looptop-bench-program idle --tasks 10000 --cap-mb 3000
//! looptop-bench-program churn --rate 1000 --seconds 60 --cap-mb 3000
//! looptop-bench-program stall --stalls 5 --gap-ms 1500 --churn 0
//! looptop-bench-program count --operation poll --times 20000
//! looptop-bench-program scraped --tasks 10000
//! looptop-bench-program crowd --tasks 100000
//! looptop-bench-program heap --megabytes 1000 --tasks 500
//! looptop-bench-program hold --workers 4 --how compute
//! looptop-bench-program turnover --rate 20000 --staying 500
//! ```

mod arguments;
mod process;
mod setup;
mod work;

use std::{error::Error, process::ExitCode};

use arguments::Arguments;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("looptop-bench-program: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (workload, arguments) = Arguments::of_process()?;
    if let Some(cpu) = arguments.number("cpu")? {
        process::pin(usize::try_from(cpu)?)?;
    }
    if let Some(megabytes) = arguments.number("cap-mb")? {
        process::limit_memory(megabytes.saturating_mul(2) << 20)?;
    }
    match workload.as_str() {
        "about" => {
            about();
            Ok(())
        }
        "micro" => work::micro::run(&arguments),
        "http" => work::http::run(&arguments),
        "idle" => work::idle::run(&arguments),
        "churn" => work::churn::run(&arguments),
        "stall" => work::stall::run(&arguments),
        "count" => work::count::run(&arguments),
        "scraped" => work::scraped::run(&arguments),
        #[cfg(feature = "bare")]
        "crowd" => work::crowd::run(&arguments),
        #[cfg(feature = "bare")]
        "heap" => work::heap::run(&arguments),
        #[cfg(feature = "bare")]
        "hold" => work::hold::run(&arguments),
        #[cfg(feature = "bare")]
        "turnover" => work::turnover::run(&arguments),
        other => Err(format!("there is no workload {other:?}").into()),
    }
}

/// With what this binary was built, so that the driver can check it.
fn about() {
    println!("tokio_unstable {}", u8::from(cfg!(tokio_unstable)));
    println!("debug_assertions {}", u8::from(cfg!(debug_assertions)));
}
