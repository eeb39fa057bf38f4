//! All cells, summed and written in Prometheus' text format.

use std::sync::atomic::Ordering;

use prometheus::TextEncoder;
use prometheus::proto;

use super::families::{self, FamilyInfo};
use super::series::{ByCode, lock};
use super::{HandshakeKind, HandshakeResult, Histogram, Metrics};

impl Metrics {
    /// Renders everything; `now` in seconds since the epoch, for what remains of certificates.
    pub fn render(&self, now: u64) -> String {
        // An encoding error would need a family without a name or a series: ours have both.
        TextEncoder::new().encode_to_string(&self.gather(now)).unwrap_or_default()
    }

    fn gather(&self, now: u64) -> Vec<proto::MetricFamily> {
        let mut out = Exposition(Vec::new());
        self.gather_plain(&mut out);
        self.gather_listeners(&mut out);
        self.gather_routes(&mut out);
        self.gather_upstreams(&mut out);
        out.add(
            &families::PRINCIPAL_REQUESTS,
            self.principals.all().into_iter().map(|(id, counter)| number(&families::PRINCIPAL_REQUESTS, &[&id], counter.get() as f64)),
        );
        out.add(
            &families::SOURCE_LAST_GOOD,
            lock(&self.sources).iter().map(|(source, time)| number(&families::SOURCE_LAST_GOOD, &[source], *time)),
        );
        out.add(
            &families::CERTIFICATE_EXPIRY,
            self.watched_certificates().iter().map(|certificate| {
                let left = certificate.not_after as f64 - now as f64;
                number(&families::CERTIFICATE_EXPIRY, &[certificate.kind, &certificate.name], left)
            }),
        );
        out.0
    }

