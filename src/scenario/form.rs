//! How values stand in JSON. A field is described once, by its name, its shape and its default; both
//! reading and writing follow that description.

use std::ops::RangeInclusive;

use super::error::ScenarioError;
use super::json::Json;

/// How a value of type `T` stands in JSON.
pub(super) trait Shape<T> {
    /// The value, or why it cannot be.
    fn read(&self, json: Json) -> Result<T, ScenarioError>;
    /// Appends the value to JSON text.
    fn write(&self, value: &T, text: &mut String);
}

fn wrong<T>(json: &Json, wanted: impl std::fmt::Display) -> Result<T, ScenarioError> {
    Err(ScenarioError::new(format_args!("{json} is not possible: {wanted}")))
}

/// An object: either what is left of one that is being read, or the text of one being written.
pub(super) enum Form<'a> {
    Read { left: Vec<(String, Json)>, asked: Vec<&'static str> },
    Write { text: &'a mut String },
}

impl Form<'_> {
    /// A field. `default` stands for it where it is missing, and it is left out where it has that.
    pub(super) fn field<T: PartialEq>(
        &mut self,
        name: &'static str,
        value: &mut T,
        shape: impl Shape<T>,
        default: Option<T>,
    ) -> Result<(), ScenarioError> {
        match self {
            Self::Read { left, asked } => {
                asked.push(name);
                let at = left.iter().position(|(key, _)| key == name);
                *value = match (at, default) {
                    (Some(at), _) => shape.read(left.remove(at).1).map_err(|e| e.of(name))?,
                    (None, Some(default)) => default,
                    (None, None) => return Err(ScenarioError::new("is missing").of(name)),
                };
            }
            Self::Write { text } => {
                if default.as_ref() != Some(value) {
                    member(text, name);
                    shape.write(value, text);
                }
            }
        }
        Ok(())
    }

    /// Nothing may be left once all fields were asked for.
    fn finish(self) -> Result<(), ScenarioError> {
        let Self::Read { left, asked } = self else { return Ok(()) };
        let Some((key, _)) = left.first() else { return Ok(()) };
        let key: String = key.chars().take(40).collect();
        let known = if asked.is_empty() { "none".to_owned() } else { asked.join(", ") };
        Err(ScenarioError::new(format_args!("is not a field: the fields are {known}")).of(&key))
    }
}

/// Starts a member of the object at the end of `text`.
fn member(text: &mut String, name: &str) {
    if !text.ends_with('{') {
        text.push_str(", ");
    }
    write_text(name, text);
    text.push_str(": ");
}

fn write_text(value: &str, text: &mut String) {
    // A string cannot fail to be written to memory.
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
}

/// A value that is an object with these fields.
pub(super) trait Fields: Default {
    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError>;
}

/// Such an object.
#[derive(Clone, Copy)]
pub(super) struct Object;

impl<T: Fields + Clone> Shape<T> for Object {
    fn read(&self, json: Json) -> Result<T, ScenarioError> {
        let Json::Object(left) = json else { return wrong(&json, "give an object") };
        let mut value = T::default();
        let mut form = Form::Read { left, asked: Vec::new() };
        value.fields(&mut form)?;
        form.finish()?;
        Ok(value)
    }

    fn write(&self, value: &T, text: &mut String) {
        text.push('{');
        // Writing fails never, and changes nothing; `fields` takes its value for both directions.
        let _ = value.clone().fields(&mut Form::Write { text });
        text.push('}');
    }
}

/// A value that is one of several kinds of objects, the kind named by a field.
pub(super) trait Kinds: Clone {
    /// The field that names the kind.
    const TAG: &'static str;
    /// One of every kind.
    fn kinds() -> Vec<Self>;
    fn kind(&self) -> &'static str;
    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError>;
}

/// Such an object.
#[derive(Clone, Copy)]
pub(super) struct Kind;

