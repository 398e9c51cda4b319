//! Compressed message bodies (`CompressionType.java`).

use std::io::Read;

use bytes::Bytes;

/// Reason why a body cannot be decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The body has a compression that this build does not support.
    #[error("compression {0} is not supported: enable the feature `lz4` or `zstd` of this crate")]
    Unsupported(i32),
    /// The body is larger than allowed.
    #[error("the decompressed body exceeds {0} bytes")]
    TooLarge(usize),
    /// The body is corrupt.
    #[error("corrupt compressed body: {0}")]
    Corrupt(String),
}

/// Decompresses a body. `kind` is the compression type of the system flag: 0 (old producers) or 3
/// zlib, 1 LZ4, 2 Zstandard. `limit` is the maximum size of the result in bytes.
pub(crate) fn decompress(kind: i32, body: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    match kind {
        0 | 3 => read_all(flate2::read::ZlibDecoder::new(body), limit),
        #[cfg(feature = "lz4")]
        1 => read_all(lz4_flex::frame::FrameDecoder::new(body), limit),
        #[cfg(feature = "zstd")]
        2 => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(body);
            read_all(decoder.map_err(|error| DecompressError::Corrupt(error.to_string()))?, limit)
        }
        other => Err(DecompressError::Unsupported(other)),
    }
}

fn read_all(from: impl Read, limit: usize) -> Result<Bytes, DecompressError> {
    let mut body = Vec::new();
    // One byte more than allowed, to notice a body that is too large.
    let mut from = from.take(limit as u64 + 1);
    from.read_to_end(&mut body).map_err(|error| DecompressError::Corrupt(error.to_string()))?;
    if body.len() > limit {
        return Err(DecompressError::TooLarge(limit));
    }
    Ok(body.into())
}
