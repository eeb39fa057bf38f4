//! Whose end is watched, of what the configuration names: a part of `gather`.

use std::path::Path;

use super::gather::Gathering;
use crate::admission::{Principal, PrincipalId};
use crate::metrics::CertificateExpiry;
use crate::store::allowlist::End;

impl Gathering<'_, '_> {
    pub(super) fn expires(&mut self, kind: &'static str, name: &str, not_after: Option<u64>) {
        self.found.expiries.extend(not_after.map(|not_after| CertificateExpiry::new(kind, name.to_owned(), not_after)));
    }

    pub(super) fn expires_of(&mut self, principal: &Principal, (kind, name): (&'static str, &str), not_after: Option<u64>) {
        let (principal, notice) = (Some(principal.name.to_string()), principal.terms.expiry_notice.clone());
        let expiry = |not_after| CertificateExpiry { principal, notice, ..CertificateExpiry::new(kind, name.to_owned(), not_after) };
        self.found.expiries.extend(not_after.map(expiry));
    }

    pub(super) fn ends_of_list(&mut self, path: &Path, ends: &[End]) {
        let names = self.plan.file.monitor.as_ref().is_some_and(|monitor| monitor.names);
        for end in ends {
            match &end.principal {
                None => self.expires("allowlist", &path.display().to_string(), Some(end.not_after)),
                Some(name) => {
                    let label = if names { name.to_string() } else { PrincipalId::derived(name).to_string() };
                    let principal = Some(name.to_string());
                    self.found.expiries.push(CertificateExpiry { principal, ..CertificateExpiry::new("pin", label, end.not_after) });
                }
            }
        }
    }
}
