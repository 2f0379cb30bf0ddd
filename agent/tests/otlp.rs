//! What is sent by OTLP, as the protocol's own server receives it: stalls with their traces,
//! numbers, and what becomes of both where the server does not take them.

mod viewer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use looptop_agent::{Builder, Permission};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point};
use tonic::{Request, Response, Status};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use viewer::http::{Application, get};
use viewer::{PATIENCE, alone, level0};

const BLOCKED: Duration = Duration::from_millis(300);

/// What the collector does with what it is sent.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Takes,
    /// Says that it will never take it.
    Refuses,
    /// Never answers.
    Waits,
}

#[derive(Default)]
struct Received {
    records: Vec<LogRecord>,
    resource: Vec<KeyValue>,
    metrics: Vec<Metric>,
}

#[derive(Clone)]
struct Service {
    does: Does,
    received: Arc<Mutex<Received>>,
}

impl Service {
    async fn answer<T: Default>(&self) -> Result<Response<T>, Status> {
        match self.does {
            Does::Takes => Ok(Response::new(T::default())),
            Does::Refuses => Err(Status::permission_denied("not today")),
            Does::Waits => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        if self.does == Does::Takes {
            let mut received = self.received.lock().expect("no panic");
            for resource in request.into_inner().resource_logs {
                received.resource = resource.resource.expect("a resource").attributes;
                let scopes = resource.scope_logs.into_iter();
                received.records.extend(scopes.flat_map(|s| s.log_records));
            }
        }
        self.answer().await
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        if self.does == Does::Takes {
            let resources = request.into_inner().resource_metrics.into_iter();
            let scopes = resources.flat_map(|resource| resource.scope_metrics);
            let mut received = self.received.lock().expect("no panic");
            received.metrics = scopes.flat_map(|scope| scope.metrics).collect();
        }
        self.answer().await
    }
}

/// The protocol's generated server, on a thread of its own.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn that(does: Does) -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let service = Service {
            does,
            received: Arc::clone(&received),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            looptop_agent::unobserved(|| runtime.block_on(serve(listener, service, stopped)));
        });
        Self {
            address,
            received,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until `pick` finds what it looks for.
    fn until<T>(&self, what: &str, mut pick: impl FnMut(&Received) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = self.received.lock().expect("no panic");
            if let Some(found) = pick(&received) {
                return found;
            }
            let records = received.records.clone();
            drop(received);
            assert!(Instant::now() < deadline, "never came: {what}: {records:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The record of a stall that is this function's. It is made to stall again and again:
    /// one whose names are not read in time, on a machine that does other things as well, is
    /// sent without.
    fn record_of(&self, function: &str, mut stall: impl FnMut()) -> LogRecord {
        let deadline = Instant::now() + PATIENCE;
        loop {
            stall();
            let received = self.received.lock().expect("no panic");
            let records = received.records.clone();
            drop(received);
            let found = records.iter().find(|record| {
                let stack = attribute(&record.attributes, "code.stacktrace");
                matches!(stack, Some(Value::StringValue(stack)) if stack.contains(function))
            });
            if let Some(found) = found {
                return found.clone();
            }
            assert!(
                Instant::now() < deadline,
                "never came: {function}: {records:?}"
            );
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    service: Service,
    stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let served = tonic::transport::Server::builder()
        .add_service(LogsServiceServer::new(service.clone()))
        .add_service(MetricsServiceServer::new(service))
        .serve_with_incoming(incoming);
    tokio::select! {
        served = served => served.expect("it serves"),
        _ = stopped => {}
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

/// The application's subscriber: its own tracer, and the agent's layer beside.
fn trace() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("application"));
        let own = filter_fn(|metadata| metadata.target().starts_with("otlp"));
        let subscriber = tracing_subscriber::registry()
            .with(looptop_agent::layer())
            .with(traces.with_filter(own));
        tracing::subscriber::set_global_default(subscriber).expect("the only one");
        // It must outlive its tracer.
        std::mem::forget(provider);
    });
}

fn agent(collector: &Collector) -> Builder {
    level0()
        .name("shop")
        .otlp(collector.endpoint())
        .otlp_interval(Duration::from_secs(1))
}

/// Blocks, and says in which line.
#[inline(never)]
fn answers_slowly() -> u32 {
    std::thread::sleep(BLOCKED);
    line!() - 1
}

#[inline(never)]
fn tidies_up() {
    std::thread::sleep(BLOCKED);
}

#[test]
fn the_stall_of_a_traced_request_has_its_trace_and_its_line() {
    let _alone = alone();
    trace();
    let collector = Collector::that(Does::Takes);
    let application = Application::new(agent(&collector));
    // Before and after: requests are traced on these threads, and tidying up is in none.
    let busy = application.runtime.spawn(async {
        loop {
            let span = tracing::info_span!("short request");
            async { tokio::task::yield_now().await }
                .instrument(span)
                .await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut traced = HashMap::new();
    let mut line = 0;
    let record = collector.record_of("answers_slowly", || {
        let request = async {
            let within = async {
                let parent = tracing::Span::current().context();
                let ids = parent.span().span_context().clone();
                (ids, answers_slowly())
            };
            within.instrument(tracing::info_span!("load")).await
        };
        let request = request.instrument(tracing::info_span!("GET /report"));
        let request = application.runtime.spawn(request);
        let (ids, at) = application.runtime.block_on(request).expect("an answer");
        assert!(ids.is_valid());
        traced.insert(ids.trace_id().to_bytes().to_vec(), ids.span_id().to_bytes());
        line = at;
    });
    let span = traced
        .get(&record.trace_id)
        .expect("the trace of a request");
    assert_eq!(record.span_id, span);
    assert_eq!(record.event_name, "looptop.stall");
    let attributes = &record.attributes;
    let function = attribute(attributes, "code.function.name");
    assert_eq!(function, Some(&text("otlp::answers_slowly")));
    let at = attribute(attributes, "code.line.number");
    assert_eq!(at, Some(&Value::IntValue(i64::from(line))));
    match attribute(attributes, "code.file.path") {
        Some(Value::StringValue(file)) => assert!(file.ends_with("tests/otlp.rs"), "{file}"),
        other => panic!("no file: {other:?}"),
    }
    let cause = attribute(attributes, "looptop.cause");
    assert_eq!(cause, Some(&text("sleeping")));
    match attribute(attributes, "looptop.stall.duration") {
        Some(Value::DoubleValue(s)) => assert!(*s >= BLOCKED.as_secs_f64() * 0.9, "{s}"),
        other => panic!("no duration: {other:?}"),
    }
    collector.until("whose it is", |received| {
        let name = attribute(&received.resource, "service.name");
        (name == Some(&text("shop"))).then_some(())
    });
    // One that is in no trace has none, whatever its thread does next.
    let record = collector.record_of("tidies_up", || {
        let tidied = application.runtime.spawn(async { tidies_up() });
        application.runtime.block_on(tidied).expect("tidy");
    });
    assert!(record.trace_id.is_empty() && record.span_id.is_empty());
    busy.abort();
}

#[test]
fn numbers_are_those_of_metrics_and_numbers_alone_name_nobody() {
    let _alone = alone();
    trace();
    let collector = Collector::that(Does::Takes);
    let application = Application::new(agent(&collector).permit_otlp(Permission::Numbers));
    let tidied = application.runtime.spawn(async { tidies_up() });
    application.runtime.block_on(tidied).expect("tidy");
    let found = |received: &Received, name: &str| {
        let mut metrics = received.metrics.iter();
        metrics.find(|metric| metric.name == name).cloned()
    };
    let stalls = collector.until("a stall that is counted", |received| {
        let metric = found(received, "looptop.stalls")?;
        let Some(Data::Sum(sum)) = &metric.data else {
            panic!("a sum: {metric:?}");
        };
        let mut points = sum.data_points.iter();
        let sleeping = Some(text("sleeping"));
        let of_cause = points.find(|p| attribute(&p.attributes, "cause") == sleeping.as_ref());
        of_cause.cloned()
    });
    assert_eq!(stalls.value, Some(number_data_point::Value::AsDouble(1.0)));
    assert_eq!(stalls.attributes.len(), 1, "{stalls:?}");
    let (workers, lag) = collector.until("workers and lag", |received| {
        let workers = found(received, "tokio.workers")?;
        Some((workers, found(received, "looptop.loop_lag")?))
    });
    let Some(Data::Gauge(workers)) = workers.data else {
        panic!("a gauge: {workers:?}");
    };
    let two = Some(number_data_point::Value::AsDouble(2.0));
    assert_eq!(workers.data_points[0].value, two);
    assert_eq!(lag.unit, "s");
    assert!(matches!(lag.data, Some(Data::Histogram(_))), "{lag:?}");
    let record = collector.until("a record", |received| received.records.first().cloned());
    let all = format!("{record:?}");
    assert!(!all.contains("tidies_up") && !all.contains(".rs"), "{all}");
}

/// The application goes on, and what was not taken is counted.
fn does_no_harm(endpoint: &str) {
    let _alone = alone();
    trace();
    let builder = level0()
        .otlp(endpoint)
        .otlp_interval(Duration::from_secs(1))
        .otlp_patience(Duration::from_secs(1));
    let application = Application::new(builder);
    let tidied = application.runtime.spawn(async { tidies_up() });
    application.runtime.block_on(tidied).expect("tidy");
    let counted = |page: &str, what: &str| {
        let begins = format!("looptop_lost_total{{what=\"{what}\"}} ");
        let mut lines = page.lines();
        let count = lines.find_map(|line| line.strip_prefix(&*begins));
        count.is_some_and(|count| count != "0")
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Its own work goes on all the while.
        let worked = application.runtime.spawn(async {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        });
        application.runtime.block_on(worked).expect("it works");
        let (_, page) = get(application.port(), "/metrics", "");
        let page = String::from_utf8(page).expect("text");
        if counted(&page, "log records") && counted(&page, "metric exports") {
            return;
        }
        assert!(Instant::now() < deadline, "nothing is counted: {page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_collector_that_refuses_harms_nobody() {
    let collector = Collector::that(Does::Refuses);
    does_no_harm(&collector.endpoint());
}

#[test]
fn a_collector_that_never_answers_harms_nobody() {
    let collector = Collector::that(Does::Waits);
    does_no_harm(&collector.endpoint());
}

#[test]
fn no_collector_harms_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    does_no_harm(&format!("http://{address}"));
}
