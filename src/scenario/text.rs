//! The canonical text of an observation: a JSON list of its fields in the order of the format.

use serde::ser::{Serialize, SerializeSeq, SerializeTuple, Serializer};

use super::observe::{Observation, Outcome, QueueState, Rows, SeenDescriptor, SeenPacket};
use crate::receive::Frag;

impl Observation {
    /// Writes the canonical text into `text`, in place of what it held.
    pub fn text(&self, text: &mut Vec<u8>) {
        text.clear();
        // Writing numbers and fixed words into memory cannot fail.
        let written = serde_json::to_writer(text, self);
        debug_assert!(written.is_ok(), "{written:?}");
    }

    /// The CRC-32 of the canonical text.
    pub fn digest(&self) -> u32 {
        let mut text = Vec::new();
        self.text(&mut text);
        crc32fast::hash(&text)
    }
}

impl Serialize for Observation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let open = self.state.as_ref();
        let mut fields = serializer.serialize_tuple(16)?;
        fields.serialize_element(&self.result)?;
        fields.serialize_element(&Each(|| self.points.iter().map(|point| point.name())))?;
        fields.serialize_element(&self.packets)?;
        fields.serialize_element(&self.counters.as_slice())?;
        fields.serialize_element(&open.map(|QueueState { num, .. }| num))?;
        fields.serialize_element(&open.map(|QueueState { max, .. }| max))?;
        fields.serialize_element(&open.map(|state| state.refill_needed))?;
        fields.serialize_element(&open.and_then(|state| state.broken.map(|fault| fault.name())))?;
        fields.serialize_element(&open.map(|_| &self.pool))?;
        fields.serialize_element(&open.map(|_| &self.posted))?;
        fields.serialize_element(&open.map(|_| &self.free_descriptors))?;
        fields.serialize_element(&self.arena_free)?;
        fields.serialize_element(&self.avail_flags)?;
        fields.serialize_element(&self.avail_idx)?;
        fields.serialize_element(&self.used_event)?;
        fields.serialize_element(&self.published)?;
        fields.end()
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some((code, fault)) = self.error() {
            return ("error", code, fault.map(|fault| fault.name())).serialize(serializer);
        }
        match self {
            Self::Flag(flag) => ("ok", flag).serialize(serializer),
            Self::Number(number) => ("ok", number).serialize(serializer),
            Self::Nothing | Self::Error(_) => ("ok", ()).serialize(serializer),
        }
    }
}

impl Serialize for SeenPacket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let linear = self.linear.as_ref().map(place);
        let frags = Each(|| self.frags.iter().map(place));
        (self.len, self.crc, self.header, self.head_len, linear, frags, self.truesize)
            .serialize(serializer)
    }
}

fn place(frag: &Frag) -> (u32, u16, u16) {
    (frag.page, frag.offset, frag.len)
}

impl Serialize for SeenDescriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.page, self.offset, self.len, self.flags, self.next).serialize(serializer)
    }
}

impl<K: Serialize + Copy, T: Serialize> Serialize for Rows<K, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Each(|| self.iter()).serialize(serializer)
    }
}

/// A list of what an iterator yields.
struct Each<F>(F);

impl<I: Iterator<Item: Serialize>, F: Fn() -> I> Serialize for Each<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for item in (self.0)() {
            list.serialize_element(&item)?;
        }
        list.end()
    }
}
