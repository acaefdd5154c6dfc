//! QR codes: as SVG for print, as PNG for everywhere else.

use fast_qr::convert::svg::SvgBuilder;
use fast_qr::qr::{QRBuilder, QRCode};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, GrayImage, ImageEncoder as _, Luma};

/// The sides that a picture may have, in pixels. The smallest has two pixels and more for each module.
pub const SIDES: std::ops::RangeInclusive<u16> = 128..=2_048;

/// The side unless somebody asks for another.
pub const SIDE: u16 = 512;

/// The modules that stay white around a code (ISO/IEC 18004).
const QUIET: usize = 4;

fn code(text: &str) -> anyhow::Result<QRCode> {
    QRBuilder::new(text).build().map_err(|error| anyhow::anyhow!("no QR code holds this: {error:?}"))
}

/// A code as SVG that is as large as its place.
pub fn drawing(text: &str) -> anyhow::Result<String> {
    Ok(SvgBuilder::default().to_str(&code(text)?))
}

/// A code as SVG.
pub fn svg(text: &str, side: u16) -> anyhow::Result<Vec<u8>> {
    Ok(drawing(text)?.replacen("<svg ", &format!("<svg width=\"{side}\" height=\"{side}\" "), 1).into_bytes())
}

/// A code as PNG: modules of whole pixels, in the middle.
pub fn png(text: &str, side: u16) -> anyhow::Result<Vec<u8>> {
    let code = code(text)?;
    let pixels = usize::from(side) / (code.size + 2 * QUIET);
    anyhow::ensure!(pixels > 0, "the picture is too small for the code");
    let margin = (usize::from(side) - pixels * code.size) / 2;
    let side = u32::from(side);
    let is_dark = |at: u32| usize::try_from(at).ok().and_then(|at| Some(at.checked_sub(margin)? / pixels));
    let picture = GrayImage::from_fn(side, side, |x, y| {
        let module = is_dark(x).zip(is_dark(y)).filter(|(x, y)| *x < code.size && *y < code.size);
        let dark = module
            .is_some_and(|(x, y)| code.data.get(y * code.size + x).is_some_and(|module| module.value()));
        Luma([if dark { 0 } else { u8::MAX }])
    });
    let mut body = Vec::new();
    PngEncoder::new_with_quality(&mut body, CompressionType::Fast, FilterType::Up).write_image(
        &picture,
        side,
        side,
        ExtendedColorType::L8,
    )?;
    Ok(body)
}
