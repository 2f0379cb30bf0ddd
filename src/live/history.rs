//! The history of a live session in memory, to go back to, and its recording.
//!
//! The work is done on a thread of its own. Here orders go to it, and what it
//! finds comes back as events.

pub(super) mod file;
mod save;
mod thread;

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use looptop_wire::proto::{Frame, HelloResponse};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot,
    },
    time::timeout_at,
};

use crate::{
    app::{Event, State, Travel},
    model::{Model, Resolved, StackOf},
};
use thread::{HistoryThread, LentModel, ModelRequest, NewFrame, Note, Order, Step};

/// The history of a live session, and its recording. Dropping it ends a recording,
/// and waits for what is being saved.
#[derive(Debug)]
pub struct LiveHistory {
    /// `None` only while this is dropped.
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    events: UnboundedReceiver<Event>,
    /// Whether the thread asks for a model.
    request: ModelRequest,
    hello: HelloResponse,
    /// What the thread has not received for lack of room.
    missed: Missed,
    /// The thread reads a large model.
    lent: Option<Lent>,
}

/// A model that the thread reads. Whoever changes it meanwhile copies all of it first.
#[derive(Debug)]
struct Lent {
    back: oneshot::Receiver<()>,
    until: Instant,
}

impl Lent {
    /// Waits until the thread has read the model, or has taken too long for it. Waits for
    /// ever where it reads none.
    async fn returned(lent: &mut Option<Self>) {
        let Some(Self { back, until }) = lent else {
            return std::future::pending().await;
        };
        // It is over too where the thread has dropped the order.
        let _ = timeout_at((*until).into(), back).await;
        *lent = None;
    }
}

/// A model with more tasks is not changed while the thread reads it: that takes less long
/// than a copy of it would be worth.
const LENT_FROM: usize = 10_000;
/// But no longer than this.
const LENT_FOR: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    Nothing,
    Frames,
    Session,
}

/// Orders that may wait: some seconds of frames. A thread that is further behind
/// misses some, which leaves a gap in the history rather than fills the memory.
const ROOM: usize = 64;

impl Default for LiveHistory {
    fn default() -> Self {
        let (orders, received) = sync_channel(ROOM);
        let (sender, events) = unbounded_channel();
        let request = ModelRequest::default();
        let history = HistoryThread::new(request.clone(), sender);
        let thread = std::thread::Builder::new().name("history".to_owned());
        // Without it every order is refused, and the user learns it.
        let thread = thread.spawn(move || history.serve(&received)).ok();
        Self {
            orders: Some(orders),
            thread,
            events,
            request,
            hello: HelloResponse::default(),
            missed: Missed::Nothing,
            lent: None,
        }
    }
}

impl LiveHistory {
    /// A session begins, or a connection to the same one anew.
    pub fn connected(&mut self, hello: &HelloResponse) {
        self.hello = hello.clone();
        // What was missed belongs to the connection before.
        self.missed = match self.send(Order::Connected(Box::new(hello.clone()))) {
            Ok(()) => Missed::Nothing,
            Err(_) => Missed::Session,
        };
    }

    /// The state has taken in this frame.
    /// `encoded` are the bytes in which it came.
    pub fn frame(&mut self, frame: &Arc<Frame>, encoded: Option<Bytes>, state: &State) {
        if !self.caught_up() {
            return;
        }
        let now = state.live_snapshot();
        let complete = !frame.more && now.model.complete;
        let asked = complete && self.request.take();
        let model = asked.then(|| Box::new(self.lend(&now.model)));
        let order = Order::Frame(NewFrame {
            frame: Arc::clone(frame),
            encoded,
            moment: now.model.now,
            note: Note {
                findings: Arc::clone(&now.findings),
                verdict: Arc::clone(&now.verdict),
            },
            model,
        });
        self.give(order);
    }

    fn lend(&mut self, model: &Arc<Model>) -> LentModel {
        let (giver, back) = oneshot::channel();
        if model.tasks.len() > LENT_FROM {
            let until = Instant::now() + LENT_FOR;
            self.lent = Some(Lent { back, until });
        }
        LentModel {
            model: Arc::clone(model),
            _back: giver,
        }
    }

    /// The thread reads a model, for which frames had better wait: [`event`](Self::event)
    /// ends with `None` when that is over.
    pub fn lends(&self) -> bool {
        self.lent.is_some()
    }

    /// A stack has names.
    pub fn named(&mut self, of: StackOf, stack: &Arc<Resolved>) {
        if self.caught_up() {
            self.give(Order::Named(of, Arc::clone(stack)));
        }
    }

    fn give(&mut self, order: Order) {
        if self.send(order).is_err() {
            self.missed = Missed::Frames;
        }
    }

    /// Sends the thread what it has missed. `false` where it still has no room.
    fn caught_up(&mut self) -> bool {
        if self.missed == Missed::Session
            && self
                .send(Order::Connected(Box::new(self.hello.clone())))
                .is_ok()
        {
            self.missed = Missed::Frames;
        }
        if self.missed == Missed::Frames && self.send(Order::Gap).is_ok() {
            self.missed = Missed::Nothing;
        }
        self.missed == Missed::Nothing
    }

