// SPDX-License-Identifier: Apache-2.0

//! Segments of the write-ahead log: whatever follows a good record, the record is found, and nothing that is no record is.
#![no_main]

use bytes::Bytes;
use knarr_store::wal::decode_rows;
use knarr_store::wal::segment::{Name, Span, Tail, put_header, put_record, scan};
use libfuzzer_sys::fuzz_target;

const NAME: Name = Name { epoch: 1, index: 0 };

fuzz_target!(|bytes: &[u8]| {
    let _good_or_bad = (scan(bytes, NAME), decode_rows(Bytes::copy_from_slice(bytes)));
    let ids = Span { first: 7, last: 9 };
    let mut segment = Vec::new();
    put_header(&mut segment, NAME, ids.first);
    put_record(&mut segment, NAME, ids, ids, &[bytes]);
    let end = segment.len();
    segment.extend_from_slice(bytes);
    let found = scan(&segment, NAME);
    let first = found.records.first().expect("the good record is found");
    assert_eq!((first.ids, &segment[first.body.clone()]), (ids, bytes), "as it was written");
    if bytes.iter().all(|byte| *byte == 0) {
        assert_eq!(found.tail, Tail::Clean, "zeroes are space that is not yet written");
    }
    segment.truncate(end - 1);
    assert!(scan(&segment, NAME).records.is_empty(), "a part of a record is none");
});
