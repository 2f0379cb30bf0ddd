//! What a live peer must not send: that which only recordings hold.

use crate::proto::Frame;

/// A frame held parts that are for recordings alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlyInRecordings {
    /// How many.
    pub parts: usize,
}

impl std::fmt::Display for OnlyInRecordings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { parts } = self;
        let s = if *parts == 1 { "" } else { "s" };
        write!(
            f,
            "{parts} part{s} of a frame that only recordings hold \
             (history, names of stacks, numbers of resources)"
        )
    }
}

impl std::error::Error for OnlyInRecordings {}

/// Checks that a frame holds nothing that only recordings do, so that a live peer
/// cannot write the viewer's history.
pub fn check(frame: &Frame) -> Result<(), OnlyInRecordings> {
    let numbers = frame.resources.iter().filter(|r| r.number != 0).count()
        + frame.async_ops.iter().filter(|op| op.number != 0).count();
    let parts = usize::from(frame.history.is_some()) + frame.names.len() + numbers;
    if parts == 0 {
        Ok(())
    } else {
        Err(OnlyInRecordings { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        proto::{AsyncOp, Resource},
        recorded::{History, NamedStack},
    };

    #[test]
    fn parts_of_recordings_are_counted() {
        let mut frame = Frame {
            resources: vec![Resource::default()],
            async_ops: vec![AsyncOp::default()],
            ..Frame::default()
        };
        assert_eq!(check(&frame), Ok(()));
        frame.history = Some(History::default());
        let error = check(&frame).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 part of a frame that only recordings hold (history, names of stacks, numbers \
             of resources)"
        );
        frame.names = vec![NamedStack::default(); 2];
        frame.resources[0].number = 1;
        frame.async_ops[0].number = 1;
        assert_eq!(check(&frame), Err(OnlyInRecordings { parts: 5 }));
    }
}
