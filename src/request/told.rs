//! What the requests of one connection have in common: for whom they are, and the lines by which upstreams are told of their client.
//! The next one mostly says the same, byte for byte: then it is neither read nor written anew.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Uri};

use super::onward::Onward;
use crate::address::ForwardingHeader;
use crate::gate::Admitted;
use crate::identity::{self, Rendered, Settings};
use crate::message::{Fields, Name, Names};
use crate::routing::{Authority, AuthorityError};

/// Of one connection: of its latest request only.
#[derive(Default)]
pub struct Told {
    named: RefCell<Option<Rc<Named>>>,
    lines: RefCell<Option<Lines>>,
}

/// For whom a request is.
pub(super) struct Named {
    /// As it was sent: in `Host`, or in the target.
    sent: Box<[u8]>,
    in_host: bool,
    authority: Authority<'static>,
    /// What the upstream reads as `Host`.
    pub(super) value: HeaderValue,
}

/// What goes with every request that is told the same. Holds what it was written from, so that an address cannot come to mean
/// something else.
struct Lines {
    admitted: Option<Rc<Admitted>>,
    settings: Arc<Settings>,
    header: ForwardingHeader,
    named: Rc<Named>,
    /// Shared by the connections of a client: it may be long.
    identity: Option<Rc<Rendered>>,
    address: Fields,
}

impl Told {
    /// Returns for whom a request is.
    pub(super) fn named(&self, target: &Uri, headers: &Fields) -> Result<Rc<Named>, AuthorityError> {
        let in_target = target.authority().map(|authority| authority.as_str().as_bytes());
        let mut in_host = headers.get_all(&Name::Host);
        let (sent, in_host) = match (in_target, in_host.next(), in_host.next()) {
            (Some(sent), None, _) => (sent, false),
            (None, Some(sent), None) => (sent, true),
            // Both, or one too many, or none.
            _ => return Named::of(&[], false, target, headers),
        };
        let mut latest = self.named.borrow_mut();
        match &*latest {
            Some(named) if *named.sent == *sent && named.in_host == in_host => Ok(Rc::clone(named)),
            _ => Ok(Rc::clone(latest.insert(Named::of(sent, in_host, target, headers)?))),
        }
    }
}

impl Named {
    #[inline(never)]
    fn of(sent: &[u8], in_host: bool, target: &Uri, headers: &Fields) -> Result<Rc<Self>, AuthorityError> {
        let Authority { host, port } = Authority::of(target, headers)?;
        let authority = Authority { host: host.into_owned().into(), port };
        Ok(Rc::new(Self { sent: sent.into(), in_host, value: authority.to_header_value(), authority }))
    }

    pub(super) fn authority(&self) -> Authority<'_> {
        Authority { host: (&*self.authority.host).into(), port: self.authority.port }
    }

    /// `Host` is as the upstream is to read it.
    pub(super) fn is_spelled(&self) -> bool {
        self.in_host && *self.sent == *self.value.as_bytes()
    }
}

impl Onward<'_> {
    /// Puts what upstreams are told in the place of what the client said of itself.
    pub(super) fn tell(&self, headers: &mut Fields) {
        // To be removed, added to, or written where it stands.
        if self.origin.trusted || headers.may_have(SAID) {
            return self.tell_anew(headers);
        }
        let mut latest = self.context.told.lines.borrow_mut();
        match latest.as_ref().filter(|lines| lines.are_of(self)) {
            Some(lines) => lines.write(headers),
            None => match self.lines() {
                Some(lines) => latest.insert(lines).write(headers),
                None => self.tell_anew(headers),
            },
        }
    }

    /// `None`: the client is a gateway, which may forward another one's identity with each request.
    #[cold]
    fn lines(&self) -> Option<Lines> {
        let identity = self.rendered();
        let mut address = Fields::default();
        if let Some(identity) = &identity {
            identity.in_common()?;
            identity.tell_client(&mut address, self.client().as_ref());
        }
        self.tell_address(&mut address);
        address.shrink_to_fit();
        let rules = &self.current.rules;
        Some(Lines {
            admitted: self.grant.admitted().cloned(),
            settings: Arc::clone(&rules.identity),
            header: rules.trust.header,
            named: Rc::clone(self.named),
            identity,
            address,
        })
    }

    #[cold]
    fn tell_anew(&self, headers: &mut Fields) {
        identity::replace(headers, self.rendered().as_deref(), self.needed, self.client().as_ref());
        self.tell_address(headers);
    }

    fn tell_address(&self, headers: &mut Fields) {
        let scheme = if self.context.secure { "https" } else { "http" };
        self.current.rules.trust.write(headers, self.origin, &self.context.peer, scheme, &self.named.value);
    }

    fn rendered(&self) -> Option<Rc<Rendered>> {
        self.context.identity.rendered(self.grant, &self.current.rules.identity, &self.context.uris)
    }

    fn client(&self) -> Option<HeaderValue> {
        self.origin.address.ip().map(|ip| self.context.peer.text_of(ip))
    }
}

