//! Messages on their way through: heads whose fields keep the order, the case and the bytes in which they came. What the
//! data plane reads and changes; the types of the `http` crate, which hash each name and lower its case, stand where
//! engines and libraries ask for them.

mod fields;
mod names;

use http::{Extensions, Method, StatusCode, Uri, Version};

pub use fields::{Fields, Run, text};
pub use names::{Asked, HOP_BY_HOP, Name, Names, Token};

/// The head of a request.
#[derive(Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: Fields,
    /// What an engine knows of it beside what was sent.
    pub extensions: Extensions,
}

/// A request; nothing is known of its body.
#[derive(Debug, Default)]
pub struct Request<B> {
    pub head: RequestHead,
    pub body: B,
}

/// A response. Its version is the connection's that it goes out on (RFC 9112, 2.3).
#[derive(Debug, Default)]
pub struct Response<B> {
    pub status: StatusCode,
    pub headers: Fields,
    pub body: B,
}

impl<B> Request<B> {
    /// Keeps the head with another body.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Request<C> {
        Request { head: self.head, body: change(self.body) }
    }
}

impl<B> Response<B> {
    /// Begins a response without fields.
    pub fn new(status: StatusCode, body: B) -> Self {
        Self { status, headers: Fields::default(), body }
    }

    /// Keeps the head with another body.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Response<C> {
        Response { status: self.status, headers: self.headers, body: change(self.body) }
    }
}

impl<B> From<http::Request<B>> for Request<B> {
    fn from(request: http::Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let http::request::Parts { method, uri, version, headers, extensions, .. } = head;
        Self { head: RequestHead { method, uri, version, headers: headers.into(), extensions }, body }
    }
}

impl<B> From<Request<B>> for http::Request<B> {
    fn from(request: Request<B>) -> Self {
        let mut made = Self::new(request.body);
        *made.method_mut() = request.head.method;
        *made.uri_mut() = request.head.uri;
        *made.version_mut() = request.head.version;
        *made.headers_mut() = request.head.headers.to_map();
        *made.extensions_mut() = request.head.extensions;
        made
    }
}

impl<B> From<http::Response<B>> for Response<B> {
    fn from(response: http::Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status, headers: head.headers.into(), body }
    }
}

impl<B> From<Response<B>> for http::Response<B> {
    fn from(response: Response<B>) -> Self {
        let mut made = Self::new(response.body);
        *made.status_mut() = response.status;
        *made.headers_mut() = response.headers.to_map();
        made
    }
}
