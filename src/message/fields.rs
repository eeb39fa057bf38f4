//! The fields of one head, in a list: few are there, and to compare lengths is cheaper than to hash. What came over HTTP/1.1
//! stays where it lies in the head, as it is spelled; what is ours is written once, as the line that goes out.

mod field;

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::names::{Asked, Name, Names, Token};
use field::{Field, Lies};

/// Fields in the order in which they came. Names are compared without case (RFC 9110, 5.1).
///
/// One pointer: heads are handed from step to step, and each of these would be copied each time. `None`: there never were any.
#[derive(Default)]
pub struct Fields(Option<Box<Parts>>);

#[derive(Default)]
struct Parts {
    /// What came.
    head: Bytes,
    /// Lines of ours, one behind the other.
    own: Vec<u8>,
    list: Vec<Field>,
    /// Of those in the list, and perhaps of some that were taken out: most questions are answered by it.
    names: Names,
    /// The size of the longest value that ever was among them.
    longest: u32,
}

/// Fields on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// Whole lines, as they lie there.
    Lines(&'a [u8]),
    /// A name and its value: to be looked at, or to be written anew.
    Field(Name, &'a [u8], &'a [u8]),
}

impl Fields {
    /// Begins with none, of a head that what comes will refer to.
    pub fn of(head: Bytes) -> Self {
        let mut parts = Parts::lent();
        parts.head = head;
        Self(Some(parts))
    }

    #[inline]
    fn parts(&self) -> &Parts {
        static NONE: Parts = Parts { head: Bytes::new(), own: Vec::new(), list: Vec::new(), names: Names::of(&[]), longest: 0 };
        self.0.as_deref().unwrap_or(&NONE)
    }

    #[inline]
    fn parts_mut(&mut self) -> &mut Parts {
        self.0.get_or_insert_with(Parts::lent)
    }

    /// Adds a field that stands in the head: a token that was told apart, and a value of its bytes, as a parser found them. `false`: it
    /// was not added, since it is not there, or its name is longer than any that we know.
    #[must_use]
    pub fn append_sent(&mut self, name: Name, spelled: &str, value: &[u8]) -> bool {
        let parts = self.parts_mut();
        let (Some(at), Ok(length)) = (parts.place(spelled.as_bytes()), u16::try_from(spelled.len())) else { return false };
        // Nothing may lie anywhere.
        let from = if value.is_empty() { at.checked_add(length.into()) } else { parts.place(value) };
        let (Some(from), Ok(size)) = (from, u32::try_from(value.len())) else { return false };
        let (name_end, end) = (at as usize + spelled.len(), from as usize + value.len());
        let is_line = parts.head.get(name_end..from as usize) == Some(b": ") && parts.head.get(end..end + 2) == Some(b"\r\n");
        let lies = if is_line { Lies::Line } else { Lies::Loose };
        parts.push(Field { at, value: from, size, length, name, lies });
        true
    }

    /// Adds a field behind all others.
    pub fn append(&mut self, name: impl Token, value: impl Borrow<HeaderValue>) {
        let parts = self.parts_mut();
        if let Some(line) = parts.write(name.name(), name.text().as_bytes(), value.borrow()) {
            parts.push(line);
        }
    }

    /// Adds lines of ours behind all others.
    pub fn append_all(&mut self, lines: &Self) {
        let (parts, lines) = (self.parts_mut(), lines.parts());
        // INVARIANT: no head is so large that its places have no number.
        let Ok(from) = u32::try_from(parts.own.len()) else { return };
        parts.own.extend_from_slice(&lines.own);
        let ours = lines.list.iter().filter(|field| field.lies == Lies::Own);
        parts.list.extend(ours.map(|field| Field { at: from + field.at, value: from + field.value, ..*field }));
        parts.names = parts.names.and(lines.names);
        parts.longest = parts.longest.max(lines.longest);
    }

