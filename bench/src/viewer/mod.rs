//! Viewers without a screen: they attach, receive and decode everything, and
//! say when they first saw a stall.

mod console;
mod looptop;

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nix::time::{ClockId, clock_gettime};
use tokio::io::AsyncReadExt;

use crate::{configuration::Protocol, machine};

/// Which viewer, and of what.
#[derive(Args)]
pub(crate) struct ViewerOptions {
    protocol: Protocol,
    /// `127.0.0.1:6669`
    #[arg(long)]
    address: String,
    /// How often looptop's agent is asked to send.
    #[arg(long, default_value_t = 100)]
    interval_ms: u64,
    /// Run on this CPU only.
    #[arg(long)]
    cpu: Option<usize>,
}

/// Says `attached` with the first message, `seen HOW WHEN BEGAN` for each stall
/// (instants of the system's monotonic clock, ns), and when its standard input
/// ends, how much it received.
pub(crate) fn run(options: &ViewerOptions) -> anyhow::Result<()> {
    if let Some(cpu) = options.cpu {
        machine::pin(cpu)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut received = Received::default();
    let outcome = runtime.block_on(async {
        let watch = async {
            match options.protocol {
                Protocol::Looptop => looptop::watch(options, &mut received).await,
                Protocol::Console => console::watch(options, &mut received).await,
            }
        };
        tokio::select! {
            outcome = watch => outcome,
            () = dismissed() => Ok(()),
        }
    });
    println!("messages {}", received.messages);
    println!("bytes {}", received.bytes);
    // A thread still waits for the end of our input.
    runtime.shutdown_background();
    outcome
}

/// How much arrived.
#[derive(Default)]
struct Received {
    messages: u64,
    bytes: u64,
}

impl Received {
    fn take(&mut self, message: &impl prost::Message) {
        if self.messages == 0 {
            println!("attached");
        }
        self.messages += 1;
        self.bytes += message.encoded_len() as u64;
    }
}

/// The program under test may still be starting.
async fn connect(address: &str) -> anyhow::Result<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
    let mut attempts = 0;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) if attempts >= 200 => {
                return Err(error).context(format!("nobody answers at {address}"));
            }
            Err(_) => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }
}

async fn dismissed() {
    let mut rest = Vec::new();
    // An error ends the wait as well as the end of input does.
    drop(tokio::io::stdin().read_to_end(&mut rest).await);
}

/// Now, on the clock that all processes share.
fn monotonic_ns() -> anyhow::Result<i128> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(now.as_nanos() as i128)
}

/// A stall that began `age_ns` before what was just received was made.
fn seen(how: &str, age_ns: i128) -> anyhow::Result<()> {
    let now = monotonic_ns()?;
    println!("seen {how} {now} {}", now - age_ns);
    Ok(())
}
