//! Route, access, clearance: what a principal may do.

use super::bounds::{Attribute, Glob};

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
