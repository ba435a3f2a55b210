//! The text in which LVM keeps its metadata: sections in braces, and values by name.

use crate::disk::Error;
use crate::disk::Result;

const WHAT: &str = "LVM metadata";
/// Group, list of volumes, volume, segment; and room for lists.
const DEPTH_MAX: u32 = 8;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    /// Without its quotes.
    Text(&'a str),
    List(Vec<Value<'a>>),
    Section(Section<'a>),
    /// A number that is none of ours: negative, a fraction.
    Other,
}

/// What stands between braces, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Section<'a>(Vec<(&'a str, Value<'a>)>);

pub(super) fn fault(why: &'static str) -> Error {
    Error::damaged(WHAT, 0, why)
}

impl<'a> Section<'a> {
    /// The whole text.
    pub(super) fn parse(text: &'a [u8]) -> Result<Section<'a>> {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let text = str::from_utf8(text).map_err(|_| fault("it is not UTF-8"))?;
        let mut parser = Parser { left: text };
        parser.section(0)
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The number of a name.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        match self.get(name) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(fault("a number is missing")),
        }
    }

    /// The text of a name.
    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        match self.get(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(fault("a text is missing")),
        }
    }

    /// The list of a name; none is empty.
    pub(super) fn list(&self, name: &str) -> &[Value<'a>] {
        match self.get(name) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// All sections, with their names.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a str, &Section<'a>)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((*name, section)),
            _ => None,
        })
    }

    /// The sections in the section of a name.
    pub(super) fn sections_of(&self, name: &str) -> Vec<(&'a str, &Section<'a>)> {
        match self.get(name) {
            Some(Value::Section(section)) => section.sections().collect(),
            _ => Vec::new(),
        }
    }
}

struct Parser<'a> {
    left: &'a str,
}

impl<'a> Parser<'a> {
    /// Leaves out what says nothing.
    fn skip(&mut self) {
        loop {
            self.left = self.left.trim_start();
            let Some(comment) = self.left.strip_prefix('#') else { return };
            self.left = comment.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip();
        let rest = self.left.strip_prefix(mark);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.skip();
        let is_end = |c: char| c.is_whitespace() || "={}[],#\"".contains(c);
        let (word, rest) = self.left.split_at(self.left.find(is_end).unwrap_or(self.left.len()));
        self.left = rest;
        word
    }

    /// Up to the brace that ends it, or, for the outermost, the end.
    fn section(&mut self, depth: u32) -> Result<Section<'a>> {
        if depth > DEPTH_MAX {
            return Err(fault("it is too deep"));
        }
        let mut found = Vec::new();
        loop {
            self.skip();
            if self.left.is_empty() || self.left.starts_with('}') {
                let is_ended = self.take('}');
                return if is_ended == (depth > 0) {
                    Ok(Section(found))
                } else {
                    Err(fault("its braces do not match"))
                };
            }
            let name = self.word();
            if name.is_empty() {
                return Err(fault("a name is missing"));
            }
            let value = if self.take('{') {
                Value::Section(self.section(depth + 1)?)
            } else if self.take('=') {
                self.value(depth)?
            } else {
                return Err(fault("a value is missing"));
            };
            found.push((name, value));
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value<'a>> {
        if self.take('"') {
            return self.quoted().map(Value::Text);
        }
        if !self.take('[') {
            let word = self.word();
            return match word.parse() {
                Ok(number) => Ok(Value::Number(number)),
                Err(_) if word.is_empty() => Err(fault("a value is missing")),
                Err(_) => Ok(Value::Other),
            };
        }
        if depth > DEPTH_MAX {
            return Err(fault("it is too deep"));
        }
        let mut list = Vec::new();
        while !self.take(']') {
            list.push(self.value(depth + 1)?);
            // Between two and, some do it, behind the last.
            if !self.take(',') && !self.left.starts_with(']') {
                return Err(fault("a list does not end"));
            }
        }
        Ok(Value::List(list))
    }

    /// Up to the quote that ends it; what is escaped stays so, for no name needs it.
    fn quoted(&mut self) -> Result<&'a str> {
        let mut is_escaped = false;
        for (at, c) in self.left.char_indices() {
            match c {
                '"' if !is_escaped => {
                    let (text, rest) = self.left.split_at(at);
                    self.left = rest.strip_prefix('"').unwrap_or(rest);
                    return Ok(text);
                }
                c => is_escaped = c == '\\' && !is_escaped,
            }
        }
        Err(fault("a text does not end"))
    }
}