impl<T: Kinds> Shape<T> for Kind {
    fn read(&self, json: Json) -> Result<T, ScenarioError> {
        let Json::Object(mut left) = json else {
            return wrong(&json, format_args!("give an object with a field {:?}", T::TAG));
        };
        let Some(at) = left.iter().position(|(key, _)| key == T::TAG) else {
            return Err(ScenarioError::new("is missing").of(T::TAG));
        };
        let kinds = T::kinds();
        let names: Vec<&'static str> = kinds.iter().map(T::kind).collect();
        let kind = word(left.remove(at).1, &names).map_err(|error| error.of(T::TAG))?;
        let mut form = Form::Read { left, asked: Vec::new() };
        let mut value = kinds[kind].clone();
        value.fields(&mut form)?;
        form.finish()?;
        Ok(value)
    }

    fn write(&self, value: &T, text: &mut String) {
        text.push('{');
        member(text, T::TAG);
        write_text(value.kind(), text);
        let _ = value.clone().fields(&mut Form::Write { text });
        text.push('}');
    }
}

/// The place of a word among those that are possible.
fn word(json: Json, words: &[&'static str]) -> Result<usize, ScenarioError> {
    if let Json::Text(text) = &json
        && let Some(at) = words.iter().position(|word| word == text)
    {
        return Ok(at);
    }
    wrong(&json, format_args!("choose one of {}", words.join(", ")))
}

/// One of these values, by its name.
#[derive(Clone, Copy)]
pub(super) struct Word<T: 'static>(pub &'static [T], pub fn(T) -> &'static str);

impl<T: Copy> Shape<T> for Word<T> {
    fn read(&self, json: Json) -> Result<T, ScenarioError> {
        let names: Vec<&'static str> = self.0.iter().map(|&one| self.1(one)).collect();
        word(json, &names).map(|at| self.0[at])
    }

    fn write(&self, value: &T, text: &mut String) {
        write_text(self.1(*value), text);
    }
}

/// A whole number in a range.
#[derive(Clone)]
pub(super) struct Number(pub RangeInclusive<u64>);

pub(super) const U8: Number = Number(0..=0xff);
pub(super) const U16: Number = Number(0..=0xffff);
pub(super) const U32: Number = Number(0..=0xffff_ffff);
pub(super) const U64: Number = Number(0..=u64::MAX);

impl<T: TryFrom<u64> + Into<u64> + Copy> Shape<T> for Number {
    fn read(&self, json: Json) -> Result<T, ScenarioError> {
        if let Json::Natural(number) = json
            && self.0.contains(&number)
            && let Ok(value) = T::try_from(number)
        {
            return Ok(value);
        }
        wrong(&json, format_args!("choose {} to {}", self.0.start(), self.0.end()))
    }

    fn write(&self, value: &T, text: &mut String) {
        let number: u64 = (*value).into();
        text.push_str(&number.to_string());
    }
}

/// A power of two in a range.
pub(super) struct PowerOfTwo(pub RangeInclusive<u64>);

impl Shape<u32> for PowerOfTwo {
    fn read(&self, json: Json) -> Result<u32, ScenarioError> {
        match json {
            Json::Natural(n) if n.is_power_of_two() && self.0.contains(&n) => Ok(n as u32),
            _ => wrong(
                &json,
                format_args!("choose a power of two from {} to {}", self.0.start(), self.0.end()),
            ),
        }
    }

    fn write(&self, value: &u32, text: &mut String) {
        text.push_str(&value.to_string());
    }
}

/// True or false.
pub(super) struct Flag;

impl Shape<bool> for Flag {
    fn read(&self, json: Json) -> Result<bool, ScenarioError> {
        match json {
            Json::Bool(value) => Ok(value),
            _ => wrong(&json, "choose true or false"),
        }
    }

    fn write(&self, value: &bool, text: &mut String) {
        text.push_str(if *value { "true" } else { "false" });
    }
}

/// Text of so many characters at most.
pub(super) struct Text(pub usize);

impl Shape<String> for Text {
    fn read(&self, json: Json) -> Result<String, ScenarioError> {
        match json {
            Json::Text(text) if text.chars().count() <= self.0 => Ok(text),
            _ => wrong(&json, format_args!("give text of at most {} characters", self.0)),
        }
    }

    fn write(&self, value: &String, text: &mut String) {
        write_text(value, text);
    }
}

/// So many bytes at most, two hexadecimal digits each.
pub(super) struct Hex(pub usize);

impl Shape<Vec<u8>> for Hex {
    fn read(&self, json: Json) -> Result<Vec<u8>, ScenarioError> {
        let digit = |c: &u8| char::from(*c).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        if let Json::Text(text) = &json
            && text.len() <= 2 * self.0
            && let Some(bytes) = text.as_bytes().chunks(2).map(byte).collect()
        {
            return Ok(bytes);
        }
        let most = 2 * self.0;
        wrong(&json, format_args!("give an even number of hexadecimal digits, {most} at most"))
    }

    fn write(&self, value: &Vec<u8>, text: &mut String) {
        let digits = value.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        text.push('"');
        text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
        text.push('"');
    }
}

/// A value, or null.
pub(super) struct OrNull<S>(pub S);

impl<T, S: Shape<T>> Shape<Option<T>> for OrNull<S> {
    fn read(&self, json: Json) -> Result<Option<T>, ScenarioError> {
        match json {
            Json::Null => Ok(None),
            other => self.0.read(other).map(Some),
        }
    }

    fn write(&self, value: &Option<T>, text: &mut String) {
        match value {
            None => text.push_str("null"),
            Some(value) => self.0.write(value, text),
        }
    }
}

/// A list of so many values at most.
pub(super) struct List<S>(pub S, pub usize);

impl<T, S: Shape<T>> Shape<Vec<T>> for List<S> {
    fn read(&self, json: Json) -> Result<Vec<T>, ScenarioError> {
        match json {
            Json::List(items) if items.len() <= self.1 => items
                .into_iter()
                .enumerate()
                .map(|(i, item)| self.0.read(item).map_err(|error| error.item(i)))
                .collect(),
            _ => wrong(&json, format_args!("give a list of at most {}", self.1)),
        }
    }

    fn write(&self, value: &Vec<T>, text: &mut String) {
        text.push('[');
        for (i, item) in value.iter().enumerate() {
            text.push_str(if i > 0 { ", " } else { "" });
            self.0.write(item, text);
        }
        text.push(']');
    }
}

/// A list of two values of these shapes.
pub(super) struct Pair<A, B>(pub A, pub B);

impl<T, U, A: Shape<T>, B: Shape<U>> Shape<(T, U)> for Pair<A, B> {
    fn read(&self, json: Json) -> Result<(T, U), ScenarioError> {
        let items = list_of(2, json)?;
        let [first, second] = <[Json; 2]>::try_from(items).map_err(|_| ScenarioError::new(""))?;
        let first = self.0.read(first).map_err(|error| error.item(0))?;
        Ok((first, self.1.read(second).map_err(|error| error.item(1))?))
    }

    fn write(&self, value: &(T, U), text: &mut String) {
        text.push('[');
        self.0.write(&value.0, text);
        text.push_str(", ");
        self.1.write(&value.1, text);
        text.push(']');
    }
}

/// A list of exactly these numbers.
pub(super) struct Row<const N: usize>(pub [Number; N]);

impl<const N: usize> Shape<[u16; N]> for Row<N> {
    fn read(&self, json: Json) -> Result<[u16; N], ScenarioError> {
        let mut row = [0; N];
        for (i, (item, number)) in list_of(N, json)?.into_iter().zip(&self.0).enumerate() {
            row[i] = number.read(item).map_err(|error| error.item(i))?;
        }
        Ok(row)
    }

    fn write(&self, value: &[u16; N], text: &mut String) {
        let numbers: Vec<String> = value.iter().map(u16::to_string).collect();
        text.push_str(&format!("[{}]", numbers.join(", ")));
    }
}

fn list_of(len: usize, json: Json) -> Result<Vec<Json>, ScenarioError> {
    match json {
        Json::List(items) if items.len() == len => Ok(items),
        _ => wrong(&json, format_args!("give a list of {len}")),
    }
}
