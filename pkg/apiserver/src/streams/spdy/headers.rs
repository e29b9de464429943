// SPDX-License-Identifier: Apache-2.0
//! Header blocks: name and value pairs, compressed with zlib over the life of a connection.

use bytes::{Buf as _, BufMut as _, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use super::frame::Malformed;

/// What both sides have in their windows before the first block (SPDY/3.1, section 2.6.10.1).
static DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// The Adler-32 of the dictionary, by which a zlib stream names it.
const DICTIONARY_ID: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];
/// A zlib stream that needs a dictionary says so in this bit of its second byte (RFC 1950).
const NEEDS_DICTIONARY: u8 = 0x20;
/// No client sends headers that are longer, in bytes and in number.
const BLOCK_MAX: usize = 64 << 10;
const PAIRS_MAX: u32 = 128;

/// Names, in lower case, and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The value of a name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the blocks of one direction, in their order.
pub struct Decoder {
    inflate: Decompress,
    is_primed: bool,
}

/// Writes the blocks of one direction, in their order: uncompressed, which zlib allows, since a server
/// has next to nothing to say in headers.
#[derive(Default)]
pub struct Encoder {
    has_begun: bool,
}

// === impl Decoder ===

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Decompress::new(false), is_primed: false }
    }
}

impl Decoder {
    /// One block.
    ///
    /// # Errors
    /// [`Malformed`], after which later blocks cannot be read either.
    pub fn decode(&mut self, mut block: &[u8]) -> Result<Headers, Malformed> {
        if !self.is_primed {
            block = self.begin(block)?;
        }
        pairs(&self.inflated(block)?)
    }

    /// Takes the zlib header, and puts the dictionary into the window: as a block that is stored, whose
    /// output is thrown away.
    fn begin<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let (head, rest) = block.split_at_checked(2).ok_or(Malformed("a header block is too short"))?;
        let is_zlib = head[0] & 0x0f == 8 && u16::from_be_bytes([head[0], head[1]]) % 31 == 0;
        if !is_zlib {
            return Err(Malformed("a header block is not zlib's"));
        }
        self.is_primed = true;
        if head[1] & NEEDS_DICTIONARY == 0 {
            return Ok(rest);
        }
        let (id, rest) = rest.split_at_checked(4).ok_or(Malformed("a header block is too short"))?;
        if id != DICTIONARY_ID {
            return Err(Malformed("a header block needs another dictionary"));
        }
        let mut stored = Vec::with_capacity(DICTIONARY.len() + 5);
        put_stored(&mut stored, DICTIONARY);
        self.inflated(&stored)?;
        Ok(rest)
    }

    fn inflated(&mut self, mut input: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(4096);
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress_vec(input, &mut out, FlushDecompress::Sync)
                .map_err(|_| Malformed("a header block is not compressed right"))?;
            let read = usize::try_from(self.inflate.total_in() - read).unwrap_or(usize::MAX);
            input = input.get(read..).unwrap_or_default();
            let is_full = out.len() == out.capacity();
            if status == Status::StreamEnd || (input.is_empty() && !is_full) {
                return Ok(out);
            }
            if out.len() > BLOCK_MAX {
                return Err(Malformed("a header block is too long"));
            }
            let stuck = read == 0 && self.inflate.total_out() == written;
            if stuck && !is_full {
                return Err(Malformed("a header block is not compressed right"));
            }
            if is_full {
                out.reserve(out.len());
            }
        }
    }
}

fn pairs(mut block: &[u8]) -> Result<Headers, Malformed> {
    const CUT: Malformed = Malformed("a header block is cut off");
    let count = block.try_get_u32().map_err(|_| CUT)?;
    if count > PAIRS_MAX {
        return Err(Malformed("a header block has too many headers"));
    }
    let mut text = || -> Result<String, Malformed> {
        let length = block.try_get_u32().map_err(|_| CUT)? as usize;
        let (text, rest) = block.split_at_checked(length).ok_or(CUT)?;
        block = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    let pairs: Result<Vec<_>, _> = (0..count).map(|_| Ok((text()?.to_ascii_lowercase(), text()?))).collect();
    Ok(Headers(pairs?))
}

// === impl Encoder ===

impl Encoder {
    /// One block.
    pub fn encode(&mut self, headers: &Headers) -> BytesMut {
        let mut plain = BytesMut::new();
        let put = |plain: &mut BytesMut, text: &str| {
            plain.put_u32(u32::try_from(text.len()).unwrap_or_default());
            plain.put_slice(text.as_bytes());
        };
        plain.put_u32(u32::try_from(headers.0.len()).unwrap_or_default());
        for (name, value) in &headers.0 {
            put(&mut plain, name);
            put(&mut plain, value);
        }
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            out.extend_from_slice(&[0x78, 0x01]);
        }
        for piece in plain.chunks(usize::from(u16::MAX)) {
            put_stored(&mut out, piece);
        }
        // An empty block: readers hand out what they have read so far.
        put_stored(&mut out, &[]);
        BytesMut::from(&*out)
    }
}

/// A block of deflate that holds these bytes as they are, and is not the last (RFC 1951, section 3.2.4).
fn put_stored(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        Headers(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn blocks_of_a_connection_come_out_as_they_went_in() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let long = "x".repeat(9000);
        for wanted in [headers(&[]), headers(&[("streamtype", "data"), ("port", "80")]), headers(&[("long", &long)])] {
            assert_eq!(decoder.decode(&encoder.encode(&wanted)).unwrap(), wanted);
        }
    }

    #[test]
    fn a_block_that_refers_to_the_dictionary_is_read() {
        // Made with zlib: deflate with the dictionary, at level 9, flushed after each block.
        let blocks: [(&[u8], Headers); 2] = [
            (CLIENT_BLOCKS.0, headers(&[("streamtype", "error"), ("port", "8080"), ("requestid", "0")])),
            (CLIENT_BLOCKS.1, headers(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0")])),
        ];
        let mut decoder = Decoder::default();
        for (block, wanted) in blocks {
            assert_eq!(decoder.decode(block).unwrap(), wanted);
        }
    }

    const CLIENT_BLOCKS: (&[u8], &[u8]) = (
        b"\x78\xf9\xe3\xc6\xa7\xc2\x02\x25\x3a\x70\x3a\x2b\x29\x4a\x4d\xcc\x85\x16\x25\xac\xa9\xa0\x80\x86\x14\xcb\x45\xe0\x1c\x60\x61\x60\x61\x00\xa4\x39\x8b\x20\xd1\x98\x09\x4a\xde\x8c\x06\x00\x00\x00\x00\xff\xff",
        b"\xc2\xaa\x19\x54\x0e\x25\x12\xd6\x0b\x00\x00\x00\xff\xff",
    );

    #[test]
    fn a_block_that_grows_without_end_is_refused() {
        let mut bomb = vec![0x78, 0x9c];
        let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
        let mut squeezed = Vec::with_capacity(1 << 20);
        deflate.compress_vec(&vec![0; 8 << 20], &mut squeezed, flate2::FlushCompress::Sync).unwrap();
        bomb.extend_from_slice(&squeezed);
        assert_eq!(Decoder::default().decode(&bomb), Err(Malformed("a header block is too long")));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(block in proptest::collection::vec(any::<u8>(), 0..300), zlib: bool) {
            let mut decoder = Decoder::default();
            if zlib {
                let _ = decoder.decode(&[0x78, 0x9c]);
            }
            let _ = decoder.decode(&block);
            let _ = decoder.decode(&block);
            let _ = pairs(&block);
        }
    }
}
