//! Families of numbers as OpenTelemetry's metrics.
//!
//! Their names are those that exporters for Prometheus make the names of `/metrics` from, so
//! that a collector which passes them on to Prometheus restores those.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric::Data, number_data_point::Value,
};

use super::record::{attribute, text};
use crate::metrics::families::{Head, Histogram as Counted, Kind, Label, Sink};

/// Beginnings of names, up to where OpenTelemetry's have dots.
const PREFIXES: [(&str, &str); 4] = [
    ("tokio_worker_", "tokio.worker."),
    ("tokio_io_driver_", "tokio.io_driver."),
    ("tokio_", "tokio."),
    ("looptop_", "looptop."),
];

/// Metrics that are being put together.
#[derive(Debug)]
pub(super) struct Numbers {
    metrics: Vec<Metric>,
    began_unix_ns: u64,
    now_unix_ns: u64,
}

impl Numbers {
    /// Counters count since `began_unix_ns`.
    pub(super) fn new(began_unix_ns: u64, now_unix_ns: u64) -> Self {
        Self {
            metrics: Vec::new(),
            began_unix_ns,
            now_unix_ns,
        }
    }

    pub(super) fn into_metrics(self) -> Vec<Metric> {
        self.metrics
    }

    /// The family's values.
    fn data(&mut self, of: &Head<'_>) -> Option<&mut Data> {
        if of.begins {
            let (name, unit) = name_and_unit(of.kind, of.name);
            let temporality = AggregationTemporality::Cumulative.into();
            let data = match of.kind {
                Kind::Gauge => Data::Gauge(Gauge::default()),
                Kind::Counter => Data::Sum(Sum {
                    aggregation_temporality: temporality,
                    is_monotonic: true,
                    ..Sum::default()
                }),
                Kind::Histogram => Data::Histogram(Histogram {
                    aggregation_temporality: temporality,
                    ..Histogram::default()
                }),
            };
            self.metrics.push(Metric {
                name,
                unit: unit.to_owned(),
                description: of.help.to_owned(),
                data: Some(data),
                ..Metric::default()
            });
        }
        self.metrics.last_mut()?.data.as_mut()
    }
}

impl Sink for Numbers {
    fn value(&mut self, of: &Head<'_>, labels: &[Label<'_>], value: f64) {
        let mut point = NumberDataPoint {
            attributes: attributes(labels),
            time_unix_nano: self.now_unix_ns,
            value: Some(Value::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        let began_unix_ns = self.began_unix_ns;
        match self.data(of) {
            Some(Data::Gauge(gauge)) => gauge.data_points.push(point),
            Some(Data::Sum(sum)) => {
                point.start_time_unix_nano = began_unix_ns;
                sum.data_points.push(point);
            }
            _ => {}
        }
    }

    fn histogram(&mut self, of: &Head<'_>, labels: &[Label<'_>], counted: &Counted<'_>) {
        let point = HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: self.began_unix_ns,
            time_unix_nano: self.now_unix_ns,
            count: counted.counts.iter().sum(),
            sum: Some(counted.sum),
            bucket_counts: counted.counts.to_vec(),
            explicit_bounds: counted.bounds.to_vec(),
            ..HistogramDataPoint::default()
        };
        if let Some(Data::Histogram(histogram)) = self.data(of) {
            histogram.data_points.push(point);
        }
    }
}

fn attributes(labels: &[Label<'_>]) -> Vec<KeyValue> {
    let known = labels.iter().filter(|(_, value)| !value.is_empty());
    known
        .map(|(key, value)| attribute(key, text(value)))
        .collect()
}

/// OpenTelemetry's name and unit of a family.
fn name_and_unit(kind: Kind, name: &str) -> (String, &'static str) {
    let name = match kind {
        Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        Kind::Gauge | Kind::Histogram => name,
    };
    let (name, unit) = match name.strip_suffix("_seconds") {
        Some(name) => (name, "s"),
        None => (name, ""),
    };
    let dotted = PREFIXES.iter().find_map(|(prefix, dotted)| {
        let rest = name.strip_prefix(prefix)?;
        Some(format!("{dotted}{rest}"))
    });
    (dotted.unwrap_or_else(|| name.to_owned()), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: Kind, name: &str, begins: bool) -> Head<'_> {
        Head {
            kind,
            name,
            help: "Help.",
            begins,
        }
    }

    #[test]
    fn names_are_opentelemetrys() {
        for (kind, name, expected, unit) in [
            (Kind::Gauge, "tokio_workers", "tokio.workers", ""),
            (
                Kind::Counter,
                "tokio_worker_busy_duration_seconds_total",
                "tokio.worker.busy_duration",
                "s",
            ),
            (
                Kind::Counter,
                "tokio_io_driver_fd_readies_total",
                "tokio.io_driver.fd_readies",
                "",
            ),
            (
                Kind::Histogram,
                "looptop_loop_lag_seconds",
                "looptop.loop_lag",
                "s",
            ),
            (Kind::Gauge, "looptop_findings", "looptop.findings", ""),
        ] {
            let got = name_and_unit(kind, name);
            assert_eq!(got, (expected.to_owned(), unit), "{name}");
        }
    }

    #[test]
    fn values_of_one_family_are_one_metric() {
        let mut numbers = Numbers::new(5, 9);
        let polls = "tokio_worker_polls_total";
        numbers.value(
            &head(Kind::Counter, polls, true),
            &[("worker", "0"), ("runtime", "")],
            3.0,
        );
        numbers.value(&head(Kind::Counter, polls, false), &[("worker", "1")], 4.0);
        let lag = Counted {
            bounds: &[0.1],
            counts: &[2, 1],
            sum: 7.5,
        };
        numbers.histogram(
            &head(Kind::Histogram, "looptop_loop_lag_seconds", true),
            &[],
            &lag,
        );
        let metrics = numbers.into_metrics();
        assert_eq!(metrics.len(), 2);
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("a sum: {:?}", metrics[0]);
        };
        assert!(sum.is_monotonic);
        let values: Vec<_> = sum.data_points.iter().map(|p| p.value).collect();
        let expected = [3.0, 4.0].map(|value| Some(Value::AsDouble(value)));
        assert_eq!(values, expected);
        let first = &sum.data_points[0];
        assert_eq!((first.start_time_unix_nano, first.time_unix_nano), (5, 9));
        assert_eq!(first.attributes, [attribute("worker", text("0"))]);
        let Some(Data::Histogram(histogram)) = &metrics[1].data else {
            panic!("a histogram: {:?}", metrics[1]);
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(7.5)));
        assert_eq!(point.bucket_counts, [2, 1]);
        assert_eq!(point.explicit_bounds, [0.1]);
    }
}