    /// Shows another moment.
    pub fn travel(&mut self, to: Travel, state: &State) -> Option<Event> {
        let order = Order::Travel(Step {
            to,
            from: state.model().now,
            epoch: state.epoch(),
            watched: state.watched(),
        });
        self.ask(order)
    }

    /// Looks up what the watched task did before, as far as it is held.
    pub fn recall(&mut self, state: &State) -> Option<Event> {
        let task = state.watched()?;
        self.ask(Order::Recall(task, state.to_recall()))
    }

    /// Begins to record, or ends it.
    pub fn record(&mut self, state: &State) -> Option<Event> {
        let order = Order::Record {
            target: state.options.target.clone(),
            model: Arc::clone(state.live_model()),
        };
        self.ask(order)
    }

    /// Saves all that is held.
    pub fn save(&mut self, state: &State) -> Option<Event> {
        if state.model().session.id != self.hello.session {
            let sentence = "not saved: that process has ended, and its history is no longer held";
            return Some(Event::Notice(sentence.to_owned()));
        }
        let target = state.options.target.clone();
        self.ask(Order::Save { target })
    }

    /// What became of what was asked; `None` once a model that was lent is back. Waits for
    /// ever where there is nothing; safe to cancel.
    pub async fn event(&mut self) -> Option<Event> {
        let Self { events, lent, .. } = self;
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => Some(event),
                None => std::future::pending().await,
            },
            () = Lent::returned(lent) => None,
        }
    }

    /// Gives an order that the user waits for; returns why it is not carried out.
    fn ask(&self, order: Order) -> Option<Event> {
        let why = match self.send(order) {
            Ok(()) => return None,
            Err(TrySendError::Full(_)) => {
                "the history is busy with what was asked before; again in a moment"
            }
            Err(TrySendError::Disconnected(_)) => {
                "there is no history: its thread could not be started, or has failed"
            }
        };
        Some(Event::Notice(why.to_owned()))
    }

    fn send(&self, order: Order) -> Result<(), TrySendError<Order>> {
        match &self.orders {
            Some(orders) => orders.try_send(order),
            None => Err(TrySendError::Disconnected(order)),
        }
    }
}

