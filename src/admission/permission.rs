//! Route, access, clearance: what a principal may do.

use super::attribute::{AmbiguousCommonName, Attribute};
use super::glob::Glob;
use super::scope::RouteScope;
use crate::pki::Certificate;

/// What a request needs, or a permission gives. Ordered: each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    Read,
    Write,
    Admin,
}

impl Access {
    /// Returns the name that configuration, headers and logs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The rank for managing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clearance {
    Admin,
    Node,
    Operator,
    #[default]
    User,
}

impl Clearance {
    /// Returns the name that configuration, headers and logs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Node => "node",
            Self::Operator => "operator",
            Self::User => "user",
        }
    }
}

/// Routes, and the access to them; `None` as access is `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Globs over route names; `*` is every route.
    pub routes: Vec<Glob>,
    /// The access given; `None` denies.
    pub access: Option<Access>,
    /// Holds only for leaves with these attributes: OR inside an attribute, AND across them. Always false for an SPKI pin.
    pub when: Vec<(Attribute, Vec<Glob>)>,
}

impl Clearance {
    /// Tells whether this rank may do what asks for another. A node manages nothing, whatever is asked.
    pub fn reaches(self, needed: Self) -> bool {
        let rank = |clearance: Self| match clearance {
            Self::Node => None,
            Self::User => Some(0),
            Self::Operator => Some(1),
            Self::Admin => Some(2),
        };
        rank(self).zip(rank(needed)).is_some_and(|(has, needed)| has >= needed)
    }

    /// Operators change nothing about who has this.
    pub fn is_above_operators(self) -> bool {
        match self {
            Self::Admin | Self::Node => true,
            Self::Operator | Self::User => false,
        }
    }

    /// Only admins skip the permissions of routes.
    pub fn skips_permissions(self) -> bool {
        self == Self::Admin
    }
}

/// Judges what permissions give on a route: any `deny` that matches wins, else the highest access.
pub(super) fn access_on(permissions: &[Permission], route: &RouteScope, leaf: Option<&Certificate>) -> Result<Access, Refusal> {
    let mut highest = None;
    for (number, permission) in permissions.iter().enumerate().filter(|(_, permission)| permission.names(route)) {
        if !permission.holds(leaf).map_err(|AmbiguousCommonName| Refusal::Ambiguous)? {
            continue;
        }
        match permission.access {
            None => return Err(Refusal::Denied { number }),
            Some(access) => highest = highest.max(Some(access)),
        }
    }
    highest.ok_or(Refusal::Nothing)
}

/// Tells whether some leaf could have access to a route: no unconditional deny, and an access, conditional or not.
pub(super) fn may_reach(permissions: &[Permission], route: &RouteScope) -> bool {
    let named = || permissions.iter().filter(|permission| permission.names(route));
    named().any(|permission| permission.access.is_some())
        && !named().any(|permission| permission.access.is_none() && permission.when.is_empty())
}

/// Why permissions give nothing on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Ambiguous,
    Denied { number: usize },
    Nothing,
}

impl Permission {
    fn names(&self, route: &RouteScope) -> bool {
        self.routes.iter().any(|glob| glob.matches(&route.name))
    }

    /// Tells whether `when` holds. `None` as leaf: an SPKI pin, whose holder can write any name into a certificate.
    fn holds(&self, leaf: Option<&Certificate>) -> Result<bool, AmbiguousCommonName> {
        if self.when.is_empty() {
            return Ok(true);
        }
        let Some(leaf) = leaf else { return Ok(false) };
        let mut holds = true;
        // To the end, so that a second common name is never passed over because something else failed first.
        for (attribute, globs) in &self.when {
            let values = attribute.deciding_values(leaf)?;
            holds &= attribute.matches(&values, globs);
        }
        Ok(holds)
    }
}
