//! The fields of one head, in a list: few are there, and to compare lengths is cheaper than to hash. A name that came over
//! HTTP/1.1 stays where it lies in the head, as it is spelled; values refer to the head, too.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields in the order in which they came. Names are compared without case (RFC 9110, 5.1).
#[derive(Default)]
pub struct Fields {
    /// What the names that came refer to.
    head: Bytes,
    list: Vec<Field>,
    /// A bit for each length of a name: most questions are answered by it.
    lengths: u64,
}

#[derive(Clone)]
struct Field {
    name: Name,
    /// Of the name: most comparisons end with it.
    length: u16,
    value: HeaderValue,
}

#[derive(Clone)]
enum Name {
    /// Ours, or of an engine that lowers the case.
    Known(HeaderName),
    /// Where in the head it begins.
    Sent(u32),
}

impl Fields {
    /// Begins with none, of a head that their names will refer to.
    pub fn of(head: Bytes) -> Self {
        Self { head, list: SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(USUAL)), lengths: 0 }
    }

    /// Adds a field that stands in the head. The name is a token of its bytes: what is not there has no name, and is left out.
    pub fn append_sent(&mut self, name: &str, value: HeaderValue) {
        let at = (name.as_ptr() as usize).wrapping_sub(self.head.as_ptr() as usize);
        let is_there = at.checked_add(name.len()).is_some_and(|end| end <= self.head.len());
        let (Ok(at), true) = (u32::try_from(at), is_there) else { return };
        self.push(name.len(), Name::Sent(at), value);
    }

    /// Adds a field behind all others.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        let length = name.as_str().len();
        self.push(length, Name::Known(name), value);
    }

    /// Puts a value in the place of all that a name has. The first one keeps its place, and its spelling.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(first) = self.position(name.as_str()) else { return self.append(name, value) };
        self.list[first].value = value;
        let head = &self.head;
        if self.list[first + 1..].iter().any(|field| field.is(head, name.as_str())) {
            let mut index = 0;
            self.list.retain(|field| {
                index += 1;
                index <= first + 1 || !field.is(head, name.as_str())
            });
        }
    }

    /// Removes all that a name has; says whether there was any.
    pub fn remove(&mut self, name: impl AsRef<str>) -> bool {
        let name = name.as_ref();
        let found = self.position(name).is_some();
        if found {
            let head = &self.head;
            self.list.retain(|field| !field.is(head, name));
        }
        found
    }

    /// Keeps what is wanted, by name and value.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&[u8], &HeaderValue) -> bool) {
        let head = &self.head;
        self.list.retain(|field| is_kept(field.name(head), &field.value));
    }

    /// Returns the first value of a name.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&HeaderValue> {
        self.position(name.as_ref()).map(|at| &self.list[at].value)
    }

    /// Yields the values of a name, in order.
    pub fn get_all<'a>(&'a self, name: &(impl AsRef<str> + ?Sized)) -> impl Iterator<Item = &'a HeaderValue> {
        let name = name.as_ref();
        let list = if self.lengths & bit(name.len()) == 0 { &[][..] } else { &self.list[..] };
        list.iter().filter(move |field| field.is(&self.head, name)).map(|field| &field.value)
    }

    /// Says whether a name has a value.
    pub fn contains_key(&self, name: impl AsRef<str>) -> bool {
        self.position(name.as_ref()).is_some()
    }

    /// Yields all fields in order, each name as it is spelled.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &HeaderValue)> {
        self.list.iter().map(|field| (field.name(&self.head), &field.value))
    }

    /// Yields all fields in order, and of those that are as they came the whole line, with its end.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &HeaderValue, Option<&[u8]>)> {
        self.list.iter().map(|field| (field.name(&self.head), &field.value, field.line(&self.head)))
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns them as libraries take them.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.list.len());
        for field in &self.list {
            let name = match &field.name {
                Name::Known(name) => Some(name.clone()),
                // INVARIANT: a parser took it for a token.
                Name::Sent(_) => HeaderName::from_bytes(field.name(&self.head)).ok(),
            };
            if let Some(name) = name {
                map.append(name, field.value.clone());
            }
        }
        map
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.lengths & bit(name.len()) == 0 {
            return None;
        }
        self.list.iter().position(|field| field.is(&self.head, name))
    }

    fn push(&mut self, length: usize, name: Name, value: HeaderValue) {
        self.lengths |= bit(length);
        // INVARIANT: no name is longer (the `http` crate takes none, and no head is read that has one).
        if let Ok(length) = u16::try_from(length) {
            self.list.push(Field { name, length, value });
        }
    }
}

impl Field {
    fn name<'a>(&'a self, head: &'a [u8]) -> &'a [u8] {
        match &self.name {
            Name::Known(name) => name.as_str().as_bytes(),
            // INVARIANT: it was a part of the head.
            Name::Sent(at) => head.get(*at as usize..*at as usize + usize::from(self.length)).unwrap_or_default(),
        }
    }

