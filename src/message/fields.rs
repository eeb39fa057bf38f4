//! The fields of one head, in a list: few are there, and to compare lengths is cheaper than to hash. What came over HTTP/1.1
//! stays where it lies in the head, as it is spelled; what is ours is written once, as the line that goes out.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields in the order in which they came. Names are compared without case (RFC 9110, 5.1).
#[derive(Default)]
pub struct Fields {
    /// What came.
    head: Bytes,
    /// Lines of ours, one behind the other.
    own: Vec<u8>,
    list: Vec<Field>,
    /// A bit for each name, by its length and first letter: most questions are answered by it.
    names: u64,
    /// A name has a byte that some upstreams read as another one.
    is_folded: bool,
}

/// Fields on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// Whole lines, as they lie there.
    Lines(&'a [u8]),
    /// A name and its value: to be looked at, or to be written anew.
    Field(&'a [u8], &'a [u8]),
}

/// Where a field lies, in the head or among the lines of ours.
#[derive(Clone, Copy)]
struct Field {
    /// Where its name begins, and with it its line.
    at: u32,
    value: u32,
    /// Of the value.
    size: u32,
    /// Of the name: most comparisons end with it.
    length: u16,
    is_own: bool,
    /// It is how we would write it: one space, the value, and the end of the line.
    is_line: bool,
}

