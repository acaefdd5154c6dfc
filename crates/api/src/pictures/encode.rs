//! From pixels to the smallest file that keeps them well.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder as _, ImageResult, Rgb, RgbImage, RgbaImage};

use super::{Picture, PictureError};

/// A quality of JPEG at which nobody sees the loss.
const GOOD: u8 = 85;

/// One for noise that is too large else.
const POOR: u8 = 50;

/// Encodes: without loss, or as JPEG where that is smaller and nothing shines through; `most` bytes at most.
pub(super) fn encode(image: &RgbaImage, most: usize) -> Result<Picture, PictureError> {
    let opaque = image.pixels().all(|pixel| pixel.0[3] == u8::MAX);
    let files = [webp(image), if opaque { jpeg(image, GOOD) } else { png(image) }];
    let fits = |file: &Picture| file.body.len() <= most;
    if let Some(file) = files.into_iter().flatten().filter(fits).min_by_key(|file| file.body.len()) {
        return Ok(file);
    }
    // Noise that shines through: on white it fits.
    [GOOD, POOR]
        .into_iter()
        .filter_map(|quality| jpeg(image, quality).ok())
        .find(fits)
        .ok_or(PictureError::Damaged)
}

fn webp(image: &RgbaImage) -> ImageResult<Picture> {
    let mut body = Vec::new();
    let (width, height) = image.dimensions();
    WebPEncoder::new_lossless(&mut body).encode(image, width, height, ExtendedColorType::Rgba8)?;
    Ok(Picture { body, content_type: "image/webp" })
}

fn png(image: &RgbaImage) -> ImageResult<Picture> {
    let mut body = Vec::new();
    let (width, height) = image.dimensions();
    PngEncoder::new_with_quality(&mut body, CompressionType::Default, FilterType::Adaptive).write_image(
        image,
        width,
        height,
        ExtendedColorType::Rgba8,
    )?;
    Ok(Picture { body, content_type: "image/png" })
}

/// What shines through is put on white.
fn jpeg(image: &RgbaImage, quality: u8) -> ImageResult<Picture> {
    let (width, height) = image.dimensions();
    let flat = RgbImage::from_fn(width, height, |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0;
        let opacity = u32::from(alpha);
        let over = |part: u8| {
            u8::try_from((u32::from(part) * opacity + 255 * (255 - opacity)) / 255).unwrap_or(u8::MAX)
        };
        Rgb([over(red), over(green), over(blue)])
    });
    let mut body = Vec::new();
    JpegEncoder::new_with_quality(&mut body, quality).encode(
        &flat,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(Picture { body, content_type: "image/jpeg" })
}
