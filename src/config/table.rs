//! Reads TOML tables and keeps the place of everything. A table notes which keys it was asked for; what else stands in it is
//! unknown, and refused.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::error::{At, Span, nearest};
use super::reader::Reader;
use super::value;
use super::words::{Words, one_of};

/// One table, and what it is called in messages: `[[listener]]`.
#[derive(Debug)]
pub(super) struct Table<'r> {
    reader: &'r Reader<'r>,
    pub(super) name: String,
    /// Its header, or the inline table.
    pub(super) span: Span,
    table: &'r DeTable<'r>,
    asked: RefCell<Vec<&'static str>>,
}

/// An entry of a list that takes both.
#[derive(Debug)]
pub(super) enum Mixed<'r> {
    Table(Table<'r>),
    Text(At<String>),
}

impl<'r> Table<'r> {
    /// Returns the whole document as a table.
    pub(super) fn of(reader: &'r Reader<'r>, table: &'r DeTable<'r>) -> Self {
        Self { reader, name: "the file".to_owned(), span: Span::default(), table, asked: RefCell::default() }
    }

    /// Returns the reader, to note what is wrong across tables.
    pub(super) fn reader(&self) -> &'r Reader<'r> {
        self.reader
    }

    /// Tells whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes an error about a key's value, or the table where it is absent.
    pub(super) fn error(&self, key: &str, message: impl Into<String>, help: Option<String>) {
        self.reader.error(self.get(key).map_or(self.span, |(span, _)| span), message, help);
    }

    /// Insists on a key. `value` is what reading it gave: `None` with the key there was said already.
    pub(super) fn required<T>(&self, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(key) {
            self.missing(key, None);
        }
        value
    }

    /// Says that a key is absent.
    pub(super) fn missing(&self, key: &str, help: Option<String>) {
        self.reader.missing(self.span, format!("`{key}` is missing in {}", self.name), help);
    }

    /// Tells whether a list has entries, right or wrong.
    pub(super) fn is_filled(&self, key: &str) -> bool {
        self.get(key).is_some_and(|(_, value)| value.as_array().is_none_or(|array| !array.is_empty()))
    }

    /// Reads text, as it stands.
    pub(super) fn text(&self, key: &'static str) -> Option<At<String>> {
        self.parsed(key, |text| Ok(text.to_owned()))
    }

    /// Reads the name of a file or directory.
    pub(super) fn file(&self, key: &'static str) -> Option<At<String>> {
        let path = self.parsed(key, value::printable)?;
        self.names_file(&path.value, path.span);
        Some(path)
    }

    /// Notes that a file or directory is named.
    pub(super) fn names_file(&self, path: &str, span: Span) {
        self.reader.files.borrow_mut().push(At { value: path.to_owned(), span });
    }

    /// Reads text of a notation.
    pub(super) fn parsed<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<At<T>> {
        let (span, value) = self.value(key)?;
        let text = self.expect(key, span, value.as_str(), "text", value)?;
        self.said(key, span, parse(text))
    }

    /// Reads a word of a fixed set.
    pub(super) fn word<T: Clone>(&self, key: &'static str, words: &Words<T>) -> Option<At<T>> {
        self.parsed(key, |text| one_of(text, words))
    }

