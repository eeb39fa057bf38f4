//! Conditions: when, from where, from which page a principal may come, and on which surface. And what every
//! certificate has to be: in its time, with a key that is worth something.

use std::net::IpAddr;

use ipnet::IpNet;
use rustls_pki_types::UnixTime;

use super::decision::{Basis, Denial, Horizon, Steps};
use super::principal::Terms;
use super::scope::{ClientAddress, Origin, RequestScope, RouteAuth, RouteScope, Scope, Surface};
use crate::date::Date;
use crate::pki::Certificate;
use crate::pki::certificate::KeyKind;

impl Terms {
    /// Judges all that does not depend on the route: enabled, time, address, surface.
    pub(super) fn check(&self, scope: &Scope<'_>, now: UnixTime, horizon: &mut Horizon, steps: &mut Steps) -> Result<(), Denial> {
        if !self.enabled {
            return Err(steps.failed("conditions", "the principal is disabled (enabled = false)", Denial::PrincipalDisabled));
        }
        self.check_time(now, horizon, steps)?;
        self.check_address(scope, steps)?;
        match (scope.request, &self.serve) {
            (Some(request), Some(serve)) if !serve.contains(&request.surface) => {
                let finding = format!("the principal may not use the surface {} (serve)", request.surface.name());
                Err(steps.failed("conditions", finding, Denial::SurfaceDenied))
            }
            _ => {
                steps.passed("conditions", "enabled, in time, from an address and on a surface that the principal may use");
                Ok(())
            }
        }
    }

    /// Judges the page that a request was sent from. Browsers attach certificates by themselves, so that proof of the
    /// key says nothing of whose idea the request was.
    pub(super) fn check_origin(&self, request: &RequestScope<'_>, route: &RouteScope, steps: &mut Steps) -> Result<(), Denial> {
        if !route.csrf || !request.unsafe_method {
            return Ok(());
        }
        let why = match request.origin {
            Origin::Absent | Origin::Same => return Ok(()),
            Origin::Other(origin) if self.cors_origins.iter().any(|pattern| pattern.matches(origin)) => {
                steps.found("origin", || format!("{origin:?} is in the principal's cors_origins"));
                return Ok(());
            }
            Origin::Other(origin) => format!("{origin:?} is neither this origin nor in the principal's cors_origins"),
            Origin::CrossSite => "sent by a page of another site, which names no origin".to_owned(),
        };
        Err(steps.failed("origin", why, Denial::OriginDenied))
    }

    /// Judges a call of ours: the page that it was sent from, and the rank. A page of another origin may change nothing here,
    /// whatever the principal's `cors_origins` say: those are for what is behind us, and for the tokens that lead there.
    pub(super) fn check_call(&self, request: &RequestScope<'_>, basis: &Basis, steps: &mut Steps) -> Result<(), Denial> {
        let may_ask = match request.origin {
            Origin::Absent | Origin::Same => true,
            Origin::Other(origin) => {
                request.surface == Surface::Challenge && self.cors_origins.iter().any(|pattern| pattern.matches(origin))
            }
            Origin::CrossSite => false,
        };
        if request.unsafe_method && !may_ask {
            return Err(steps.failed("origin", "sent by a page of another origin, and this changes something here", Denial::OriginDenied));
        }
        if let Basis::ServerCertificate { first_only: true } = basis
            && !request.begins
        {
            let finding = "the certificate that we serve with may say who it is and register the first admin, no more";
            return Err(steps.failed("bootstrap", finding, Denial::ClearanceTooLow));
        }
        let Some(needed) = request.clearance else {
            steps.passed("clearance", "whoever is admitted may call this");
            return Ok(());
        };
        let finding = || format!("{}, {} needed", self.clearance.name(), needed.name());
        if !self.clearance.reaches(needed) {
            return Err(steps.failed("clearance", finding(), Denial::ClearanceTooLow));
        }
        steps.found("clearance", finding);
        Ok(())
    }

    /// Tells whether some request of the principal on this route could be permitted.
    pub fn may_reach(&self, route: &RouteScope) -> bool {
        self.enabled
            && (route.auth == RouteAuth::None
                || self.clearance.skips_permissions()
                || super::permission::may_reach(&self.permissions, route))
    }

    /// Tells whether the principal could call on a surface of ours.
    pub fn may_use(&self, surface: Surface) -> bool {
        self.enabled && self.serve.as_ref().is_none_or(|serve| serve.contains(&surface))
    }