impl Drop for LiveHistory {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // The user has asked for whole files. One that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        app::fixtures::{busy_minute, type_text},
        model::{Moment, TaskId},
    };

    use super::*;

    /// The state has taken in a busy minute, and the history holds it.
    fn busy() -> (State, LiveHistory) {
        let mut state = crate::app::fixtures::empty_state();
        let mut history = LiveHistory::default();
        let (hello, frames) = busy_minute();
        let now = state.now;
        let connected = Event::Connected {
            hello: Box::new(hello.clone()),
            kind: crate::model::SourceKind::Agent,
        };
        state.apply(connected, now);
        history.connected(&hello);
        for frame in frames {
            let frame = Arc::new(frame);
            state.apply(Event::Frame(Arc::clone(&frame)), now);
            history.frame(&frame, None, &state);
            settle(&mut history, &mut state);
        }
        (state, history)
    }

    /// Waits until all that was ordered is done, and takes in what it led to.
    fn settle(history: &mut LiveHistory, state: &mut State) {
        let (done, settled) = sync_channel(0);
        history.send(Order::Settle(done)).unwrap();
        // The other end is dropped.
        settled.recv().unwrap_err();
        while let Ok(event) = history.events.try_recv() {
            state.apply(event, state.now);
        }
    }

    fn travel(to: Travel, history: &mut LiveHistory, state: &mut State) {
        ordered(history.travel(to, state));
        settle(history, state);
    }

    fn recall(history: &mut LiveHistory, state: &mut State) {
        ordered(history.recall(state));
        settle(history, state);
    }

    /// The thread has received the order.
    #[expect(clippy::needless_pass_by_value, reason = "reads as a statement")]
    fn ordered(refused: Option<Event>) {
        assert!(refused.is_none(), "{refused:?}");
    }

    fn reach(state: &State) -> Option<u64> {
        let reach = state.activity()?.reach(state.model().now)?;
        Some(reach.as_secs())
    }

    #[test]
    fn details_of_a_task_begin_with_its_last_minute() {
        let (mut state, mut history) = busy();
        recall(&mut history, &mut state);
        assert!(state.activity().is_none(), "nobody looks at a task");
        type_text(&mut state, "2/report\n\n");
        assert_eq!(state.watched(), Some(TaskId(4)));
        assert_eq!(reach(&state), None);
        recall(&mut history, &mut state);
        assert_eq!(reach(&state), Some(60));
        type_text(&mut state, "\u{1b}");
        assert!(state.activity().is_none());
    }

    #[test]
    fn an_earlier_moment_has_its_own_minute() {
        let (mut state, mut history) = busy();
        type_text(&mut state, "2/report\n\n");
        recall(&mut history, &mut state);
        travel(Travel::FarBack, &mut history, &mut state);
        let window = Duration::from_secs(2);
        let now = state.model().now;
        // 61 s after the start; it stalled from 55 s to 57 s.
        let share = |at: Moment| {
            let activity = state.activity().unwrap();
            activity.columns(at, window, 1, None)[0].unwrap().busy
        };
        assert!(now < state.live_snapshot().model.now);
        assert!(share(now.minus(Duration::from_secs(4))).unwrap() > 0.95);
        assert!(share(now).unwrap() < 0.5);
        state.go_live();
        assert_eq!(reach(&state), Some(60));
    }

    #[test]
    fn steps_in_a_row_add_up_before_the_first_is_on_screen() {
        let (mut state, mut history) = busy();
        let live = state.model().now;
        for _ in 0..3 {
            ordered(history.travel(Travel::FarBack, &state));
        }
        settle(&mut history, &mut state);
        let back = |state: &State| live.since(state.model().now).as_secs();
        assert_eq!(back(&state), 30);
        travel(Travel::FarForward, &mut history, &mut state);
        assert_eq!(back(&state), 20);
        for _ in 0..3 {
            travel(Travel::FarForward, &mut history, &mut state);
        }
        assert_eq!(state.behind(), None, "it has come to the present");
    }

    #[test]
    fn who_goes_back_to_the_present_stays_there() {
        let (mut state, mut history) = busy();
        ordered(history.travel(Travel::FarBack, &state));
        state.go_live();
        settle(&mut history, &mut state);
        assert_eq!(state.behind(), None);
        travel(Travel::FarBack, &mut history, &mut state);
        assert_eq!(state.behind(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn what_is_observed_while_the_history_is_read_is_not_lost() {
        let (mut state, mut history) = busy();
        type_text(&mut state, "2/report\n\n");
        ordered(history.recall(&state));
        let later = Arc::new(Frame {
            now_ns: state.model().now.0 + 500_000_000,
            ..Frame::default()
        });
        state.apply(Event::Frame(Arc::clone(&later)), state.now);
        settle(&mut history, &mut state);
        assert_eq!(reach(&state), Some(60));
        let activity = state.activity().unwrap();
        let newest = activity.columns(state.model().now, Duration::from_millis(400), 1, None);
        assert!(newest[0].is_some());
    }

    #[tokio::test]
    async fn frames_wait_for_a_model_that_is_read_and_not_for_long() {
        let mut history = LiveHistory::default();
        assert!(!history.lends());
        let (giver, back) = oneshot::channel();
        let long = Duration::from_mins(10);
        history.lent = Some(Lent {
            back,
            until: Instant::now() + long,
        });
        assert!(history.lends());
        drop(giver);
        assert!(history.event().await.is_none());
        assert!(!history.lends(), "it was read");
        let (_giver, back) = oneshot::channel();
        history.lent = Some(Lent {
            back,
            until: Instant::now(),
        });
        assert!(history.event().await.is_none());
        assert!(!history.lends(), "it takes too long");
    }

    #[test]
    fn an_order_without_room_is_refused_with_a_reason() {
        let (mut state, mut history) = busy();
        let (done, settled) = sync_channel(0);
        history.send(Order::Hold(settled)).unwrap();
        let mut orders = (0..=ROOM + 1).map(|_| history.travel(Travel::Back, &state));
        let refused = orders.find_map(|refused| refused).unwrap();
        assert_eq!(state.notice(), None, "the state learns it by an event");
        state.apply(refused, state.now);
        assert!(state.notice().unwrap().starts_with("the history is busy"));
        drop(done);
    }

    #[test]
    fn a_thread_that_falls_behind_leaves_a_gap_and_goes_on() {
        let (mut state, mut history) = busy();
        let begin = state.model().now;
        // The thread waits until this is received.
        let (done, settled) = sync_channel(0);
        history.send(Order::Hold(settled)).unwrap();
        let frame = |n: u64| Frame {
            now_ns: begin.0 + n * 100_000_000,
            ..Frame::default()
        };
        let push = |n: u64, history: &mut LiveHistory, state: &mut State| {
            let frame = Arc::new(frame(n));
            state.apply(Event::Frame(Arc::clone(&frame)), state.now);
            history.frame(&frame, None, state);
        };
        for n in 1..=100 {
            push(n, &mut history, &mut state);
        }
        assert_eq!(history.missed, Missed::Frames);
        drop(done);
        while history.missed != Missed::Nothing {
            history.caught_up();
        }
        for n in 101..=130 {
            push(n, &mut history, &mut state);
            settle(&mut history, &mut state);
        }
        let tenths = |state: &State| state.model().now.since(begin).as_millis() / 100;
        let steps: Vec<_> = (0..40)
            .map(|_| {
                travel(Travel::Back, &mut history, &mut state);
                tenths(&state)
            })
            .collect();
        let jumps = steps.windows(2).filter(|pair| pair[0] - pair[1] > 1);
        let jumps: Vec<_> = jumps.collect();
        let [jump] = jumps[..] else {
            panic!("{steps:?}");
        };
        assert!((101..=102).contains(&jump[0]), "{steps:?}");
        assert!((60..=ROOM as u128).contains(&jump[1]), "{steps:?}");
    }
}
