//! One field: where it lies, and how.

use crate::message::names::{Name, is_asked};

/// Where a field lies, in the head or among the lines of ours.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// Where its name begins, and with it its line.
    pub(super) at: u32,
    pub(super) value: u32,
    /// Of the value.
    pub(super) size: u32,
    /// Of the name: most comparisons end with it.
    pub(super) length: u16,
    /// What its name is.
    pub(super) name: Name,
    pub(super) lies: Lies,
}

/// In what it lies, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// In the head, as we would write it: one space, the value, and the end of the line.
    Line,
    /// In the head, in some other way.
    Loose,
    /// Among the lines of ours.
    Own,
}

impl Field {
    pub(super) fn spelled<'a>(&self, head: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        let at = self.at as usize;
        // INVARIANT: it was a part of it, here and below.
        self.of(head, own).get(at..at + usize::from(self.length)).unwrap_or_default()
    }

    pub(super) fn value<'a>(&self, head: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        let at = self.value as usize;
        self.of(head, own).get(at..at + self.size as usize).unwrap_or_default()
    }

    /// Where its line ends, if it is one.
    pub(super) fn end(&self) -> usize {
        self.value as usize + self.size as usize + 2
    }

    pub(super) fn is(&self, head: &[u8], own: &[u8], name: Name, text: &str) -> bool {
        self.name == name && is_asked(name, || self.spelled(head, own), text)
    }

    pub(super) fn of<'a>(&self, head: &'a [u8], own: &'a [u8]) -> &'a [u8] {
        if self.lies == Lies::Own { own } else { head }
    }
}
