//! Shapes on a card: a background, a bar, a round picture in a ring.

use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};

use super::palette::Colour;

/// The height of the bar at the bottom.
const BAR: u32 = 12;

/// How thick the ring is.
const RING: f32 = 6.0;

/// Fills the canvas from one colour at the top to another at the bottom.
pub(super) fn gradient(canvas: &mut RgbImage, top: Colour, bottom: Colour) {
    let last = canvas.height().saturating_sub(1).max(1);
    for (_, row, pixel) in canvas.enumerate_pixels_mut() {
        *pixel = Rgb(mixed(top, bottom, row, last));
    }
}

/// A bar along the bottom.
pub(super) fn bar(canvas: &mut RgbImage, colour: Colour) {
    let from = canvas.height().saturating_sub(BAR);
    for (_, row, pixel) in canvas.enumerate_pixels_mut() {
        if row >= from {
            *pixel = Rgb(colour);
        }
    }
}

/// A picture in a circle of `side` in the middle of the canvas, `top` from above, in a ring.
pub(super) fn portrait(canvas: &mut RgbImage, picture: &DynamicImage, top: i32, side: u32, ring: Colour) {
    let picture = imageops::resize(&picture.to_rgba8(), side, side, FilterType::CatmullRom);
    let left = i32::try_from(canvas.width().saturating_sub(side) / 2).unwrap_or(0);
    let (side, margin) = (i32::try_from(side).unwrap_or(0), 8);
    let radius = half(side);
    for y in -margin..side + margin {
        for x in -margin..side + margin {
            let distance = (half(2 * x + 1) - radius).hypot(half(2 * y + 1) - radius);
            let inside = (radius - distance + 0.5).clamp(0.0, 1.0);
            let around = (radius + RING - distance + 0.5).clamp(0.0, 1.0);
            blend(canvas, left + x, top + y, ring, opacity(around));
            let (Ok(column), Ok(row)) = (u32::try_from(x), u32::try_from(y)) else { continue };
            if let Some([red, green, blue, alpha]) =
                picture.get_pixel_checked(column, row).map(|pixel| pixel.0)
            {
                // What shines through in the picture shows white, not the ring.
                blend(canvas, left + x, top + y, [255; 3], opacity(inside));
                let seen = inside * f32::from(alpha) / 255.0;
                blend(canvas, left + x, top + y, [red, green, blue], opacity(seen));
            }
        }
    }
}

/// Puts a colour over a pixel. What is outside the canvas is left out.
pub(super) fn blend(canvas: &mut RgbImage, x: i32, y: i32, colour: Colour, alpha: u8) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if alpha == 0 {
        return;
    }
    if let Some(pixel) = canvas.get_pixel_mut_checked(x, y) {
        pixel.0 = mixed(pixel.0, colour, alpha.into(), 255);
    }
}

/// So many parts of `whole` of the second colour, the rest of the first.
fn mixed(first: Colour, second: Colour, parts: u32, whole: u32) -> Colour {
    let mut colour = first;
    for (channel, other) in colour.iter_mut().zip(second) {
        let sum = u32::from(*channel) * (whole - parts.min(whole)) + u32::from(other) * parts.min(whole);
        *channel = u8::try_from((sum + whole / 2) / whole).unwrap_or(u8::MAX);
    }
    colour
}

/// Half of a small number.
fn half(number: i32) -> f32 {
    f32::from(i16::try_from(number).unwrap_or(i16::MAX)) / 2.0
}

/// A part from 0 to 1 as an opacity.
fn opacity(part: f32) -> u8 {
    #[allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 to 255"
    )]
    let opacity = (part.clamp(0.0, 1.0) * 255.0).round() as u8;
    opacity
}
