//! console-subscriber beside an agent, on the agent's own port: what it reports of
//! resources and of the operations that wait for them joins the agent's frames.
//!
//! Tasks stay the agent's, by tokio's ids; console-subscriber numbers its own, and
//! says in a field which is which. Its clock is the wall's, to which the agent's
//! hello ties the agent's. Its texts get ids that no agent gives.

use std::collections::HashMap;

use console_api::{
    instrument::{InstrumentRequest, Update},
    tasks::TaskUpdate,
};
use looptop_wire::{
    intern::MAX_ENTRIES,
    proto::{AsyncOp, Capability, CapabilityKind, Frame, HelloResponse, Loss, Resource, Tasks},
    split::split,
};
use tokio::time::timeout;
use tonic::Streaming;

use super::{
    Client, MAX_UPDATE_BYTES, STATE_ANSWER,
    clock::ServerClock,
    names::{Names, value_number},
    resources::Resources,
};
use crate::source::{connect::Link, shift::Shift};

/// An agent's table of texts, and likewise of locations, ends here.
const IDS: Shift = Shift(MAX_ENTRIES as u32);
/// Tasks whose numbers are known at most; operations of others have no task.
const MAX_TASKS: usize = 1 << 20;

const STREAM_ENDED: &str = "it ended the stream";

/// The stream of one connection.
pub(in crate::source) struct Beside {
    updates: Option<Streaming<Update>>,
    translator: Translator,
}

impl Beside {
    /// Asks for the stream where the agent's hello says that its port has one, and
    /// says in the hello what came of it.
    pub(in crate::source) async fn attach(link: &Link, hello: &mut HelloResponse) -> Self {
        let has_console = hello
            .capabilities
            .iter()
            .any(|c| c.kind() == CapabilityKind::Console && c.available);
        let updates = if has_console {
            let (updates, capability) = match open(link).await {
                Ok(updates) => (Some(updates), available()),
                Err(why) => (None, missing(&why)),
            };
            let others = |c: &Capability| c.kind() != CapabilityKind::Resources;
            hello.capabilities.retain(others);
            hello.capabilities.push(capability);
            updates
        } else {
            None
        };
        let translator = Translator::new(hello.started_unix_ns, hello.now_ns);
        Self {
            updates,
            translator,
        }
    }

    /// What comes next; nothing ever where there is no stream. Safe to cancel.
    pub(in crate::source) async fn next(&mut self) -> Heard {
        let Some(updates) = &mut self.updates else {
            return std::future::pending().await;
        };
        let update = match updates.message().await {
            Ok(Some(update)) => return Heard(Ok(Box::new(update))),
            Ok(None) => Err(STREAM_ENDED.to_owned()),
            Err(status) => Err(status.message().to_owned()),
        };
        self.updates = None;
        Heard(update)
    }

    /// As frames. `newest` is number and instant of the agent's newest, and `loss`
    /// what it has lost.
    pub(in crate::source) fn frames(
        &mut self,
        heard: Heard,
        newest: (u64, u64),
        loss: Loss,
    ) -> Vec<Frame> {
        let frame = match heard.0 {
            Ok(update) => self.translator.update(*update, loss),
            Err(why) => Frame {
                tasks: Some(Tasks {
                    capabilities: vec![missing(&why)],
                    ..Tasks::default()
                }),
                ..Frame::default()
            },
        };
        let (sequence, now_ns) = newest;
        let dated = Frame {
            sequence,
            now_ns,
            ..frame
        };
        split(dated)
    }
}

/// An update, or why there are no more.
pub(in crate::source) struct Heard(Result<Box<Update>, String>);

async fn open(link: &Link) -> Result<Streaming<Update>, String> {
    let client = Client::new(link.channel.clone());
    let mut client = client.max_decoding_message_size(MAX_UPDATE_BYTES);
    match timeout(STATE_ANSWER, client.watch_updates(InstrumentRequest {})).await {
        Ok(Ok(updates)) => Ok(updates.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

fn available() -> Capability {
    Capability {
        kind: CapabilityKind::Resources.into(),
        available: true,
        reason: String::new(),
    }
}

fn missing(why: &str) -> Capability {
    Capability {
        available: false,
        reason: format!("console-subscriber on the agent's port reports no resources: {why}"),
        ..available()
    }
}

/// console-subscriber's resources in the agent's session.
struct Translator {
    clock: ServerClock,
    names: Names,
    resources: Resources,
    /// Tokio's ids of tasks by those that console-subscriber gives them.
    tasks: HashMap<u64, u64>,
    dropped_events: u64,
}

impl Translator {
    fn new(started_unix_ns: u64, now_ns: u64) -> Self {
        Self {
            clock: ServerClock::at_origin(started_unix_ns, now_ns),
            names: Names::default(),
            resources: Resources::default(),
            tasks: HashMap::new(),
            dropped_events: 0,
        }
    }

    fn update(&mut self, update: Update, loss: Loss) -> Frame {
        self.clock.advance(update.now.as_ref(), 0);
        self.names.register(update.new_metadata);
        let dropped = [
            update.resource_update.as_ref().map(|u| u.dropped_events),
            update.async_op_update.as_ref().map(|u| u.dropped_events),
        ];
        for count in dropped.into_iter().flatten() {
            self.dropped_events = self.dropped_events.saturating_add(count);
        }
        let tasks = update.task_update.unwrap_or_default();
        self.learn(&tasks);
        let (names, clock) = (&mut self.names, &self.clock);
        let mut resources = self.resources.update(update.resource_update, names, clock);
        let mut async_ops = self
            .resources
            .update_ops(update.async_op_update, names, clock);
        for resource in &mut resources {
            place(resource);
        }
        for op in &mut async_ops {
            op.task = self.tasks.get(&op.task).copied().unwrap_or(0);
            place_op(op);
        }
        for (id, stats) in &tasks.stats_update {
            if stats.dropped_at.is_some() {
                self.tasks.remove(id);
            }
        }
        let interner = self.names.interner();
        Frame {
            strings: interner
                .take_strings()
                .into_iter()
                .map(|text| IDS.string(text))
                .collect(),
            locations: interner
                .take_locations()
                .into_iter()
                .map(|place| IDS.location(place))
                .collect(),
            resources,
            async_ops,
            loss: Some(Loss {
                console_events: self.dropped_events,
                ..loss
            }),
            ..Frame::default()
        }
    }

    /// Which task is which.
    fn learn(&mut self, update: &TaskUpdate) {
        for record in &update.new_tasks {
            let Some(id) = record.id.as_ref().map(|id| id.id) else {
                continue;
            };
            let number = record.fields.iter().find_map(|field| {
                let name = self.names.field_name(field, record.metadata.as_ref())?;
                (name == "task.id").then(|| value_number(field.value.as_ref()?))?
            });
            if let Some(number) = number
                && self.tasks.len() < MAX_TASKS
            {
                self.tasks.insert(id, number);
            }
        }
    }
}

fn place(resource: &mut Resource) {
    for id in [
        &mut resource.kind,
        &mut resource.type_name,
        &mut resource.target,
        &mut resource.location,
        &mut resource.attributes,
    ] {
        *id = IDS.id(*id);
    }
}

fn place_op(op: &mut AsyncOp) {
    for id in [&mut op.source, &mut op.attributes] {
        *id = IDS.id(*id);
    }
}
