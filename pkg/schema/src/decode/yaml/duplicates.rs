// SPDX-License-Identifier: Apache-2.0
//! Keys of a YAML document that come twice, as go-yaml's strict reader tells them: with the line of the later value.
//! Only errors know lines, so the document is read once for each of them.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::Key;

/// How many bytes are read again for the sake of lines: the rest of the keys is not told.
const READ_AGAIN_BYTES: usize = 8 << 20;
/// How many keys are told at most.
const TOLD: usize = 100;
const ALREADY_SET: &str = "already set";

/// What go-yaml says of the keys that come twice in a document that has some.
pub(super) fn told(text: &str) -> String {
    let most = (READ_AGAIN_BYTES / text.len().max(1)).clamp(1, TOLD);
    let lines: Vec<String> = (0..most).map_while(|nth| line(text, nth)).collect();
    format!("yaml: unmarshal errors:\n{}", lines.join("\n"))
}

/// The nth key that comes twice; a map's come after those of its values.
fn line(text: &str, nth: usize) -> Option<String> {
    let document = serde_norway::Deserializer::from_str(text).next()?;
    let mut before = nth;
    let error = Walk { before: &mut before, twice: None }.deserialize(document).err()?;
    let told = error.to_string();
    let (key, _) = told.split_once(ALREADY_SET)?;
    // An error puts its path in front.
    let key = key.find('"').map_or(key, |at| &key[at..]);
    Some(format!("  line {}: key {key}already set in map", error.location()?.line()))
}

/// Walks a value and stops behind the nth one whose key was there before.
struct Walk<'w> {
    before: &'w mut usize,
    /// The key of the value, where it comes again.
    twice: Option<String>,
}

impl Walk<'_> {
    /// At the end of a value.
    fn end<E: Error>(self) -> Result<(), E> {
        match self.twice {
            Some(key) if *self.before == 0 => Err(E::custom(format!("{key:?} {ALREADY_SET}"))),
            Some(_) => {
                *self.before -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.end()
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.end()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.end()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.end()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.end()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.end()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.end()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { before: self.before, twice: None })?.is_some() {}
        self.end()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = std::collections::BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            let twice = (!seen.insert(key.clone())).then_some(key);
            map.next_value_seed(Walk { before: self.before, twice })?;
        }
        self.end()
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        use serde::de::VariantAccess as _;
        let (_tag, value): (String, _) = data.variant()?;
        value.newtype_variant_seed(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_twice_are_told_with_their_lines() {
        for (text, want) in [
            ("a: 1\na: 2\n", "  line 2: key \"a\" already set in map"),
            (
                "m:\n  b: 1\n  b:\n    c: 1\n    c: 2\n",
                "  line 5: key \"c\" already set in map\n  line 4: key \"b\" already set in map",
            ),
            (
                "l:\n- {x: 1, x: 2}\nl: []\n",
                "  line 2: key \"x\" already set in map\n  line 3: key \"l\" already set in map",
            ),
            ("{\"a\": 1, \"a\": null}", "  line 1: key \"a\" already set in map"),
        ] {
            assert_eq!(told(text), format!("yaml: unmarshal errors:\n{want}"), "{text}");
        }
    }
}
