//! The answers of scripts.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use agentic_core::{
    clock::Timestamp,
    error::{Error, Result},
};
use fred::types::Value;
use serde::de::DeserializeOwned;

use crate::error::unreadable;

/// A list whose items are taken one after the other.
#[derive(Debug)]
pub(crate) struct Reply(std::vec::IntoIter<Value>);

/// An answer that is not of the shape that its script promises.
pub(crate) fn misshapen(what: impl Display) -> Error {
    Error::backend(format!("reading the answer of a script: {what}"))
}

impl Reply {
    pub(crate) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(items) => Ok(Self(items.into_iter())),
            other => Err(misshapen(format_args!("{:?} is no list", other.kind()))),
        }
    }

    fn item(&mut self) -> Result<Value> {
        self.0.next().ok_or_else(|| misshapen("it ends too early"))
    }

    /// The next item as text; what is missing is empty.
    pub(crate) fn text(&mut self) -> Result<String> {
        match self.item()? {
            Value::Integer(number) => Ok(number.to_string()),
            value => Ok(value.into_string().unwrap_or_default()),
        }
    }

    /// The next item as text, where an empty one is an absent one.
    pub(crate) fn maybe(&mut self) -> Result<Option<String>> {
        Ok(Some(self.text()?).filter(|text| !text.is_empty()))
    }

    /// The next item, a text that may be absent and may be empty: '=' stands before one that is there.
    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>> {
        Ok(self.text()?.strip_prefix('=').map(str::to_owned))
    }

    /// The next item as a number, an id or a name.
    pub(crate) fn parse<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(&mut self) -> Result<T> {
        self.text()?.parse().map_err(unreadable)
    }

    /// The next item, where an empty one is an absent one.
    pub(crate) fn parse_maybe<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &mut self,
    ) -> Result<Option<T>> {
        self.maybe()?.map(|text| text.parse().map_err(unreadable)).transpose()
    }

    /// The next item, an instant in milliseconds.
    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_millis(self.parse()?))
    }

    /// The next item, how many attempts an agent has under way.
    pub(crate) fn load(&mut self) -> Result<u32> {
        Ok(u32::try_from(self.parse::<u64>()?).unwrap_or(u32::MAX))
    }

    /// The next item as a list.
    pub(crate) fn list(&mut self) -> Result<Self> {
        Self::of(self.item()?)
    }

    /// The next item as a list of lists.
    pub(crate) fn lists(&mut self) -> Result<Vec<Self>> {
        self.list()?.0.map(Self::of).collect()
    }

    /// The next item as a hash.
    pub(crate) fn cells(&mut self) -> Result<Cells> {
        self.list()?.into_cells()
    }

    /// The rest as a hash.
    pub(crate) fn into_cells(mut self) -> Result<Cells> {
        let mut cells = HashMap::new();
        while !self.is_empty() {
            cells.insert(self.text()?, self.text()?);
        }
        Ok(Cells(cells))
    }

    /// The rest as texts.
    pub(crate) fn into_texts(mut self) -> Result<Vec<String>> {
        let mut texts = Vec::with_capacity(self.0.len());
        while !self.is_empty() {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

/// The cells of a hash.
#[derive(Debug)]
pub(crate) struct Cells(HashMap<String, String>);

impl Cells {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    pub(crate) fn parse<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        name: &str,
    ) -> Result<Option<T>> {
        self.text(name).map(|text| text.parse().map_err(unreadable)).transpose()
    }

    /// A cell that every such hash has.
    pub(crate) fn must<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        name: &str,
    ) -> Result<T> {
        self.parse(name)?.ok_or_else(|| misshapen(format_args!("the cell {name} is missing")))
    }

    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.parse(name)?.map(Timestamp::from_millis))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.text(name).map(|text| serde_json::from_str(text).map_err(unreadable)).transpose()
    }

    /// A cell that holds a name as serde writes it.
    pub(crate) fn named<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.text(name).map(named).transpose()
    }
}

/// A value from its name, as serde writes it.
pub(crate) fn named<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(unreadable)
}
