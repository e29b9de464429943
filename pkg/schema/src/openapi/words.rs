// SPDX-License-Identifier: Apache-2.0
//! What types and fields say of themselves, from `data/openapi-words.tsv`: compressed in the program, and unpacked for
//! as long as a document is made.
//!
//! `scripts/generate-openapi-words.py` makes that file and says what its lines hold.

use std::io::Read as _;

use flate2::read::DeflateDecoder;

/// The file as the program carries it.
pub(super) const COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi-words.deflate"));

/// Of `apiVersion` in a resource inside of a custom one.
pub(super) const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
/// Of `kind` in a resource inside of a custom one.
pub(super) const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
/// Of `metadata` in a custom resource.
pub(super) const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
/// Of `metadata` in a list of custom resources.
pub(super) const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The words, unpacked.
pub(super) struct Words {
    text: String,
    /// Where the blocks of the types begin, behind their `@`.
    blocks: Vec<usize>,
}

impl Words {
    pub fn unpack() -> Self {
        let mut text = String::new();
        let read = DeflateDecoder::new(COMPRESSED).read_to_string(&mut text);
        debug_assert!(read.is_ok(), "the build wrote it");
        let blocks = text.match_indices("\n@").map(|(at, _)| at + 2);
        Self { blocks: std::iter::once(1).chain(blocks).collect(), text }
    }

    /// What a type says; nothing where it has no words.
    pub fn of_type(&self, name: &str) -> Option<String> {
        self.block(name)?.lines().next()?.split_once('\t').map(|(_, text)| unescaped(text))
    }

    /// What a field of a type says, which may be what most fields of its name say.
    pub fn of_field(&self, ty: &str, field: &str) -> Option<String> {
        let own = self.block(ty).and_then(|block| line(block, field));
        own.or_else(|| self.block("*").and_then(|block| line(block, field)))
            .filter(|text| !text.is_empty())
            .map(unescaped)
    }

    /// From the name of a type to the end of its last field's line.
    fn block(&self, name: &str) -> Option<&str> {
        let named = |at: usize| self.text[at..].split(['\t', '\n']).next().unwrap_or_default();
        let found = self.blocks.binary_search_by(|at| named(*at).cmp(name)).ok()?;
        let end = self.blocks.get(found + 1).map_or(self.text.len(), |next| next - 1);
        Some(&self.text[self.blocks[found]..end])
    }
}

/// The text in the line of a field, empty where it says nothing.
fn line<'b>(block: &'b str, field: &str) -> Option<&'b str> {
    let rows = block.lines().skip(1).map(|row| row.split_once('\t').unwrap_or((row, "")));
    rows.filter(|(name, _)| *name == field).map(|(_, text)| text).next()
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_have_words() {
        let words = Words::unpack();
        assert!(words.of_type("io.k8s.api.core.v1.Pod").unwrap().starts_with("Pod is a collection of containers"));
        let name = words.of_field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "name").unwrap();
        assert!(name.starts_with("Name must be unique within a namespace."), "{name}");
        let shared = words.of_field("io.k8s.api.core.v1.Pod", "kind").unwrap();
        assert!(shared.starts_with("Kind is a string value"), "{shared}");
        assert_eq!(words.of_field("io.k8s.api.core.v1.Pod", "none"), None);
        assert_eq!(words.of_type("io.k8s.none"), None);
    }

    #[test]
    fn every_type_is_found() {
        let words = Words::unpack();
        for at in &words.blocks {
            let name = words.text[*at..].split(['\t', '\n']).next().unwrap();
            assert!(words.block(name).unwrap().starts_with(name), "{name}");
        }
    }
}
