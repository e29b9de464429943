// SPDX-License-Identifier: Apache-2.0

//! The names under which values lie in the database.
//!
//! ```text
//! o/<storage group>/<resource>/<namespace>/<name>   the object now
//! c/<revision, big endian>                          the commit
//! h/<key>/<revision, big endian>                    index of an object's commits
//! m/...                                             format, cluster id, ceiling, history floor
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use knarr_types::{Key, ResourceId, Revision};

/// (written by, oldest reader).
pub(crate) const FORMAT: &[u8] = b"m/format";
/// Whose store this is.
pub(crate) const CLUSTER: &[u8] = b"m/cluster";
/// No revision above this was ever handed out.
pub(crate) const CEILING: &[u8] = b"m/ceiling";
/// Commits up to this revision are pruned; and about how many bytes the others take.
pub(crate) const HISTORY: &[u8] = b"m/history";

/// Where all objects lie.
pub(crate) const OBJECTS: &[u8] = b"o/";
/// Where all commits lie.
pub(crate) const COMMITS: &[u8] = b"c/";

/// Where an object lies.
pub(crate) fn object(key: &Key) -> Bytes {
    path(b"o/", key, 0).freeze()
}

/// Where the commit of a revision lies.
pub(crate) fn commit(revision: Revision) -> Bytes {
    let mut out = BytesMut::with_capacity(10);
    out.put_slice(COMMITS);
    out.put_u64(revision.0);
    out.freeze()
}

/// Where the index entry of one commit of an object lies.
pub(crate) fn history(key: &Key, revision: Revision) -> Bytes {
    let mut out = path(b"h/", key, 9);
    out.put_u8(b'/');
    out.put_u64(revision.0);
    out.freeze()
}

/// The beginning of all index entries of an object.
pub(crate) fn history_prefix(key: &Key) -> Bytes {
    let mut out = path(b"h/", key, 1);
    out.put_u8(b'/');
    out.freeze()
}

fn path(prefix: &[u8], key: &Key, spare: usize) -> BytesMut {
    let parts = [&key.resource.group, &key.resource.resource, &key.namespace, &key.name];
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    let mut out = BytesMut::with_capacity(prefix.len() + length + spare);
    out.put_slice(prefix);
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.put_u8(b'/');
        }
        out.put_slice(part.as_bytes());
    }
    out
}

/// Reads the name of an object's value; `None` where it is none.
pub(crate) fn parse_object(name: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(name.strip_prefix(OBJECTS)?).ok()?;
    let mut parts = text.split('/');
    let mut next = || parts.next();
    let (group, resource, namespace, name) = (next()?, next()?, next()?, next()?);
    (next().is_none() && !resource.is_empty() && !name.is_empty())
        .then(|| Key::new(ResourceId::new(group, resource), namespace, name))
}

/// The revision at the end of the name of a commit or of an index entry.
pub(crate) fn parse_revision(name: &[u8]) -> Option<Revision> {
    let (_, digits) = name.split_last_chunk::<8>()?;
    Some(Revision(u64::from_be_bytes(*digits)))
}

/// Whether a key can be stored: its parts must not contain what separates them.
pub(crate) fn is_storable(key: &Key) -> bool {
    let parts = [&key.resource.group, &key.resource.resource, &key.namespace, &key.name];
    !key.name.is_empty() && !key.resource.resource.is_empty() && parts.iter().all(|part| !part.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_read_back() {
        for (group, resource, namespace, name) in
            [("", "pods", "default", "a"), ("apps", "deployments", "x", "y.z"), ("", "nodes", "", "n")]
        {
            let key = Key::new(ResourceId::new(group, resource), namespace, name);
            assert_eq!(parse_object(&object(&key)), Some(key));
        }
        for bad in ["c/x", "o/pods/a", "o//pods/default/", "o//pods/d/n/x", "o///d/n"] {
            assert_eq!(parse_object(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn commits_lie_in_the_order_of_their_revisions() {
        let names: Vec<_> = [1, 255, 256, u64::MAX].map(|number| commit(Revision(number))).into();
        assert!(names.is_sorted());
        assert_eq!(parse_revision(&names[2]), Some(Revision(256)));
    }
}
