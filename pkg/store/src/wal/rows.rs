// SPDX-License-Identifier: Apache-2.0

//! How rows are written into a record, one after the other.
//!
//! ```text
//! kind u8 | sequence u64 | key length u32, key | value length u32, value | created i64? | expires i64?
//! ```
//! Numbers are little endian. The kind says whether the row has a value, and which times follow.

use bytes::{Buf, Bytes};
use slatedb::{RowEntry, ValueDeletable};

const VALUE: u8 = 0;
const TOMBSTONE: u8 = 1;
const MERGE: u8 = 2;
const KIND: u8 = 0b11;
const CREATED: u8 = 0b0100;
const EXPIRES: u8 = 0b1000;

/// Appends a row.
pub(super) fn put(out: &mut Vec<u8>, row: &RowEntry) {
    let (kind, value): (u8, &[u8]) = match &row.value {
        ValueDeletable::Value(value) => (VALUE, value),
        ValueDeletable::Merge(value) => (MERGE, value),
        ValueDeletable::Tombstone => (TOMBSTONE, b""),
    };
    let times = row.create_ts.map_or(0, |_| CREATED) | row.expire_ts.map_or(0, |_| EXPIRES);
    out.reserve(33 + row.key.len() + value.len());
    out.push(kind | times);
    out.extend_from_slice(&row.seq.to_le_bytes());
    for bytes in [&row.key[..], value] {
        let length = u32::try_from(bytes.len()).expect("keys and values are below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(bytes);
    }
    for time in [row.create_ts, row.expire_ts].into_iter().flatten() {
        out.extend_from_slice(&time.to_le_bytes());
    }
}

/// Reads the rows of a record, which share its memory; `None` where these are not rows.
#[must_use]
pub fn decode(mut body: Bytes) -> Option<Vec<RowEntry>> {
    let mut rows = Vec::new();
    while !body.is_empty() {
        let kind = body.try_get_u8().ok()?;
        let seq = body.try_get_u64_le().ok()?;
        let key = take(&mut body)?;
        let value = take(&mut body)?;
        let create_ts = if kind & CREATED != 0 { Some(body.try_get_i64_le().ok()?) } else { None };
        let expire_ts = if kind & EXPIRES != 0 { Some(body.try_get_i64_le().ok()?) } else { None };
        let value = match kind & KIND {
            VALUE => ValueDeletable::Value(value),
            TOMBSTONE => ValueDeletable::Tombstone,
            MERGE => ValueDeletable::Merge(value),
            _ => return None,
        };
        rows.push(RowEntry { key, value, seq, create_ts, expire_ts });
    }
    Some(rows)
}

fn take(body: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
    (length <= body.len()).then(|| body.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let value = |bytes: &'static [u8]| ValueDeletable::Value(Bytes::from_static(bytes));
        let merge = ValueDeletable::Merge(Bytes::from_static(b"m"));
        let row = |value, create_ts, expire_ts| RowEntry { key: "k".into(), value, seq: 7, create_ts, expire_ts };
        let rows = vec![
            row(value(b"v"), Some(-1), Some(9)),
            row(value(b""), None, Some(3)),
            row(ValueDeletable::Tombstone, Some(5), None),
            row(merge, None, None),
        ];
        let mut body = Vec::new();
        rows.iter().for_each(|row| put(&mut body, row));
        assert_eq!(decode(body.clone().into()), Some(rows));
        for length in [1, 8, 12, 20, body.len() - 1] {
            assert_eq!(decode(Bytes::copy_from_slice(&body[..length])), None, "cut to {length}");
        }
    }
}
