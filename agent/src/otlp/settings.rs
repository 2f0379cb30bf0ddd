//! Where things are sent to by OTLP, and what: by the builder, by `LOOPTOP_OTLP`, and by the
//! variables that OpenTelemetry has for all its programs.

use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::access::Permission;
use crate::access::settings::{Permit, permission};
use crate::config::{Config, is_off, is_on};
use crate::metrics::Shown;

/// The collector that most run beside their programs.
const LOCAL: &str = "http://localhost:4317";
/// As OpenTelemetry has it.
const TIMEOUT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_mins(1);
const PATIENCE: Duration = Duration::from_mins(1);
/// Numbers change once a second; neither is worth less.
const LEAST: Duration = Duration::from_secs(1);

/// What was asked for, unread and unchecked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// `None` and `off`: nowhere.
    pub(crate) endpoint: Option<String>,
    pub(crate) permit: Option<Permit>,
    /// Between numbers.
    pub(crate) interval: Option<Duration>,
    /// With records that are not taken.
    pub(crate) patience: Option<Duration>,
    environment: Environment,
}

/// What OpenTelemetry's variables say.
#[derive(Clone, Debug, Default)]
struct Environment {
    /// The endpoint is theirs, so the protocol is theirs as well.
    protocol: Option<String>,
    headers: String,
    timeout: Option<Duration>,
    certificate: Option<PathBuf>,
    service: Option<String>,
    resource: String,
    /// Signals that are not to be sent.
    no_logs: bool,
    no_metrics: bool,
}

/// What is sent where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) endpoint: String,
    pub(super) shown: Shown,
    pub(super) headers: Vec<(String, String)>,
    /// Of one call.
    pub(super) timeout: Duration,
    /// Between numbers.
    pub(super) interval: Duration,
    /// With records that are not taken.
    pub(super) patience: Duration,
    /// What is known of the application, by OpenTelemetry's names.
    pub(super) resource: Vec<(String, String)>,
    pub(super) logs: bool,
    pub(super) metrics: bool,
    certificate: Option<PathBuf>,
}

impl Asked {
    /// Applies the environment, which beats the builder.
    pub(crate) fn with_environment(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let milliseconds = |name: &str| {
            let value = get(name)?.trim().parse().ok()?;
            Some(Duration::from_millis(value))
        };
        let is_none = |name: &str| get(name).is_some_and(|v| v.eq_ignore_ascii_case("none"));
        let environment = &mut self.environment;
        if let Some(endpoint) = get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            self.endpoint = Some(endpoint);
            environment.protocol = get("OTEL_EXPORTER_OTLP_PROTOCOL");
        }
        if let Some(endpoint) = get("LOOPTOP_OTLP") {
            self.endpoint = Some(endpoint);
            environment.protocol = None;
        } else if get("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            self.endpoint = None;
        }
        if let Some(permit) = get("LOOPTOP_OTLP_PERMIT") {
            self.permit = Some(permission(&permit));
        }
        environment.headers = get("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        environment.timeout = milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT");
        self.interval = milliseconds("OTEL_METRIC_EXPORT_INTERVAL").or(self.interval);
        environment.certificate = get("OTEL_EXPORTER_OTLP_CERTIFICATE").map(PathBuf::from);
        environment.service = get("OTEL_SERVICE_NAME");
        environment.resource = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        environment.no_logs = is_none("OTEL_LOGS_EXPORTER");
        environment.no_metrics = is_none("OTEL_METRICS_EXPORTER");
        self
    }

    /// What is to be sent, if anything is; a sentence where that makes no sense.
    pub(super) fn settings(&self, config: &Config) -> Result<Option<Settings>, String> {
        let environment = &self.environment;
        let endpoint = match self.endpoint.as_deref().map(str::trim) {
            None | Some("") => return Ok(None),
            Some(off) if is_off(off) => return Ok(None),
            Some(on) if is_on(on) => LOCAL.to_owned(),
            Some(endpoint) if endpoint.contains("://") => endpoint.to_owned(),
            Some(endpoint) => format!("http://{endpoint}"),
        };
        if let Some(protocol) = environment.protocol.as_deref().filter(|p| *p != "grpc") {
            return Err(format!(
                "it is sent by gRPC alone, and OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: name the \
                 collector's port for gRPC by LOOPTOP_OTLP=http://HOST:4317, or LOOPTOP_OTLP=off"
            ));
        }
        let shown = match &self.permit {
            None | Some(Ok(Permission::Names | Permission::Memory)) => Shown::Names,
            Some(Ok(Permission::Numbers)) => Shown::Numbers,
            Some(Err(text)) => {
                return Err(format!("`{text}` is no permission: numbers or names"));
            }
        };
        let timeout = environment.timeout.filter(|timeout| !timeout.is_zero());
        let patience = self.patience.unwrap_or(PATIENCE).max(LEAST);
        Ok(Some(Settings {
            endpoint,
            shown,
            headers: pairs(&environment.headers),
            timeout: timeout.unwrap_or(TIMEOUT).min(patience),
            interval: self.interval.unwrap_or(INTERVAL).max(LEAST),
            patience,
            resource: resource(environment, config),
            logs: !environment.no_logs,
            metrics: !environment.no_metrics,
            certificate: environment.certificate.clone(),
        }))
    }
}

