// SPDX-License-Identifier: Apache-2.0
//! Compresses the words of the OpenAPI documents, which are read when somebody asks for one.

use std::io::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::DeflateEncoder;

const WORDS: &str = "data/openapi-words.tsv";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={WORDS}");
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&fs::read(WORDS)?)?;
    fs::write(folder.join("openapi-words.deflate"), encoder.finish()?)
}
