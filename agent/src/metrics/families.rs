//! Families of numbers, whoever writes them: as text for Prometheus ([`super::text`]), or as
//! OpenTelemetry's messages.

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They only rise while the process lives.
    Counter,
    Gauge,
    Histogram,
}

/// A label with its value. One without a value is left out, which means the same.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// What all values of a family have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) kind: Kind,
    /// As Prometheus has it: a counter's ends in `_total`, a time's has `_seconds`.
    pub(crate) name: &'a str,
    pub(crate) help: &'a str,
    /// This is the family's first value.
    pub(crate) begins: bool,
}

/// A histogram: `counts` of each bound and, last, of what is over all of them; each value is
/// counted once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histogram<'a> {
    pub(crate) bounds: &'a [f64],
    pub(crate) counts: &'a [u64],
    pub(crate) sum: f64,
}

/// Who writes values down, one family after the other.
pub(crate) trait Sink {
    fn value(&mut self, of: &Head<'_>, labels: &[Label<'_>], value: f64);
    fn histogram(&mut self, of: &Head<'_>, labels: &[Label<'_>], histogram: &Histogram<'_>);
}

/// All families, of which each is begun once.
pub(super) struct Page<'s>(&'s mut dyn Sink);

impl<'s> Page<'s> {
    pub(super) fn new(sink: &'s mut dyn Sink) -> Self {
        Self(sink)
    }

    /// Begins a family, to which its samples are given. One without samples leaves no
    /// trace.
    pub(super) fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &'a str) -> Family<'a> {
        Family {
            sink: &mut *self.0,
            head: Head {
                kind,
                name,
                help,
                begins: true,
            },
        }
    }
}

/// Values under one name.
pub(super) struct Family<'a> {
    sink: &'a mut dyn Sink,
    head: Head<'a>,
}

impl Family<'_> {
    /// One value.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        self.sink.value(&self.head, labels, value);
        self.head.begins = false;
    }

    /// One value where it is known.
    pub(super) fn known(&mut self, labels: &[Label<'_>], value: Option<f64>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }

    /// How often there was what.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram<'_>) {
        self.sink.histogram(&self.head, labels, histogram);
        self.head.begins = false;
    }
}
