//! A phase lasts from one switch of the lab to the next. Work that belongs to a
//! phase ends with it, so that a cure is felt at once and figures do not mix.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio_util::sync::CancellationToken;

/// Request header in which the lab's own load names its phase. Requests without
/// it (from `curl`) are served in any phase.
pub(crate) const HEADER: &str = "x-lab-phase";

tokio::task_local! {
    static OF_REQUEST: Option<Ticket>;
}

/// Which phase it is. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Phase(Arc<Shared>);

#[derive(Default)]
struct Shared {
    number: AtomicU64,
    end: Mutex<CancellationToken>,
}

impl Phase {
    /// The number of the phase, from 0.
    pub(crate) fn number(&self) -> u64 {
        // Relaxed: the number orders nothing else.
        self.0.number.load(Ordering::Relaxed)
    }

    /// Begins the next phase and returns its number. Wakes whoever waits for the
    /// [`end`](Self::end) of this one, so call it where the observed tasks'
    /// wakes can be seen.
    pub(crate) fn advance(&self) -> u64 {
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.0.number.fetch_add(1, Ordering::Relaxed) + 1;
        std::mem::take(&mut *end).cancel();
        number
    }

    /// Is cancelled when this phase ends.
    pub(crate) fn end(&self) -> CancellationToken {
        let end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.clone()
    }

    fn ticket(&self, request: &Request) -> Option<Ticket> {
        let number = request.headers().get(HEADER)?.to_str().ok()?.parse().ok()?;
        Some(Ticket {
            number,
            phase: self.clone(),
        })
    }
}

/// The phase for which a request was sent.
#[derive(Clone)]
pub(crate) struct Ticket {
    number: u64,
    phase: Phase,
}

impl Ticket {
    /// The ticket of the request that is being answered, if it is from the load.
    pub(crate) fn of_request() -> Option<Self> {
        OF_REQUEST.try_with(Clone::clone).ok().flatten()
    }

    /// Whether its phase is over, so that nobody waits for the answer.
    pub(crate) fn is_stale(&self) -> bool {
        self.number != self.phase.number()
    }
}

/// Refuses requests of a phase that is over and remembers the phase of others.
pub(crate) async fn admit(State(phase): State<Phase>, request: Request, next: Next) -> Response {
    let ticket = phase.ticket(&request);
    if ticket.as_ref().is_some_and(Ticket::is_stale) {
        return over().into_response();
    }
    OF_REQUEST.scope(ticket, next.run(request)).await
}

/// The answer to a request whose phase is over.
pub(crate) fn over() -> (StatusCode, &'static str) {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the lab was switched while this request waited\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_phase_ends_with_it() {
        let phase = Phase::default();
        let end = phase.end();
        let ticket = Ticket {
            number: phase.number(),
            phase: phase.clone(),
        };
        assert!(!end.is_cancelled() && !ticket.is_stale());

        assert_eq!(phase.advance(), 1);
        assert!(end.is_cancelled() && ticket.is_stale());
        assert!(!phase.end().is_cancelled());
    }
}