impl Fields {
    /// Begins with none, of a head that what comes will refer to.
    pub fn of(head: Bytes) -> Self {
        let (list, own) = SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| (Vec::with_capacity(USUAL), Vec::with_capacity(OWN)));
        Self { head, own, list, names: 0, is_folded: false }
    }

    /// Adds a field that stands in the head: a token and a value of its bytes, as a parser found them. `false`: it was not added, since
    /// it is not there, or its name is longer than any that we know.
    #[must_use]
    pub fn append_sent(&mut self, name: &str, value: &[u8]) -> bool {
        let (Some(at), Ok(length)) = (self.place(name.as_bytes()), u16::try_from(name.len())) else { return false };
        // Nothing may lie anywhere.
        let from = if value.is_empty() { at.checked_add(length.into()) } else { self.place(value) };
        let (Some(from), Ok(size)) = (from, u32::try_from(value.len())) else { return false };
        let (name_end, end) = (at as usize + name.len(), from as usize + value.len());
        let is_line = self.head.get(name_end..from as usize) == Some(b": ") && self.head.get(end..end + 2) == Some(b"\r\n");
        self.push(Field { at, value: from, size, length, is_own: false, is_line });
        true
    }

    /// Adds a field behind all others.
    pub fn append(&mut self, name: impl Borrow<HeaderName>, value: impl Borrow<HeaderValue>) {
        let line = self.write(name.borrow().as_str().as_bytes(), value.borrow());
        line.into_iter().for_each(|line| self.push(line));
    }

    /// Adds lines of ours behind all others.
    pub fn append_all(&mut self, lines: &Self) {
        // INVARIANT: no head is so large that its places have no number.
        let Ok(from) = u32::try_from(self.own.len()) else { return };
        self.own.extend_from_slice(&lines.own);
        let ours = lines.list.iter().filter(|field| field.is_own);
        self.list.extend(ours.map(|field| Field { at: from + field.at, value: from + field.value, ..*field }));
        self.names |= lines.names;
        self.is_folded |= lines.is_folded;
    }

    /// Gives memory back that is not needed: of what is kept.
    pub fn shrink_to_fit(&mut self) {
        self.list.shrink_to_fit();
        self.own.shrink_to_fit();
    }

    /// Puts a value in the place of all that a name has. The first one keeps its place, and its spelling.
    pub fn insert(&mut self, name: impl Borrow<HeaderName>, value: impl Borrow<HeaderValue>) {
        let (name, value) = (name.borrow(), value.borrow());
        let Some(first) = self.position(name.as_str()) else { return self.append(name, value) };
        let mut spelled = [0; SPELLED];
        let sent = self.list[first].name(&self.head, &self.own);
        let line = match spelled.get_mut(..sent.len()) {
            Some(spelled) => {
                spelled.copy_from_slice(sent);
                self.write(spelled, value)
            }
            None => self.write(name.as_str().as_bytes(), value),
        };
        let Some(line) = line else { return };
        self.list[first] = line;
        let (head, own) = (&self.head, &self.own);
        if self.list[first + 1..].iter().any(|field| field.is(head, own, name.as_str())) {
            let mut index = 0;
            self.list.retain(|field| {
                index += 1;
                index <= first + 1 || !field.is(head, own, name.as_str())
            });
        }
    }

    /// Removes all that a name has; says whether there was any.
    pub fn remove(&mut self, name: impl AsRef<str>) -> bool {
        let name = name.as_ref();
        let found = self.position(name).is_some();
        if found {
            let (head, own) = (&self.head, &self.own);
            self.list.retain(|field| !field.is(head, own, name));
        }
        found
    }

    /// Keeps what is wanted, by name and value.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&[u8], &[u8]) -> bool) {
        let (head, own) = (&self.head, &self.own);
        self.list.retain(|field| is_kept(field.name(head, own), field.value(head, own)));
    }

    /// Returns the first value of a name.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        self.position(name.as_ref()).map(|at| self.list[at].value(&self.head, &self.own))
    }

    /// Returns the first value of a name, to keep.
    pub fn get_owned(&self, name: impl AsRef<str>) -> Option<HeaderValue> {
        self.position(name.as_ref()).and_then(|at| self.owned(&self.list[at]))
    }

    /// Yields the values of a name, in order.
    pub fn get_all<'a>(&'a self, name: &(impl AsRef<str> + ?Sized)) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_ref();
        let list = if self.names & bit(name.as_bytes()) == 0 { &[][..] } else { &self.list[..] };
        list.iter().filter(move |field| field.is(&self.head, &self.own, name)).map(|field| field.value(&self.head, &self.own))
    }

    /// Says whether a name has a value.
    pub fn contains_key(&self, name: impl AsRef<str>) -> bool {
        self.position(name.as_ref()).is_some()
    }

    /// Yields all fields in order, each name as it is spelled.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (field.name(&self.head, &self.own), field.value(&self.head, &self.own)))
    }

    /// Yields all fields in order: those with one of the names that are to be looked at one by one, all others in as few pieces as may be.
    pub fn runs(&self, is_looked_at: fn(&[u8]) -> bool) -> impl Iterator<Item = Run<'_>> {
        let (head, own) = (&self.head[..], &self.own[..]);
        let mut rest = &self.list[..];
        std::iter::from_fn(move || {
            let (first, others) = rest.split_first()?;
            rest = others;
            let is_plain = |field: &Field| field.is_line && !is_looked_at(field.name(head, own));
            if !is_plain(first) {
                return Some(Run::Field(first.name(head, own), first.value(head, own)));
            }
            let mut end = first.end();
            while let [next, others @ ..] = rest
                && next.at as usize == end
                && next.is_own == first.is_own
                && is_plain(next)
            {
                end = next.end();
                rest = others;
            }
            Some(Run::Lines(first.of(head, own).get(first.at as usize..end).unwrap_or_default()))
        })
    }

    /// Says whether a name has a byte that some upstreams read as a hyphen: `_` or `.`.
    pub fn is_folded(&self) -> bool {
        self.is_folded
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns them as libraries take them.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.list.len());
        for field in &self.list {
            // INVARIANT: a parser took it for a token.
            let name = HeaderName::from_bytes(field.name(&self.head, &self.own));
            if let (Ok(name), Some(value)) = (name, self.owned(field)) {
                map.append(name, value);
            }
        }
        map
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.names & bit(name.as_bytes()) == 0 {
            return None;
        }
        self.list.iter().position(|field| field.is(&self.head, &self.own, name))
    }

    /// INVARIANT: a parser, or its type, has let the value through.
    fn owned(&self, field: &Field) -> Option<HeaderValue> {
        match field.is_own {
            true => HeaderValue::from_bytes(field.value(&self.head, &self.own)).ok(),
            false => HeaderValue::from_maybe_shared(self.head.slice_ref(field.value(&self.head, &self.own))).ok(),
        }
    }

    /// Returns where bytes of the head begin.
    fn place(&self, part: &[u8]) -> Option<u32> {
        let at = (part.as_ptr() as usize).checked_sub(self.head.as_ptr() as usize)?;
        let is_there = at.checked_add(part.len()).is_some_and(|end| end <= self.head.len());
        u32::try_from(at).ok().filter(|_| is_there)
    }

    /// Writes a line of ours. INVARIANT: no head is so large that its places have no number.
    fn write(&mut self, name: &[u8], value: &HeaderValue) -> Option<Field> {
        let (at, value) = (self.own.len(), value.as_bytes());
        self.own.reserve(name.len() + value.len() + 4);
        self.own.extend_from_slice(name);
        self.own.extend_from_slice(b": ");
        self.own.extend_from_slice(value);
        self.own.extend_from_slice(b"\r\n");
        let length = u16::try_from(name.len()).ok()?;
        let at = u32::try_from(at).ok()?;
        Some(Field {
            at,
            value: at.checked_add(u32::from(length) + 2)?,
            size: u32::try_from(value.len()).ok()?,
            length,
            is_own: true,
            is_line: true,
        })
    }

    fn push(&mut self, field: Field) {
        let name = field.name(&self.head, &self.own);
        self.names |= bit(name);
        self.is_folded |= is_folded(name);
        self.list.push(field);
    }
}

