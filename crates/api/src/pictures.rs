//! Pictures that people send: read with distrust, and written anew.
//!
//! What is stored is never what was sent. A file is decoded within limits of pixels and memory, turned as its EXIF says,
//! cut to a square, scaled, and encoded by us: no metadata (places, devices, thumbnails of what was cut off), no second
//! file hidden behind the first, no format that a browser could take for a page. Colour profiles are dropped with the rest:
//! colours are taken for sRGB. Of an animation the first frame stays.
//!
//! These functions take long (up to a second for the largest) and never wait: call them through a
//! [`Studio`], which keeps them off the threads that serve requests.

mod encode;
mod read;
mod square;
mod studio;

pub use studio::Studio;

/// The largest file that is looked at, in bytes. A photo of a telephone fits.
pub const LARGEST_FILE: usize = 8 << 20;

/// The side of an avatar, in pixels.
pub const AVATAR_SIDE: u32 = 400;

/// The side of a link's thumbnail, in pixels.
pub const THUMBNAIL_SIDE: u32 = 160;

/// What the table of avatars takes, in bytes.
const AVATAR_BYTES: usize = 512 << 10;

/// What the table of thumbnails takes, in bytes.
const THUMBNAIL_BYTES: usize = 128 << 10;

/// A picture as it is stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub body: Vec<u8>,
    /// Its media type: `image/webp`, `image/jpeg` or `image/png`.
    pub content_type: &'static str,
}

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Too many bytes.
    #[error("a picture has 8 MiB at most")]
    TooLarge,
    /// None of the four formats.
    #[error("a picture is a PNG, JPEG, WebP or GIF file")]
    Unsupported,
    /// Too many pixels, whatever few bytes they are packed into.
    #[error("a picture has 16 million pixels at most, and 8192 on a side")]
    TooManyPixels,
    /// It says it is one of the formats, and is broken or cut off.
    #[error("the file is damaged")]
    Damaged,
}

/// The picture of an account: a square of [`AVATAR_SIDE`].
pub fn avatar(bytes: &[u8]) -> Result<Picture, PictureError> {
    make(bytes, AVATAR_SIDE, AVATAR_BYTES)
}

/// The picture of a link: a square of [`THUMBNAIL_SIDE`].
pub fn thumbnail(bytes: &[u8]) -> Result<Picture, PictureError> {
    make(bytes, THUMBNAIL_SIDE, THUMBNAIL_BYTES)
}

fn make(bytes: &[u8], side: u32, most: usize) -> Result<Picture, PictureError> {
    let (image, orientation) = read::read(bytes)?;
    let square = square::square(&image, side);
    drop(image);
    // The square is in the middle of the picture: it may as well be turned afterwards, when it is small.
    let mut square = image::DynamicImage::ImageRgba8(square);
    square.apply_orientation(orientation);
    encode::encode(&square.into_rgba8(), most)
}

#[cfg(test)]
mod tests;
