//! From the bytes of a stranger to pixels.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits};

use super::{LARGEST_FILE, PictureError};

/// The longest side, in pixels.
const LONGEST_SIDE: u32 = 8_192;

/// The most pixels: what a telephone takes by default, and some.
const MOST_PIXELS: u64 = 16 << 20;

/// What a decoder may allocate: that many pixels of 16 bits a channel, and its working memory.
const MOST_MEMORY: u64 = 192 << 20;

/// Decodes a file. Its first bytes say what it is, not its name or what the client called it.
pub(super) fn read(bytes: &[u8]) -> Result<(DynamicImage, Orientation), PictureError> {
    if bytes.len() > LARGEST_FILE {
        return Err(PictureError::TooLarge);
    }
    let format = image::guess_format(bytes).map_err(|_| PictureError::Unsupported)?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif) {
        return Err(PictureError::Unsupported);
    }
    if format == ImageFormat::Jpeg && !is_whole(bytes) {
        return Err(PictureError::Damaged);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(PictureError::TooManyPixels);
    }
    if width == 0 || height == 0 {
        return Err(PictureError::Damaged);
    }
    limits.reserve(decoder.total_bytes()).map_err(refusal)?;
    // The decoder counts what it needs besides the pixels.
    decoder.set_limits(limits).map_err(refusal)?;
    // EXIF that cannot be read turns nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    Ok((image, orientation))
}

/// Whether the last scan of a JPEG file is followed by its end. The decoder would fill what is missing with grey. Within a
/// scan 0xFF is followed by neither of the two codes.
fn is_whole(bytes: &[u8]) -> bool {
    let last = |code: u8| bytes.windows(2).rposition(|pair| pair == [0xff, code]);
    match (last(0xda), last(0xd9)) {
        (Some(scan), Some(end)) => scan < end,
        _ => false,
    }
}

/// What the library's words mean.
#[allow(clippy::needless_pass_by_value, reason = "the argument of map_err")]
fn refusal(error: ImageError) -> PictureError {
    match error {
        ImageError::Limits(_) => PictureError::TooManyPixels,
        ImageError::Unsupported(_) => PictureError::Unsupported,
        _ => PictureError::Damaged,
    }
}