impl Field {
    fn name<'a>(&self, head: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        let at = self.at as usize;
        // INVARIANT: it was a part of it, here and below.
        self.of(head, own).get(at..at + usize::from(self.length)).unwrap_or_default()
    }

    fn value<'a>(&self, head: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        let at = self.value as usize;
        self.of(head, own).get(at..at + self.size as usize).unwrap_or_default()
    }

    /// Where its line ends, if it is one.
    fn end(&self) -> usize {
        self.value as usize + self.size as usize + 2
    }

    fn is(&self, head: &[u8], own: &[u8], name: &str) -> bool {
        usize::from(self.length) == name.len() && self.name(head, own).eq_ignore_ascii_case(name.as_bytes())
    }

    fn of<'a>(&self, head: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        if self.is_own { own } else { head }
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        if self.list.capacity() == 0 || self.list.capacity() > 4 * USUAL || self.own.capacity() > 16 * OWN {
            return;
        }
        let (mut list, mut own) = (std::mem::take(&mut self.list), std::mem::take(&mut self.own));
        list.clear();
        own.clear();
        // The thread may be ending: then the memory goes as usual.
        let _ = SHELF.try_with(|shelf| {
            if let Ok(mut shelf) = shelf.try_borrow_mut()
                && shelf.len() < MOST
            {
                shelf.push((list, own));
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
        let mut fields = Self::of(self.head.clone());
        (fields.names, fields.is_folded) = (self.names, self.is_folded);
        fields.list.extend_from_slice(&self.list);
        fields.own.extend_from_slice(&self.own);
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

/// Looks at all bytes, a vector at a time: a name is short.
fn is_folded(name: &[u8]) -> bool {
    name.iter().fold(false, |is_folded, byte| is_folded | matches!(byte, b'_' | b'.'))
}

/// Returns a value as text, if it is printable ASCII.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_printable = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    str::from_utf8(value).ok().filter(|_| is_printable)
}

fn bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |first| usize::from(first | 0x20));
    1 << ((5 * name.len() + first) % 64)
}

thread_local! {
    /// Lists and lines that are not in use: a head takes no memory of its own.
    static SHELF: RefCell<Vec<(Vec<Field>, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// Fields of a usual head, with ours.
const USUAL: usize = 24;
/// Bytes of a usual head's lines of ours.
const OWN: usize = 1024;
/// A longer name keeps its place, but not its spelling.
const SPELLED: usize = 64;
/// Lists of one thread.
const MOST: usize = 16;

#[cfg(test)]
mod tests;
