//! Name, help and labels of every family. Dashboards and alerts rely on them: add freely, change nothing.

use prometheus::proto::MetricType;

/// One family, as the exposition format knows it.
pub(super) struct FamilyInfo {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $constant: FamilyInfo = FamilyInfo {
            name: concat!("portcullis_", $name),
            help: $help,
            kind: MetricType::$kind,
            labels: &$labels,
        };)*

        /// Every family.
        #[cfg(test)]
        const ALL: &[&FamilyInfo] = &[$(&$constant),*];
    };
}

families! {
    ACCEPT_ERRORS = COUNTER "accept_errors_total" [], "Connections that could not be accepted.";
    ALLOWLIST_ENTRIES = GAUGE "allowlist_entries" [], "Principals in force.";
    BUILD_INFO = GAUGE "build_info" ["version"], "Always 1; tells the version.";
    CERTIFICATE_EXPIRY = GAUGE "certificate_expiry_seconds" ["kind", "name"], "Seconds until the certificate or CRL ends; negative once it has. Of each kind, those that end first.";
    CONNECTIONS = GAUGE "connections" ["listener"], "Connections open.";
    CONNECTIONS_CUT = COUNTER "connections_cut_total" ["code"], "Live connections and streams ended because a change of rules or the passing of time denied them.";
    DENIALS = COUNTER "denials_total" ["listener", "code"], "Denials and failures that a client was told, by code.";
    GENERATION = GAUGE "generation" [], "Number of the rules in force.";
    HANDSHAKES = COUNTER "handshakes_total" ["listener", "result", "kind"], "TLS handshakes ended.";
    IDENTITY_LEFT_OUT = COUNTER "identity_values_left_out_total" ["dialect"], "Values left out of identity headers because the dialect cannot express them safely.";
    LAST_RELOAD_SUCCESS = GAUGE "last_reload_success_timestamp_seconds" [], "When a reload last succeeded in full.";
    LEDGER_MERGED = COUNTER "ledger_merged_total" [], "Reloads of files that one entry of the ledger tells of together with the one before, since it could not be written meanwhile.";
    LEDGER_UNRECORDED = GAUGE "ledger_unrecorded" [], "Changes in force that the ledger could not take yet: a restart would forget them.";
    LOG_LINES_DROPPED = COUNTER "log_lines_dropped_total" [], "Lines of the access log or the operational log lost because their destination was slow or failed.";
    OVERLOADS = COUNTER "overloads_total" ["limit"], "Clients turned away by a limit.";
    PANICS = COUNTER "panics_total" [], "Tasks that panicked: each a defect to report.";
    PRINCIPAL_REQUESTS = COUNTER "principal_requests_total" ["principal"], "Requests admitted, by principal; beyond the cap together.";
    RELOAD_PROBLEMS = GAUGE "reload_problems" [], "Problems with the files as they are now; of each the last good content is in force.";
    RELOADS = COUNTER "reload_total" ["result"], "Reloads ended.";
    REQUESTS = COUNTER "requests_total" ["route", "status_class"], "Requests answered.";
    REQUEST_SECONDS = HISTOGRAM "request_seconds" [], "From the request's head read to the answer's last byte written.";
    REVOCATION_SECONDS = HISTOGRAM "revocation_seconds" [], "From a change being seen to the last connection it cut.";
    SOURCE_LAST_GOOD = GAUGE "source_last_good_timestamp_seconds" ["source"], "When the content in force of a source was last read whole and found good.";
    UPSTREAM_FAILURES = COUNTER "upstream_failures_total" ["upstream", "code"], "Requests that an upstream did not answer, by code.";
    UPSTREAM_SECONDS = HISTOGRAM "upstream_seconds" ["upstream"], "From the request's head read to the answer's head read.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_documented_with_its_labels() {
        let documented = include_str!("../../docs/operating.md");
        for family in ALL {
            let labels = if family.labels.is_empty() { String::new() } else { format!("{{{}}}", family.labels.join(",")) };
            let wanted = format!("`{}{labels}`", family.name);
            assert!(documented.contains(&wanted), "docs/operating.md has no {wanted}");
        }
    }
}
