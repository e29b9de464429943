// SPDX-License-Identifier: Apache-2.0

//! Layers from strangers: whatever the archive says, nothing appears beside the layer's folder.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let layer = dir.path().join("layer");
    std::fs::create_dir(&layer).expect("the folder is new");
    let _good_or_bad = knarr_image::unpack::unpack("fuzz", bytes, &layer);
    let beside = std::fs::read_dir(dir.path()).expect("the folder is there").count();
    assert_eq!(beside, 1, "an entry left the layer's folder");
});