    fn check_time(&self, now: UnixTime, horizon: &mut Horizon, steps: &mut Steps) -> Result<(), Denial> {
        if let Some(from) = self.valid_from {
            horizon.change_at(from.as_secs());
            if now < from {
                let finding = format!("the principal is valid from {} on (valid_from)", Date::of(from.as_secs()));
                return Err(steps.failed("conditions", finding, Denial::PrincipalExpired));
            }
        }
        if let Some(until) = self.valid_until {
            horizon.change_at(until.as_secs().saturating_add(1));
            if now > until {
                let finding = format!("the principal was valid until {} (valid_until)", Date::of(until.as_secs()));
                return Err(steps.failed("conditions", finding, Denial::PrincipalExpired));
            }
        }
        Ok(())
    }

    fn check_address(&self, scope: &Scope<'_>, steps: &mut Steps) -> Result<(), Denial> {
        let Some(networks) = &self.client_ips else { return Ok(()) };
        let ip = match scope.address {
            // A trusted header may still name the client; the request will know.
            ClientAddress::Unsettled(_) if scope.request.is_none() => return Ok(()),
            // So may one of the principal's own gateways, which only the principal's terms tell.
            ClientAddress::Settled(ip) if scope.request.is_none() && self.is_gateway(ip) => return Ok(()),
            ClientAddress::Settled(ip) | ClientAddress::Unsettled(ip) => ip.to_canonical(),
            ClientAddress::Unknown => {
                let finding = "the client has no address (a unix socket without PROXY), and client_ips asks for one";
                return Err(steps.failed("conditions", finding, Denial::ClientIpDenied));
            }
        };
        match networks.iter().any(|network| network.contains(&ip)) {
            true => Ok(()),
            false => Err(steps.failed("conditions", format!("{ip} is outside the principal's client_ips"), Denial::ClientIpDenied)),
        }
    }

    fn is_gateway(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.gateway_ips.iter().any(|network| network.contains(&ip))
    }
}

/// Reads a network; a bare address is a network of one. `10.1.2.3/8` is refused: it says two things.
pub fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let net: IpNet = text.parse().map_err(|_| format!("`{text}` is no network: write it like \"192.0.2.0/24\" or \"2001:db8::/32\""))?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("`{text}` has bits beyond its prefix: did you mean \"{}\"?", net.trunc()))
    }
}

/// Says why a key is worth nothing, or costs too much to check.
pub(super) fn weak_key(certificate: &Certificate) -> Option<String> {
    match certificate.key {
        KeyKind::Ec { bits } if bits < 256 => Some(format!("an EC key of {bits} bits; 256 at least")),
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } if bits < 2048 => Some(format!("an RSA key of {bits} bits; 2048 at least")),
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } if bits > 8192 => Some(format!("an RSA key of {bits} bits; 8192 at most")),
        KeyKind::Other => Some("a key of a kind that is not supported: RSA, EC on P-256, P-384 or P-521, Ed25519".to_owned()),
        KeyKind::Ec { .. } | KeyKind::Ed25519 | KeyKind::Rsa { .. } | KeyKind::RsaPss { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::RequestScope;
    use super::super::{Access, Origin};
    use super::*;

    #[test]
    fn a_gateway_of_the_principal_is_judged_by_the_address_that_its_request_names() {
        let terms = Terms {
            client_ips: Some(vec!["192.0.2.0/24".parse().unwrap()]),
            gateway_ips: vec!["10.20.0.5/32".parse().unwrap()],
            ..Terms::default()
        };
        let request = RequestScope {
            surface: Surface::Proxy,
            route: None,
            access: Access::Read,
            clearance: None,
            begins: true,
            origin: Origin::Absent,
            unsafe_method: false,
        };
        let at = |ip: &str| ClientAddress::Settled(ip.parse().unwrap());
        for (address, request, admitted) in [
            (at("10.20.0.5"), None, true),
            (at("::ffff:10.20.0.5"), None, true),
            (at("10.20.0.6"), None, false),
            (at("10.20.0.5"), Some(request), false),
            (at("192.0.2.1"), Some(request), true),
            (ClientAddress::Unknown, None, false),
        ] {
            let checked = terms.check_address(&Scope { address, request, control: false }, &mut Steps::default());
            assert_eq!(checked.is_ok(), admitted, "{address:?} {}", request.is_some());
        }
    }
}