impl Lines {
    fn are_of(&self, onward: &Onward<'_>) -> bool {
        let rules = &onward.current.rules;
        self.admitted.as_ref().map(Rc::as_ptr) == onward.grant.admitted().map(Rc::as_ptr)
            && Arc::ptr_eq(&self.settings, &rules.identity)
            && self.header == rules.trust.header
            && Rc::ptr_eq(&self.named, onward.named)
    }

    fn write(&self, headers: &mut Fields) {
        if let Some(identity) = self.identity.as_ref().and_then(|identity| identity.in_common()) {
            headers.append_all(identity);
        }
        headers.append_all(&self.address);
    }
}

/// What a client may say of itself, and what forwarders may say of theirs.
const SAID: Names = Names::of(&[
    Name::Claimed,
    Name::Forwarded,
    Name::Forwarding,
    Name::MethodOverride,
    Name::XForwardedFor,
    Name::XForwardedHost,
    Name::XForwardedProto,
]);

#[cfg(test)]
mod tests {
    use super::*;

    fn named(told: &Told, target: &str, hosts: &[&str]) -> Result<Rc<Named>, AuthorityError> {
        let mut headers = Fields::default();
        hosts.iter().for_each(|host| headers.append(Name::Host, HeaderValue::from_str(host).unwrap()));
        told.named(&target.parse().unwrap(), &headers)
    }

    #[test]
    fn what_is_remembered_of_a_host_is_what_would_be_read() {
        let told = Told::default();
        let hosts: [&[&str]; 9] =
            [&[], &["a.example"], &["A.example"], &["a.example."], &["a.example:443"], &["b"], &["", "b"], &["b", "b"], &["b c"]];
        let targets = ["/x", "https://a.example/x", "https://b/x", "https://A.example:443/x"];
        // Each one behind each other one, and behind itself.
        let asked: Vec<(&str, &[&str])> = targets.iter().flat_map(|target| hosts.iter().map(move |hosts| (*target, *hosts))).collect();
        for (first, second) in asked.iter().flat_map(|first| asked.iter().map(move |second| (first, second))) {
            let _ = named(&told, first.0, first.1);
            let (remembered, read) = (named(&told, second.0, second.1), named(&Told::default(), second.0, second.1));
            let seen = |named: Result<Rc<Named>, AuthorityError>| {
                named.map(|named| (named.authority().to_string(), named.value.clone(), named.is_spelled()))
            };
            assert_eq!(seen(remembered), seen(read), "{second:?} behind {first:?}");
        }
    }

    #[test]
    fn the_same_host_is_read_once() {
        let told = Told::default();
        let first = named(&told, "/x", &["a.example:8443"]).unwrap();
        assert!(Rc::ptr_eq(&first, &named(&told, "/y", &["a.example:8443"]).unwrap()) && first.is_spelled());
        assert!(!Rc::ptr_eq(&first, &named(&told, "https://a.example:8443/", &[]).unwrap()));
        assert!(!named(&told, "/x", &["A.example"]).unwrap().is_spelled());
    }
}
