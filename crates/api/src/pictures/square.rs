//! The square in the middle of a picture, scaled.
//!
//! Colours are multiplied by their opacity before they are mixed: the colour of what nobody sees would else show as a rim.

use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView as _, Rgba, RgbaImage};

/// The middle of `image` as a square of `side` pixels.
pub(super) fn square(image: &DynamicImage, side: u32) -> RgbaImage {
    let (width, height) = image.dimensions();
    let length = width.min(height);
    // Whole blocks of pixels first, as many as leave twice what is asked for: one pass over a large picture.
    let block = (length / (side * 2)).max(1);
    let (left, top) = ((width - length) / 2, (height - length) / 2);
    let small = length / block;
    let mean = RgbaImage::from_fn(small, small, |x, y| mean(image, left + x * block, top + y * block, block));
    let mut scaled =
        if small == side { mean } else { imageops::resize(&mean, side, side, FilterType::CatmullRom) };
    for pixel in scaled.pixels_mut() {
        *pixel = divided(*pixel);
    }
    scaled
}

/// The mean of a block, its colours multiplied by their opacity.
fn mean(image: &DynamicImage, left: u32, top: u32, block: u32) -> Rgba<u8> {
    let mut sums = [0_u64; 4];
    for y in top..top + block {
        for x in left..left + block {
            let Rgba([red, green, blue, alpha]) = image.get_pixel(x, y);
            let [r, g, b, a] = &mut sums;
            let opacity = u64::from(alpha);
            *r += u64::from(red) * opacity;
            *g += u64::from(green) * opacity;
            *b += u64::from(blue) * opacity;
            *a += opacity;
        }
    }
    let count = u64::from(block) * u64::from(block);
    let [r, g, b, a] = sums;
    let rounded = |sum: u64, of: u64| u8::try_from((sum + of / 2) / of).unwrap_or(u8::MAX);
    Rgba([rounded(r, count * 255), rounded(g, count * 255), rounded(b, count * 255), rounded(a, count)])
}

/// The colour that was multiplied by its opacity.
fn divided(Rgba([red, green, blue, alpha]): Rgba<u8>) -> Rgba<u8> {
    if alpha == 0 {
        return Rgba([0; 4]);
    }
    let opacity = u32::from(alpha);
    let whole = |part: u8| u8::try_from((u32::from(part) * 255 + opacity / 2) / opacity).unwrap_or(u8::MAX);
    Rgba([whole(red), whole(green), whole(blue), alpha])
}
