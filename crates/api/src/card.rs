//! The picture of a page that other sites show beside a link to it (Open Graph, Twitter): a PNG of 1200x630.
//!
//! It shows the name, `@username`, the avatar if there is one, and our host, in the colours of the theme. Text is shaped
//! as it should be read: right-to-left names, marks, ligatures and emoji sequences. A long name is set smaller, then on two
//! lines, then cut with an ellipsis. The fonts are compiled in (`fonts/`, with their licences), so that a card looks
//! the same on every machine. They cover Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian, Ethiopic, Devanagari,
//! Bengali, Gurmukhi, Gujarati, Tamil, Telugu, Kannada, Malayalam, Sinhala, Thai, Lao, Khmer, Myanmar, the usual Chinese
//! characters (in Japanese shapes), Kana and Hangul, symbols, and emoji in colour up to Unicode 15. A character that no
//! font has is left out; a name with no other leaves the username to stand for it.

mod paint;
mod palette;
mod text;

use actix_web::web::Bytes;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _, RgbImage};
use sha2::{Digest as _, Sha256};

use crate::nearby::Nearby;

pub use palette::Palette;

/// The width, in pixels.
pub const WIDTH: u32 = 1_200;

/// The height, in pixels.
pub const HEIGHT: u32 = 630;

/// The side of the avatar on it.
const AVATAR: u32 = 220;

/// Raised when cards look different: copies of the old look are not taken for the new one.
const LOOK: u8 = 1;

/// What copies of cards may weigh together, in bytes: some eight hundred of them.
const ROOM: u64 = 32 << 20;

/// Cards by their digest. A card is drawn once, for all who ask meanwhile too.
pub type Cards = Nearby<[u8; 32], Bytes>;

/// Room for cards.
pub fn room() -> Cards {
    Nearby::new("card", ROOM, |_, card| card.len())
}

/// What a card shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The name on the page.
    pub name: String,
    /// The name of the account.
    pub username: String,
    /// Where the page is: `links.example`.
    pub host: String,
    /// The colours.
    pub palette: Palette,
    /// The digest of the avatar.
    pub avatar: Option<Vec<u8>>,
}

impl Card {
    /// Equal cards have equal digests.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([LOOK]);
        for part in [self.name.as_bytes(), self.username.as_bytes(), self.host.as_bytes()] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        hash.update(self.palette.bytes());
        hash.update(self.avatar.as_deref().unwrap_or_default());
        hash.finalize().into()
    }

    /// Draws it. `avatar` is the picture as it is stored; one that cannot be read is left out. Takes long: call it through a
    /// [`Studio`](crate::pictures::Studio).
    pub fn draw(&self, avatar: Option<&[u8]>) -> anyhow::Result<Vec<u8>> {
        let avatar = avatar.and_then(|bytes| image::load_from_memory(bytes).ok());
        let mut canvas = RgbImage::new(WIDTH, HEIGHT);
        let palette = &self.palette;
        paint::gradient(&mut canvas, palette.top, palette.bottom);
        paint::bar(&mut canvas, palette.accent);
        let mut top = if avatar.is_some() { 64 } else { 176 };
        if let Some(avatar) = avatar {
            paint::portrait(&mut canvas, &avatar, top, AVATAR, palette.accent);
            top += i32::try_from(AVATAR)? + 28;
        }
        let handle = format!("@{}", self.username);
        let mut writer = text::Writer::lock();
        let (name, sizes) = (writer.known(&self.name), text::NAME_SIZES);
        let room = i32::try_from(HEIGHT)? - 190 - top;
        if name.trim().is_empty() {
            writer.write(&mut canvas, &handle, top, room, sizes, palette.text);
        } else {
            let bottom = writer.write(&mut canvas, &name, top, room, sizes, palette.text);
            writer.write(&mut canvas, &handle, bottom + 10, 70, text::HANDLE_SIZES, palette.muted);
        }
        writer.write(
            &mut canvas,
            &self.host,
            i32::try_from(HEIGHT)? - 84,
            48,
            text::HOST_SIZES,
            palette.accent,
        );
        drop(writer);
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive).write_image(
            &canvas,
            WIDTH,
            HEIGHT,
            ExtendedColorType::Rgb8,
        )?;
        Ok(png)
    }
}

#[cfg(test)]
mod tests;
