//! What a principal may do, in the few words that the protocols of other systems have for it: a rank, and access by route.

use std::collections::BTreeMap;

use crate::admission::{Access, Clearance, Terms};
use crate::store::managed::Document;

/// A rank, and access by route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) clearance: Clearance,
    /// Globs over route names, each with the highest access that it has: `read`, `write` or `admin`.
    pub(super) routes: BTreeMap<String, &'static str>,
    /// There is a `deny` or a `when` beside, for which the others have no words.
    more: bool,
}

impl Rights {
    /// A rank, and no route.
    pub(super) fn rank(clearance: Clearance) -> Self {
        Self { clearance, routes: BTreeMap::new(), more: false }
    }

    /// Reads them from a managed principal.
    pub(super) fn of(document: &Document) -> Self {
        let mut rights = Self::rank(document.clearance());
        for permission in &document.permissions {
            let access = NAMES.into_iter().find(|access| access.name() == permission.access);
            rights.add(permission.routes.iter().cloned(), access, permission.when.is_empty());
        }
        rights
    }

    /// Reads them from any principal in force.
    pub(super) fn of_terms(terms: &Terms) -> Self {
        let mut rights = Self::rank(terms.clearance);
        for permission in &terms.permissions {
            rights.add(permission.routes.iter().map(ToString::to_string), permission.access, permission.when.is_empty());
        }
        rights
    }

    fn add(&mut self, routes: impl Iterator<Item = String>, access: Option<Access>, is_unconditional: bool) {
        let Some(access) = access.filter(|_| is_unconditional) else {
            self.more = true;
            return;
        };
        for route in routes {
            let known = self.routes.entry(route).or_insert(access.name());
            let before = NAMES.into_iter().find(|before| before.name() == *known);
            *known = before.max(Some(access)).map_or(access.name(), Access::name);
        }
    }

    /// Nothing would be lost if they were replaced by other rights of this kind.
    pub(super) fn is_plain(&self) -> bool {
        !self.more
    }

    /// Returns the access to all routes, where that is all there is.
    pub(super) fn everywhere(&self) -> Option<&'static str> {
        match self.routes.len() {
            1 if !self.more => self.routes.get("*").copied(),
            _ => None,
        }
    }
}

const NAMES: [Access; 3] = [Access::Read, Access::Write, Access::Admin];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::managed::PermissionDocument;

    #[test]
    fn what_has_no_word_in_the_others_is_never_passed_over() {
        let permission = |routes: &[&str], access: &str, when: &[&str]| PermissionDocument {
            routes: routes.iter().map(ToString::to_string).collect(),
            access: access.to_owned(),
            when: when.iter().map(|key| (key.to_string(), vec!["*".to_owned()])).collect(),
        };
        for (permissions, everywhere, plain) in [
            (vec![], None, true),
            (vec![permission(&["*"], "write", &[])], Some("write"), true),
            (vec![permission(&["*"], "read", &[]), permission(&["*"], "write", &[])], Some("write"), true),
            (vec![permission(&["*"], "write", &[]), permission(&["*"], "read", &[])], Some("write"), true),
            (vec![permission(&["*", "orders"], "write", &[])], None, true),
            (vec![permission(&["*"], "write", &[]), permission(&["orders"], "deny", &[])], None, false),
            (vec![permission(&["*"], "write", &["organizational_unit"])], None, false),
        ] {
            let document = Document { permissions, ..Document::default() };
            let rights = Rights::of(&document);
            assert_eq!((rights.everywhere(), rights.is_plain()), (everywhere, plain), "{rights:?}");
        }
    }
}
