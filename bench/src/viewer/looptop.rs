//! A viewer of looptop's agent.

use std::collections::HashSet;

use looptop_wire::proto::{StallState, WatchRequest, agent_client::AgentClient};

use super::{Received, ViewerOptions, connect, seen};

/// Messages are at most 1 MiB; room for more would hide a mistake.
const MAX_FRAME_BYTES: usize = 2 << 20;

pub(super) async fn watch(options: &ViewerOptions, received: &mut Received) -> anyhow::Result<()> {
    let channel = connect(&options.address).await?;
    let mut client = AgentClient::new(channel).max_decoding_message_size(MAX_FRAME_BYTES);
    let request = WatchRequest {
        interval_ns: options.interval_ms * 1_000_000,
        ..WatchRequest::default()
    };
    let mut frames = client.watch(request).await?.into_inner();
    let mut known = HashSet::new();
    while let Some(frame) = frames.message().await? {
        received.take(&frame);
        for stall in &frame.stalls {
            if known.insert(stall.id) {
                let how = match stall.state() {
                    StallState::Live => "live",
                    _ => "ended",
                };
                seen(
                    how,
                    i128::from(frame.now_ns) - i128::from(stall.started_at_ns),
                )?;
            }
        }
    }
    Ok(())
}