    /// Gives memory back that is not needed: of what is kept.
    pub fn shrink_to_fit(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.list.shrink_to_fit();
            parts.own.shrink_to_fit();
        }
    }

    /// Puts a value in the place of all that a name has. The first one keeps its place, and its spelling.
    pub fn insert(&mut self, name: impl Token, value: impl Borrow<HeaderValue>) {
        match self.position(&name) {
            None => self.append(name, value),
            Some(first) => self.parts_mut().replace(first, name.name(), name.text(), value.borrow()),
        }
    }

    /// Removes all that a name has; says whether there was any.
    pub fn remove(&mut self, name: impl Asked) -> bool {
        let found = self.position(&name).is_some();
        if found {
            let Parts { head, own, list, .. } = self.parts_mut();
            list.retain(|field| !field.is(head, own, name.name(), name.text()));
        }
        found
    }

    /// Removes whatever is among the names.
    #[inline]
    pub fn remove_all(&mut self, names: Names) {
        if self.may_have(names) {
            self.parts_mut().remove_met(names);
        }
    }

    /// Removes whatever is not.
    pub fn keep_all(&mut self, names: Names) {
        self.parts_mut().list.retain(|field| names.has(field.name));
    }

    /// Keeps what is wanted, by name and value.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&[u8], &[u8]) -> bool) {
        let Parts { head, own, list, .. } = self.parts_mut();
        list.retain(|field| is_kept(field.spelled(head, own), field.value(head, own)));
    }

    /// Returns the first value of a name.
    pub fn get(&self, name: impl Asked) -> Option<&[u8]> {
        let parts = self.parts();
        self.position(&name).map(|at| parts.list[at].value(&parts.head, &parts.own))
    }

    /// Returns the first value of a name, to keep.
    #[inline]
    pub fn get_owned(&self, name: impl Asked) -> Option<HeaderValue> {
        self.position(&name).and_then(|at| self.parts().owned(at))
    }

    /// Yields the values of a name, in order.
    #[inline]
    pub fn get_all<'a>(&'a self, name: &(impl Asked + ?Sized)) -> impl Iterator<Item = &'a [u8]> {
        let (code, text) = (name.name(), name.text());
        let Parts { head, own, list, names, .. } = self.parts();
        let list = if names.has(code) { &list[..] } else { &[] };
        list.iter().filter(move |field| field.is(head, own, code, text)).map(move |field| field.value(head, own))
    }

    /// Says whether a name has a value.
    #[inline]
    pub fn contains_key(&self, name: impl Asked) -> bool {
        self.position(&name).is_some()
    }

    /// Says at once that none of these is there; `true` where one may be.
    #[inline]
    pub fn may_have(&self, names: Names) -> bool {
        self.parts().names.meet(names)
    }

    /// Says whether no value is as long, and none was.
    #[inline]
    pub fn are_shorter_than(&self, size: u32) -> bool {
        self.parts().longest < size
    }

    /// Yields all fields in order, each name as it is spelled.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let Parts { head, own, list, .. } = self.parts();
        list.iter().map(move |field| (field.spelled(head, own), field.value(head, own)))
    }

    /// Yields all fields in order: those that are to be looked at one by one, all others in as few pieces as may be.
    pub fn runs(&self, looked_at: Names) -> impl Iterator<Item = Run<'_>> {
        let Parts { head, own, list, .. } = self.parts();
        let mut rest = &list[..];
        let is_plain = move |field: &Field| field.lies != Lies::Loose && !looked_at.has(field.name);
        std::iter::from_fn(move || {
            let (first, others) = rest.split_first()?;
            rest = others;
            if !is_plain(first) {
                return Some(Run::Field(first.name, first.spelled(head, own), first.value(head, own)));
            }
            let mut end = first.end();
            while let [next, others @ ..] = rest
                && next.at as usize == end
                && next.lies == first.lies
                && is_plain(next)
            {
                end = next.end();
                rest = others;
            }
            Some(Run::Lines(first.of(head, own).get(first.at as usize..end).unwrap_or_default()))
        })
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts().list.is_empty()
    }

    /// Returns them as libraries take them.
    pub fn to_map(&self) -> HeaderMap {
        let parts = self.parts();
        let mut map = HeaderMap::with_capacity(parts.list.len());
        for (at, field) in parts.list.iter().enumerate() {
            // INVARIANT: a parser took it for a token.
            let name = HeaderName::from_bytes(field.spelled(&parts.head, &parts.own));
            if let (Ok(name), Some(value)) = (name, parts.owned(at)) {
                map.append(name, value);
            }
        }
        map
    }

    #[inline]
    fn position(&self, name: &(impl Asked + ?Sized)) -> Option<usize> {
        let code = name.name();
        let parts = self.parts();
        if parts.names.has(code) { parts.find(code, name.text()) } else { None }
    }
}

impl Parts {
    /// Returns empty ones, with room: of those that are not in use, if there are any.
    fn lent() -> Box<Self> {
        let made = || Box::new(Self { list: Vec::with_capacity(USUAL), own: Vec::with_capacity(OWN), ..Self::default() });
        SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(made)
    }