    /// Returns the line, if it is how we would write it: one space, and the value that came.
    fn line<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        let Name::Sent(at) = self.name else { return None };
        let (at, value) = (at as usize, self.value.as_bytes());
        let from = at + usize::from(self.length) + 2;
        let line = head.get(at..from + value.len() + 2)?;
        // A value that was put in its place lies elsewhere.
        let is_its = std::ptr::eq(line[from - at..].as_ptr(), value.as_ptr());
        (is_its && line[from - at - 2..from - at] == *b": " && line.ends_with(b"\r\n")).then_some(line)
    }

    fn is(&self, head: &[u8], name: &str) -> bool {
        usize::from(self.length) == name.len() && self.name(head).eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        if self.list.capacity() == 0 || self.list.capacity() > 4 * USUAL {
            return;
        }
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        // The thread may be ending: then the memory goes as usual.
        let _ = SHELF.try_with(|shelf| {
            if let Ok(mut shelf) = shelf.try_borrow_mut()
                && shelf.len() < MOST
            {
                shelf.push(list);
            }
        });
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::of(Bytes::new());
        let mut latest = None;
        for (name, value) in map {
            // Further values of a name come without it.
            latest = name.or(latest);
            if let Some(name) = &latest {
                fields.append(name.clone(), value);
            }
        }
        fields
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(pairs: I) -> Self {
        let mut fields = Self::of(Bytes::new());
        pairs.into_iter().for_each(|(name, value)| fields.append(name, value));
        fields
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut fields = Self::of(self.head.clone());
        fields.lengths = self.lengths;
        fields.list.extend_from_slice(&self.list);
        fields
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Values may be secrets: names only, but for whoever asks a value itself.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

fn bit(length: usize) -> u64 {
    1 << length.min(63)
}

thread_local! {
    /// Lists that are not in use: a head takes no memory of its own.
    static SHELF: RefCell<Vec<Vec<Field>>> = const { RefCell::new(Vec::new()) };
}

/// Fields of a usual head, with ours.
const USUAL: usize = 24;
/// Lists of one thread.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    fn sent(head: &'static str) -> Fields {
        let mut fields = Fields::of(Bytes::from_static(head.as_bytes()));
        for line in head.lines() {
            let (name, text) = line.split_once(": ").unwrap();
            fields.append_sent(name, value(text));
        }
        fields
    }

    fn told(fields: &Fields) -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{}={}", str::from_utf8(name).unwrap(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn order_and_case_stay() {
        let mut fields = sent("HOST: a\nX-b: 1\nCookie: c\nx-B: 2\nAccept: d");
        assert_eq!(fields.get("host"), Some(&value("a")));
        assert_eq!(fields.get_all("x-b").collect::<Vec<_>>(), [&value("1"), &value("2")]);
        fields.insert(HeaderName::from_static("host"), value("z"));
        fields.insert(HeaderName::from_static("x-new"), value("n"));
        fields.insert(HeaderName::from_static("x-b"), value("3"));
        assert_eq!(told(&fields), ["HOST=z", "X-b=3", "Cookie=c", "Accept=d", "x-new=n"]);
        assert!(fields.remove("cookie") && !fields.remove("cookie") && !fields.contains_key("cookie"));
        fields.retain(|name, _| !name.eq_ignore_ascii_case(b"accept"));
        fields.append(HeaderName::from_static("host"), value("y"));
        assert_eq!(told(&fields), ["HOST=z", "X-b=3", "x-new=n", "host=y"]);
        assert!(!fields.is_empty());
    }

    #[test]
    fn a_line_is_whole_where_it_is_as_it_came() {
        let head = Bytes::from_static(b"A: 1\r\nB:2\r\nC:  3\r\nD: 4\r\nE: 5 \r\n\r\n");
        let mut fields = Fields::of(head.clone());
        for (name, value) in [(0..1, 3..4), (6..7, 8..9), (11..12, 15..16), (18..19, 21..22), (24..25, 27..28)] {
            let value = HeaderValue::from_maybe_shared(head.slice(value)).unwrap();
            fields.append_sent(str::from_utf8(&head[name]).unwrap(), value);
        }
        fields.insert(HeaderName::from_static("d"), value("9"));
        fields.append(HeaderName::from_static("f"), value("6"));
        let lines: Vec<_> = fields.lines().map(|(_, value, line)| (value.as_bytes(), line)).collect();
        assert_eq!(lines, [(&b"1"[..], Some(&b"A: 1\r\n"[..])), (b"2", None), (b"3", None), (b"9", None), (b"5", None), (b"6", None)]);
    }

    #[test]
    fn a_name_of_another_head_has_no_place() {
        let mut fields = Fields::of(Bytes::from_static(b"a: b"));
        let foreign = String::from("x");
        fields.append_sent(&foreign, value("y"));
        assert!(fields.is_empty() && fields.get("x").is_none());
    }

    #[test]
    fn maps_are_read_and_made() {
        let mut map = HeaderMap::new();
        for (name, text) in [("x-a", "1"), ("host", "h"), ("x-a", "2")] {
            map.append(name, value(text));
        }
        assert_eq!(Fields::from(map.clone()).to_map(), map);
        let sent = sent("X-A: 1\nHost: h\nx-a: 2");
        assert_eq!(sent.to_map(), map);
        assert_eq!(told(&sent.clone()), told(&sent));
    }

    #[test]
    fn long_names_are_found() {
        let (long, longer) = ("n".repeat(63), "n".repeat(64));
        let fields: Fields =
            [&long, &longer].map(|name| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value(name))).into_iter().collect();
        assert_eq!((fields.get(&long), fields.get(&longer)), (Some(&value(&long)), Some(&value(&longer))));
    }

    #[test]
    fn what_is_shown_tells_no_value() {
        assert_eq!(format!("{:?}", sent("Authorization: secret")), r#"["Authorization"]"#);
    }
}