impl Settings {
    /// The endpoint as it may be said: without a user and a password.
    pub(super) fn shown_to(&self) -> String {
        match self.endpoint.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                format!("{scheme}://{host}")
            }
            None => self.endpoint.clone(),
        }
    }

    /// With TLS where the endpoint asks for it.
    #[cfg(feature = "tls")]
    pub(super) fn encrypt(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        use tonic::transport::{Certificate, ClientTlsConfig};
        if !self.is_encrypted() {
            return Ok(endpoint);
        }
        let Some(path) = &self.certificate else {
            return Err(format!(
                "{} wants TLS: name the certificate that is trusted by \
                 OTEL_EXPORTER_OTLP_CERTIFICATE=FILE",
                self.shown_to()
            ));
        };
        let pem = std::fs::read(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        let encrypted = endpoint.tls_config(tls);
        encrypted.map_err(|error| format!("{} is no certificate: {error}", path.display()))
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn encrypt(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        if self.is_encrypted() {
            return Err(format!(
                "{} wants TLS, for which the application enables looptop-agent with its feature \
                 `tls`{}",
                self.shown_to(),
                if self.certificate.is_some() {
                    ""
                } else {
                    ", and OTEL_EXPORTER_OTLP_CERTIFICATE=FILE names the certificate"
                }
            ));
        }
        Ok(endpoint)
    }

    fn is_encrypted(&self) -> bool {
        self.endpoint
            .get(..8)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }
}

/// What is known of the application; what the variables say beats what it says itself.
fn resource(environment: &Environment, config: &Config) -> Vec<(String, String)> {
    let mut resource = pairs(&environment.resource);
    if let Some(service) = &environment.service {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), service.clone()));
    }
    let executable = std::env::current_exe().ok();
    let executable = executable.as_deref().and_then(std::path::Path::file_name);
    let executable = executable.map(|name| name.to_string_lossy().into_owned());
    let name = config.name.clone().or_else(|| executable.clone());
    for (key, value) in [
        ("service.name", name),
        ("process.pid", Some(std::process::id().to_string())),
        ("process.executable.name", executable),
        ("host.name", crate::sample::hostname()),
    ] {
        let is_known = resource.iter().any(|(known, _)| known == key);
        if let (false, Some(value)) = (is_known, value) {
            resource.push((key.to_owned(), value));
        }
    }
    resource
}

/// `key=value,key=value`, with values that are encoded as in an address.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let known = pairs.map(|(key, value)| (key.trim().to_owned(), decoded(value.trim())));
    known.filter(|(key, _)| !key.is_empty()).collect()
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let byte = more.get(..2).filter(|_| *first == b'%').and_then(hex);
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(builder: Option<&str>, variables: &[(&str, &str)]) -> Asked {
        let asked = Asked {
            endpoint: builder.map(str::to_owned),
            ..Asked::default()
        };
        asked.with_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(
        builder: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<Settings>, String> {
        asked(builder, variables).settings(&Config::default())
    }

    type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], Option<&'a str>);

    #[test]
    fn where_it_is_sent_to() {
        const THEIRS: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const OURS: &str = "LOOPTOP_OTLP";
        let on = "http://localhost:4317";
        let (a, b, c) = ("http://a:4317", "http://b:4317", "http://c:4317");
        let cases: [Case<'_>; 10] = [
            (None, &[], None),
            (Some(a), &[], Some(a)),
            (Some("a:4317"), &[], Some(a)),
            (Some(a), &[(THEIRS, b)], Some(b)),
            (Some(a), &[(THEIRS, "")], Some(a)),
            (Some(a), &[(THEIRS, b), (OURS, c)], Some(c)),
            (Some(a), &[(THEIRS, b), (OURS, "off")], None),
            (None, &[(OURS, "on")], Some(on)),
            (Some(a), &[(THEIRS, b), ("OTEL_SDK_DISABLED", "true")], None),
            (None, &[(OURS, c), ("OTEL_SDK_DISABLED", "true")], Some(c)),
        ];
        for (builder, variables, expected) in cases {
            let got = settings(builder, variables).expect("it makes sense");
            let got = got.map(|settings| settings.endpoint);
            assert_eq!(got.as_deref(), expected, "{builder:?} {variables:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let http = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ];
        let why = settings(None, &http).expect_err("another protocol");
        assert!(why.contains("LOOPTOP_OTLP=http://HOST:4317"), "{why}");
        let grpc = [("LOOPTOP_OTLP", "http://a:4317"), http[0], http[1]];
        assert!(settings(None, &grpc).is_ok());
        let why = settings(Some("a:1"), &[("LOOPTOP_OTLP_PERMIT", "all")]);
        assert!(why.expect_err("no permission").contains("`all`"));
    }

    #[test]
    fn what_opentelemetrys_variables_say_is_done() {
        let settings = settings(
            Some("http://user:secret@a:4317"),
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=1%2"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "10"),
                ("OTEL_SERVICE_NAME", "shop"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,zone=a"),
                ("OTEL_LOGS_EXPORTER", "none"),
                ("LOOPTOP_OTLP_PERMIT", "numbers"),
            ],
        );
        let settings = settings.expect("it makes sense").expect("an endpoint");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [pair("api-key", "a b"), pair("x", "1%2")]);
        assert_eq!(settings.timeout, Duration::from_millis(250));
        assert_eq!(settings.interval, LEAST);
        assert_eq!((settings.logs, settings.metrics), (false, true));
        assert_eq!(settings.shown, Shown::Numbers);
        let names: Vec<_> = settings.resource.iter().take(2).cloned().collect();
        assert_eq!(names, [pair("zone", "a"), pair("service.name", "shop")]);
        assert!(
            settings
                .resource
                .iter()
                .any(|(key, _)| key == "process.pid")
        );
        assert_eq!(settings.shown_to(), "http://a:4317");
    }
}
