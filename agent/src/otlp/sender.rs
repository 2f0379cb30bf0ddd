//! Sends records and numbers to a collector, by gRPC, on the agent's own runtime.

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, logs_service_client::LogsServiceClient,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::record::{attribute, text};
use super::settings::Settings;
use super::{Losses, Lost, SCHEMA, SCOPE};
use crate::sync::lock;

/// Records that wait to be sent at most; one has 10 KiB or so at most.
const QUEUE: usize = 256;
/// Records of one call at most.
const BATCH: usize = 64;
/// Between two attempts: the first pause, doubled up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// A connection that does not come about.
const CONNECT: Duration = Duration::from_secs(5);

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Outbox {
    losses: Arc<Losses>,
    settings: Settings,
    records: mpsc::Sender<LogRecord>,
    numbers: Arc<Newest>,
}

/// Numbers that were not sent yet; older ones give way.
#[derive(Debug, Default)]
struct Newest {
    metrics: Mutex<Option<Vec<Metric>>>,
    changed: Notify,
}

impl Outbox {
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn put_record(&self, record: LogRecord) {
        if self.records.try_send(record).is_err() {
            let why = format!(
                "{QUEUE} of them wait for {} already",
                self.settings.shown_to()
            );
            self.losses.add(Lost::Records(1), &why);
        }
    }

    pub(super) fn put_numbers(&self, metrics: Vec<Metric>) {
        let unsent = lock(&self.numbers.metrics).replace(metrics);
        if unsent.is_some() {
            let why = format!("{} has not taken the last ones", self.settings.shown_to());
            self.losses.add(Lost::Numbers, &why);
        }
        self.numbers.changed.notify_one();
    }
}

/// Starts the tasks that send; a sentence why not. To be called on the agent's runtime.
pub(super) fn start(losses: &Arc<Losses>, settings: Settings) -> Result<Arc<Outbox>, String> {
    let to = Arc::new(Collector::new(losses, &settings)?);
    let (records, queue) = mpsc::channel(QUEUE);
    let numbers = Arc::new(Newest::default());
    if settings.logs {
        tokio::spawn(Arc::clone(&to).send_records(queue));
    }
    if settings.metrics {
        tokio::spawn(to.send_numbers(Arc::clone(&numbers)));
    }
    Ok(Arc::new(Outbox {
        losses: Arc::clone(losses),
        settings,
        records,
        numbers,
    }))
}

/// Where everything is sent to.
struct Collector {
    losses: Arc<Losses>,
    channel: Channel,
    headers: MetadataMap,
    resource: Resource,
    timeout: Duration,
    patience: Duration,
    shown_to: String,
}

impl Collector {
    fn new(losses: &Arc<Losses>, settings: &Settings) -> Result<Self, String> {
        let shown_to = settings.shown_to();
        let endpoint = Endpoint::from_shared(settings.endpoint.clone());
        let endpoint = endpoint.map_err(|error| format!("{shown_to} is no address: {error}"))?;
        let endpoint = settings.encrypt(endpoint.connect_timeout(CONNECT))?;
        let mut headers = MetadataMap::new();
        for (name, value) in &settings.headers {
            let key = MetadataKey::<Ascii>::from_str(name);
            let value = MetadataValue::from_str(value);
            let (Ok(key), Ok(value)) = (key, value) else {
                return Err(format!(
                    "the header `{name}` of OTEL_EXPORTER_OTLP_HEADERS is none that gRPC takes"
                ));
            };
            headers.insert(key, value);
        }
        let attributes = settings.resource.iter();
        Ok(Self {
            losses: Arc::clone(losses),
            channel: endpoint.connect_lazy(),
            headers,
            resource: Resource {
                attributes: attributes
                    .map(|(key, value)| attribute(key, text(value)))
                    .collect(),
                ..Resource::default()
            },
            timeout: settings.timeout,
            patience: settings.patience,
            shown_to,
        })
    }

    async fn send_records(self: Arc<Self>, mut queue: mpsc::Receiver<LogRecord>) {
        let client = LogsServiceClient::new(self.channel.clone());
        while let Some(first) = queue.recv().await {
            let mut records = vec![first];
            while let (true, Ok(next)) = (records.len() < BATCH, queue.try_recv()) {
                records.push(next);
            }
            let count = records.len() as u64;
            let request = self.of_records(records);
            let sent = self.attempts(|| {
                let (mut client, request) = (client.clone(), self.request(request.clone()));
                async move { client.export(request).await }
            });
            match sent.await {
                Ok(answer) => {
                    let rejected = answer.partial_success.unwrap_or_default();
                    let rejected = (rejected.rejected_log_records, rejected.error_message);
                    if let (1.., why) = rejected {
                        let lost = Lost::Records(rejected.0.unsigned_abs());
                        self.lost(lost, &why);
                    }
                }
                Err(why) => self.lost(Lost::Records(count), &why),
            }
        }
    }

    async fn send_numbers(self: Arc<Self>, numbers: Arc<Newest>) {
        let client = MetricsServiceClient::new(self.channel.clone());
        loop {
            numbers.changed.notified().await;
            let Some(metrics) = lock(&numbers.metrics).take() else {
                continue;
            };
            let request = self.of_numbers(metrics);
            // Not again: the next ones say more.
            let mut client = client.clone();
            match self.attempt(client.export(self.request(request))).await {
                Ok(answer) => {
                    let rejected = answer.partial_success.unwrap_or_default();
                    if rejected.rejected_data_points > 0 {
                        self.lost(Lost::Numbers, &rejected.error_message);
                    }
                }
                Err(status) => self.lost(Lost::Numbers, &said(&status)),
            }
        }
    }

    fn lost(&self, lost: Lost, why: &str) {
        let to = &self.shown_to;
        self.losses.add(lost, &format!("{to}: {why}"));
    }

    /// Calls until it is answered, or would not be.
    async fn attempts<T, F>(&self, call: impl Fn() -> F) -> Result<T, String>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut pause = PAUSES.0;
        loop {
            let status = match self.attempt(call()).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if !may_pass(status.code()) || Instant::now() + pause > deadline {
                return Err(said(&status));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn attempt<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        let answer = timeout(self.timeout, call).await;
        let late = || Status::deadline_exceeded("no answer in time");
        answer
            .unwrap_or_else(|_| Err(late()))
            .map(Response::into_inner)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    fn of_records(&self, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    log_records,
                    schema_url: SCHEMA.to_owned(),
                }],
                schema_url: SCHEMA.to_owned(),
            }],
        }
    }

    fn of_numbers(&self, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics,
                    schema_url: SCHEMA.to_owned(),
                }],
                schema_url: SCHEMA.to_owned(),
            }],
        }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Whether the same call may be answered later: as OTLP's specification says.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// What went wrong, with what is behind it: "transport error" alone says nothing.
fn said(status: &Status) -> String {
    let mut sentence = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !sentence.contains(&more) {
            sentence = format!("{sentence}: {more}");
        }
        source = error.source();
    }
    sentence
}