    /// Reads true or false.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let (span, value) = self.value(key)?;
        self.expect(key, span, value.as_bool(), "true or false", value)
    }

    /// Reads true or false, or (`Err`) text of a notation.
    pub(super) fn flag_or<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<Result<bool, T>> {
        match self.value(key)? {
            (_, DeValue::Boolean(flag)) => Some(Ok(*flag)),
            (span, value) => {
                let text = self.expect(key, span, value.as_str(), "true, false or text", value)?;
                self.said(key, span, parse(text)).map(|at| Err(at.value))
            }
        }
    }

    /// Reads a flag of a feature that is not there: only its off position is known.
    pub(super) fn not_yet(&self, key: &'static str) {
        if self.flag(key) == Some(true) {
            self.error(key, format!("`{key}` is not in this version"), Some("leave it out, or say false".to_owned()));
        }
    }

    /// Reads a whole number.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<At<u64>> {
        let (span, value) = self.value(key)?;
        let integer = self.expect(key, span, value.as_integer(), "a whole number", value)?;
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        let expected = || match *range.end() {
            u64::MAX => format!("must be at least {}", range.start()),
            end => format!("must be {} to {end}", range.start()),
        };
        self.said(key, span, number.ok_or_else(expected))
    }

    /// Reads a list of whole numbers.
    pub(super) fn numbers(&self, key: &'static str, range: RangeInclusive<u32>) -> Vec<u32> {
        let expected = "a list of whole numbers";
        let Some((_, array)) = self.array(key, expected) else { return Vec::new() };
        let entry = |value: &Spanned<DeValue<'_>>| {
            let span = value.span().into();
            let integer = self.expect(key, span, value.get_ref().as_integer(), expected, value.get_ref())?;
            let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
            self.said(key, span, number.ok_or_else(|| format!("must be {} to {}", range.start(), range.end())))
        };
        array.iter().filter_map(entry).map(|number| number.value).collect()
    }

    /// Reads a share of one.
    pub(super) fn share(&self, key: &'static str) -> Option<f64> {
        let (span, value) = self.value(key)?;
        let text = value.as_float().map(|float| float.as_str()).or_else(|| value.as_integer().map(|integer| integer.as_str()));
        let text = self.expect(key, span, text, "a number from 0.0 to 1.0", value)?;
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        self.said(key, span, share.ok_or_else(|| "must be 0.0 to 1.0".to_owned())).map(|share| share.value)
    }

    /// Reads a duration.
    pub(super) fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.parsed(key, |text| {
            let duration = value::duration(text)?;
            if range.contains(&duration) { Ok(duration) } else { Err(format!("must be {:?} to {:?}", range.start(), range.end())) }
        });
        duration.map(|duration| duration.value)
    }

    /// Reads a size in bytes: text with a unit, or a number.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (span, value) = self.value(key)?;
        let text = value.as_str().or_else(|| value.as_integer().filter(|integer| integer.radix() == 10).map(|integer| integer.as_str()));
        let text = self.expect(key, span, text, "a size like \"64KiB\"", value)?;
        let size = value::size(text).and_then(|size| match range.contains(&size) {
            true => Ok(size),
            false => Err(format!("must be {} to {} bytes", range.start(), range.end())),
        });
        self.said(key, span, size).map(|size| size.value)
    }

    /// Reads a date and time with its offset.
    pub(super) fn time(&self, key: &'static str) -> Option<At<UnixTime>> {
        let (span, value) = self.value(key)?;
        let datetime = self.expect(key, span, value.as_datetime(), "a date and time like 2027-01-31T00:00:00Z, without quotes", value)?;
        self.said(key, span, value::time(datetime))
    }

    /// Reads a list of texts of a notation. What does not parse is said, and left out.
    pub(super) fn list<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<At<Vec<At<T>>>> {
        let (span, array) = self.array(key, "a list of texts")?;
        let entry = |value: &Spanned<DeValue<'_>>| {
            let span = value.span().into();
            let text = self.expect(key, span, value.get_ref().as_str(), "a list of texts", value.get_ref())?;
            self.said(key, span, parse(text))
        };
        Some(At { value: array.iter().filter_map(entry).collect(), span })
    }

    /// Reads a list that says nothing when it is empty, and is an error then.
    pub(super) fn full_list<T>(&self, key: &'static str, empty: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<At<Vec<At<T>>>> {
        if let Some((span, value)) = self.get(key)
            && value.as_array().is_some_and(|array| array.is_empty())
        {
            self.value(key);
            self.reader.error(span, format!("`{key}` is an empty list"), Some(empty.to_owned()));
            return None;
        }
        self.list(key, parse)
    }

    /// Reads a list of words of a fixed set.
    pub(super) fn words<T: Clone>(&self, key: &'static str, words: &Words<T>) -> Option<At<Vec<At<T>>>> {
        self.list(key, |text| one_of(text, words))
    }

    /// Reads a table: `[name.key]`, or inline.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'r>> {
        let (span, value) = self.value(key)?;
        let table = self.expect(key, span, value.as_table(), "a table", value)?;
        Some(self.child(format!("[{}]", self.path(key)), span, table))
    }

    /// Reads a list of tables: `[[key]]`, or inline.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'r>> {
        let Some((_, array)) = self.array(key, "a list of tables") else { return Vec::new() };
        let name = format!("[[{}]]", self.path(key));
        let entry = |value: &'r Spanned<DeValue<'r>>| {
            let span = value.span().into();
            let table = self.expect(key, span, value.get_ref().as_table(), "a list of tables", value.get_ref())?;
            Some(self.child(name.clone(), span, table))
        };
        array.iter().filter_map(entry).collect()
    }

    /// Reads a list whose entries are texts or tables.
    pub(super) fn mixed(&self, key: &'static str) -> Option<Vec<Mixed<'r>>> {
        let expected = "a list of texts or tables";
        let (_, array) = self.array(key, expected)?;
        let entry = |value: &'r Spanned<DeValue<'r>>| {
            let (span, value) = (value.span().into(), value.get_ref());
            if let Some(text) = value.as_str() {
                return Some(Mixed::Text(At { value: text.to_owned(), span }));
            }
            let table = self.expect(key, span, value.as_table(), expected, value)?;
            Some(Mixed::Table(self.child(format!("[[{}]]", self.path(key)), span, table)))
        };
        Some(array.iter().filter_map(entry).collect())
    }

    /// Reads one table, or a list of them.
    pub(super) fn one_or_more(&self, key: &'static str) -> Vec<Table<'r>> {
        match self.get(key) {
            Some((_, DeValue::Array(_))) => self.tables(key),
            _ => self.table(key).into_iter().collect(),
        }
    }

    /// Reads a table, or an empty one where there is none: so that its keys are known in any case.
    pub(super) fn optional(&self, key: &'static str) -> Table<'r> {
        self.table(key).unwrap_or_else(|| self.child(format!("[{}]", self.path(key)), Span::default(), EMPTY.get_or_init(DeTable::default)))
    }

    /// Reads a table that has names of its own, not ours, each with a list of texts that is not empty.
    pub(super) fn own_lists(&self, expected: &str) -> Vec<(At<String>, Vec<At<String>>)> {
        let entry = |(key, value): (&Spanned<DeString<'_>>, &'r Spanned<DeValue<'r>>)| {
            let name = key.get_ref().as_ref();
            let span = value.span().into();
            let array = self.expect(name, span, value.get_ref().as_array(), expected, value.get_ref())?;
            if array.is_empty() {
                self.reader.error(span, format!("`{name}` is an empty list"), Some("it would match nothing".to_owned()));
            }
            let texts = array.iter().filter_map(|value| {
                let span = value.span().into();
                let text = self.expect(name, span, value.get_ref().as_str(), expected, value.get_ref())?;
                Some(At { value: text.to_owned(), span })
            });
            Some((At { value: name.to_owned(), span: key.span().into() }, texts.collect()))
        };
        self.table.iter().filter_map(entry).collect()
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.contains(&key.get_ref().as_ref())) {
            let meant = nearest(key.get_ref(), asked.iter().copied());
            let help = meant.map_or_else(|| known(&asked), |meant| format!("did you mean `{meant}`?"));
            self.reader.error(key.span().into(), format!("unknown key `{}` in {}", key.get_ref(), self.name), Some(help));
        }
    }

    fn child(&self, name: String, span: Span, table: &'r DeTable<'r>) -> Table<'r> {
        Table { reader: self.reader, name, span, table, asked: RefCell::default() }
    }

    fn path(&self, key: &str) -> String {
        match self.name.trim_matches(['[', ']']) {
            "the file" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }

    fn array(&self, key: &'static str, expected: &str) -> Option<(Span, &'r DeArray<'r>)> {
        let (span, value) = self.value(key)?;
        Some((span, self.expect(key, span, value.as_array(), expected, value)?))
    }

    /// Looks a key up, and notes that it is one of ours.
    fn value(&self, key: &'static str) -> Option<(Span, &'r DeValue<'r>)> {
        self.asked.borrow_mut().push(key);
        self.reader.asked.borrow_mut().insert((self.name.clone(), key));
        self.get(key)
    }

    fn get(&self, key: &str) -> Option<(Span, &'r DeValue<'r>)> {
        self.table.get(key).map(|value| (value.span().into(), value.get_ref()))
    }

    fn expect<T>(&self, key: &str, span: Span, got: Option<T>, expected: &str, value: &DeValue<'_>) -> Option<T> {
        if got.is_none() {
            let kind = match value {
                DeValue::Array(_) => "a list",
                DeValue::Boolean(_) => "true or false",
                DeValue::Datetime(_) => "a date or time",
                DeValue::Float(_) => "a fraction",
                DeValue::Integer(_) => "a number",
                DeValue::String(_) => "text",
                DeValue::Table(_) => "a table",
            };
            self.reader.error(span, format!("`{key}` must be {expected}, not {kind}"), None);
        }
        got
    }

    fn said<T>(&self, key: &str, span: Span, value: Result<T, String>) -> Option<At<T>> {
        match value {
            Ok(value) => Some(At { value, span }),
            Err(why) => {
                self.reader.error(span, format!("`{key}`: {why}"), None);
                None
            }
        }
    }
}

static EMPTY: OnceLock<DeTable<'static>> = OnceLock::new();

fn known(asked: &[&str]) -> String {
    let mut keys = asked.to_vec();
    keys.sort_unstable();
    keys.dedup();
    format!("known here: {}", keys.join(", "))
}