    fn gather_plain(&self, out: &mut Exposition) {
        out.one(&families::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        out.one(&families::GENERATION, &[], self.generation.get());
        out.one(&families::ALLOWLIST_ENTRIES, &[], self.allowlist_entries.get());
        out.one(&families::LAST_RELOAD_SUCCESS, &[], self.last_reload_success.get());
        out.one(&families::RELOAD_PROBLEMS, &[], self.reload_problems.get());
        out.one(&families::LEDGER_MERGED, &[], self.ledger_merged.get() as f64);
        out.one(&families::LEDGER_UNRECORDED, &[], self.ledger_unrecorded.get());
        out.one(&families::ACCEPT_ERRORS, &[], self.accept_errors.get() as f64);
        out.one(&families::PANICS, &[], self.panics.get() as f64);
        out.one(&families::LOG_LINES_DROPPED, &[], self.log_lines_dropped.load(Ordering::Relaxed) as f64);
        out.by_code(&families::CONNECTIONS_CUT, &self.connections_cut);
        out.by_code(&families::IDENTITY_LEFT_OUT, &self.identity_left_out);
        out.by_code(&families::OVERLOADS, &self.overloads);
        out.by_code(&families::RELOADS, &self.reloads);
        out.add(&families::REQUEST_SECONDS, [histogram(&families::REQUEST_SECONDS, &[], &self.request_seconds)]);
        out.add(&families::REVOCATION_SECONDS, [histogram(&families::REVOCATION_SECONDS, &[], &self.revocation_seconds)]);
    }

    fn gather_listeners(&self, out: &mut Exposition) {
        let listeners = self.listeners.all();
        let connections =
            listeners.iter().map(|(name, listener)| number(&families::CONNECTIONS, &[name], listener.connections.get() as f64));
        out.add(&families::CONNECTIONS, connections);
        let handshakes = listeners.iter().flat_map(|(name, listener)| {
            // Every combination from the start: a rate over a series that appears with its first event misses that event.
            HandshakeResult::ALL.into_iter().flat_map(move |result| {
                HandshakeKind::ALL.into_iter().map(move |kind| {
                    let count = listener.handshakes[result as usize][kind as usize].get();
                    number(&families::HANDSHAKES, &[name, result.label(), kind.label()], count as f64)
                })
            })
        });
        out.add(&families::HANDSHAKES, handshakes);
        let denials = listeners.iter().flat_map(|(name, listener)| {
            listener.denials.all().map(move |(code, count)| number(&families::DENIALS, &[name, code], count as f64))
        });
        out.add(&families::DENIALS, denials);
    }

    fn gather_routes(&self, out: &mut Exposition) {
        let routes = self.routes.all();
        let requests = routes.iter().flat_map(|(name, route)| {
            route
                .statuses
                .iter()
                .zip(STATUS_CLASSES)
                .map(move |(counter, class)| number(&families::REQUESTS, &[name, class], counter.get() as f64))
        });
        out.add(&families::REQUESTS, requests);
    }

    fn gather_upstreams(&self, out: &mut Exposition) {
        let upstreams = self.upstreams.all();
        let seconds = upstreams.iter().map(|(name, upstream)| histogram(&families::UPSTREAM_SECONDS, &[name], &upstream.seconds));
        out.add(&families::UPSTREAM_SECONDS, seconds);
        let failures = upstreams.iter().flat_map(|(name, upstream)| {
            upstream.failures.all().map(move |(code, count)| number(&families::UPSTREAM_FAILURES, &[name, code], count as f64))
        });
        out.add(&families::UPSTREAM_FAILURES, failures);
    }
}

struct Exposition(Vec<proto::MetricFamily>);

impl Exposition {
    /// Adds a family; one without series is left out, as the encoder wants it.
    fn add(&mut self, info: &FamilyInfo, series: impl IntoIterator<Item = proto::Metric>) {
        let series: Vec<_> = series.into_iter().collect();
        if series.is_empty() {
            return;
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(info.name.to_owned());
        family.set_help(info.help.to_owned());
        family.set_field_type(info.kind);
        family.set_metric(series);
        self.0.push(family);
    }

    fn one(&mut self, info: &FamilyInfo, labels: &[&str], value: f64) {
        self.add(info, [number(info, labels, value)]);
    }

    fn by_code(&mut self, info: &FamilyInfo, counters: &ByCode) {
        self.add(info, counters.all().map(|(code, count)| number(info, &[code], count as f64)));
    }
}

fn number(info: &FamilyInfo, labels: &[&str], value: f64) -> proto::Metric {
    let mut metric = labelled(info, labels);
    if info.kind == proto::MetricType::COUNTER {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn histogram(info: &FamilyInfo, labels: &[&str], cells: &Histogram) -> proto::Metric {
    let (buckets, count, sum) = cells.read();
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    let bucket = |(bound, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    histogram.set_bucket(buckets.into_iter().map(bucket).collect());
    let mut metric = labelled(info, labels);
    metric.set_histogram(histogram);
    metric
}

fn labelled(info: &FamilyInfo, values: &[&str]) -> proto::Metric {
    debug_assert_eq!(info.labels.len(), values.len(), "{}", info.name);
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    proto::Metric::from_label(info.labels.iter().zip(values).map(pair).collect())
}

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::metrics::{CertificateExpiry, HandshakeKind, HandshakeResult, Metrics, ReloadResult};

    /// Prometheus takes a series that begins with its first count for one that has not risen: nobody would be told of the first time.
    #[test]
    fn what_alerts_ask_for_begins_at_zero() {
        let metrics = Metrics::new(1);
        metrics.upstream("orders");
        let text = metrics.render(0);
        for series in [
            "portcullis_reload_problems 0",
            "portcullis_reload_total{result=\"failure\"} 0",
            "portcullis_overloads_total{limit=\"connections\"} 0",
            "portcullis_upstream_failures_total{upstream=\"orders\",code=\"upstream_unavailable\"} 0",
        ] {
            assert!(text.contains(series), "{series}: {text}");
        }
    }

    #[test]
    fn every_family_of_the_contract_is_rendered() {
        let metrics = Metrics::new(2);
        let listener = metrics.listener("edge");
        listener.handshake(HandshakeResult::Denied, HandshakeKind::Resumed);
        listener.denied("not_listed");
        let _open = listener.connections.hold();
        metrics.route("orders").request(503, Duration::from_millis(1));
        metrics.upstream("orders").seconds.observe(Duration::from_millis(1));
        metrics.upstream("orders").failed("upstream_timeout");
        metrics.principal("p-1", "alice").inc();
        metrics.tell_names(true);
        metrics.principal("p-1", "alice").inc();
        metrics.cut("revoked");
        metrics.identity_left_out("rfc9440");
        metrics.overloaded("handshakes");
        metrics.revocation(Duration::from_millis(4));
        metrics.reloaded(ReloadResult::Success, 1_800_000_000.0);
        metrics.set_sources([("allowlist/a.pem".to_owned(), 1_800_000_000.0)]);
        metrics.set_certificates(vec![CertificateExpiry::new("server", "edge".to_owned(), 90)]);
        let text = metrics.render(100);
        for line in [
            "portcullis_handshakes_total{kind=\"resumed\",listener=\"edge\",result=\"denied\"} 1",
            "portcullis_denials_total{code=\"not_listed\",listener=\"edge\"} 1",
            "portcullis_connections{listener=\"edge\"} 1",
            "portcullis_requests_total{route=\"orders\",status_class=\"5xx\"} 1",
            "portcullis_request_seconds_bucket{le=\"0.001\"} 1",
            "portcullis_upstream_seconds_count{upstream=\"orders\"} 1",
            "portcullis_upstream_failures_total{code=\"upstream_timeout\",upstream=\"orders\"} 1",
            "portcullis_principal_requests_total{principal=\"p-1\"} 1",
            "portcullis_principal_requests_total{principal=\"alice\"} 1",
            "portcullis_connections_cut_total{code=\"revoked\"} 1",
            "portcullis_identity_values_left_out_total{dialect=\"rfc9440\"} 1",
            "portcullis_overloads_total{limit=\"handshakes\"} 1",
            "portcullis_revocation_seconds_bucket{le=\"0.005\"} 1",
            "portcullis_reload_total{result=\"success\"} 1",
            "portcullis_last_reload_success_timestamp_seconds 1800000000",
            "portcullis_source_last_good_timestamp_seconds{source=\"allowlist/a.pem\"} 1800000000",
            "portcullis_certificate_expiry_seconds{kind=\"server\",name=\"edge\"} -10",
            "portcullis_generation 0",
            "portcullis_allowlist_entries 0",
            "portcullis_log_lines_dropped_total 0",
            "portcullis_panics_total 0",
            "portcullis_accept_errors_total 0",
        ] {
            // Labels come in the order of `families.rs`; compare as sets.
            let sorted = |line: &str| {
                let (name, rest) = line.split_once('{').unwrap_or((line, ""));
                let (labels, value) = rest.split_once('}').unwrap_or(("", rest));
                let mut labels: Vec<_> = labels.split(',').map(str::to_owned).collect();
                labels.sort();
                (name.to_owned(), labels, value.to_owned())
            };
            assert!(text.lines().any(|found| sorted(found) == sorted(line)), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_label_cannot_break_the_format() {
        let metrics = Metrics::new(1);
        metrics.set_sources([("a\"} 1\nportcullis_generation 7".to_owned(), 1.0)]);
        assert!(!metrics.render(0).contains("\nportcullis_generation 7"));
    }
}