    #[inline(never)]
    fn find(&self, name: Name, text: &str) -> Option<usize> {
        self.list.iter().position(|field| field.is(&self.head, &self.own, name, text))
    }

    #[inline(never)]
    fn replace(&mut self, first: usize, name: Name, text: &str, value: &HeaderValue) {
        let spelled = self.list[first].spelled(&self.head, &self.own).to_vec();
        let Some(line) = self.write(name, &spelled, value) else { return };
        let (mut place, (head, own)) = (0, (&self.head, &self.own));
        self.list.retain(|field| {
            place += 1;
            place <= first + 1 || !field.is(head, own, name, text)
        });
        self.list[first] = line;
        self.longest = self.longest.max(line.size);
    }

    #[inline(never)]
    fn remove_met(&mut self, names: Names) {
        self.list.retain(|field| !names.has(field.name));
        self.names = self.names.without(names);
    }

    /// INVARIANT: a parser, or its type, has let the value through.
    #[inline(never)]
    fn owned(&self, at: usize) -> Option<HeaderValue> {
        let field = &self.list[at];
        let value = field.value(&self.head, &self.own);
        match field.lies {
            Lies::Own => HeaderValue::from_bytes(value).ok(),
            Lies::Line | Lies::Loose => HeaderValue::from_maybe_shared(self.head.slice_ref(value)).ok(),
        }
    }

    /// Returns where bytes of the head begin.
    fn place(&self, part: &[u8]) -> Option<u32> {
        let at = (part.as_ptr() as usize).checked_sub(self.head.as_ptr() as usize)?;
        let is_there = at.checked_add(part.len()).is_some_and(|end| end <= self.head.len());
        u32::try_from(at).ok().filter(|_| is_there)
    }

    /// Writes a line of ours. INVARIANT: no head is so large that its places have no number.
    #[inline(never)]
    fn write(&mut self, name: Name, spelled: &[u8], value: &HeaderValue) -> Option<Field> {
        let (at, value) = (self.own.len(), value.as_bytes());
        self.own.reserve(spelled.len() + value.len() + 4);
        self.own.extend_from_slice(spelled);
        self.own.extend_from_slice(b": ");
        self.own.extend_from_slice(value);
        self.own.extend_from_slice(b"\r\n");
        let length = u16::try_from(spelled.len()).ok()?;
        let at = u32::try_from(at).ok()?;
        Some(Field {
            at,
            value: at.checked_add(u32::from(length) + 2)?,
            size: u32::try_from(value.len()).ok()?,
            length,
            name,
            lies: Lies::Own,
        })
    }

    fn push(&mut self, field: Field) {
        self.names = self.names.and(Names::of(&[field.name]));
        self.longest = self.longest.max(field.size);
        self.list.push(field);
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        let Some(mut parts) = self.0.take() else { return };
        if !(USUAL..=4 * USUAL).contains(&parts.list.capacity()) || parts.own.capacity() > 16 * OWN {
            return;
        }
        (parts.head, parts.names, parts.longest) = (Bytes::new(), Names::default(), 0);
        parts.list.clear();
        parts.own.clear();
        // The thread may be ending: then the memory goes as usual.
        let _ = SHELF.try_with(|shelf| {
            if let Ok(mut shelf) = shelf.try_borrow_mut()
                && shelf.len() < MOST
            {
                shelf.push(parts);
            }
        });
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::of(Bytes::new());
        for (name, value) in &map {
            fields.append(name, value);
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
        let from = self.parts();
        let mut fields = Self::of(from.head.clone());
        let parts = fields.parts_mut();
        (parts.names, parts.longest) = (from.names, from.longest);
        parts.list.extend_from_slice(&from.list);
        parts.own.extend_from_slice(&from.own);
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

/// Returns a value as text, if it is printable ASCII.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_printable = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    str::from_utf8(value).ok().filter(|_| is_printable)
}

thread_local! {
    /// Those that are not in use, empty, with their room: a head takes no memory of its own.
    #[expect(clippy::vec_box, reason = "lent as one pointer")]
    static SHELF: RefCell<Vec<Box<Parts>>> = const { RefCell::new(Vec::new()) };
}

/// Fields of a usual head, with ours.
const USUAL: usize = 24;
/// Bytes of a usual head's lines of ours.
const OWN: usize = 1024;
/// As many of one thread.
const MOST: usize = 16;

#[cfg(test)]
mod tests;
