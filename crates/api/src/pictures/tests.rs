use std::io::Cursor;
use std::time::{Duration, Instant};

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, ExtendedColorType, Frame, GenericImageView as _, ImageEncoder as _, ImageFormat, Rgb,
    RgbImage, Rgba, RgbaImage,
};

use super::*;

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Left half red, right half blue.
fn halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([220, 0, 0]) } else { Rgb([0, 0, 220]) })
}

/// Every pixel another colour (xorshift).
fn noise(side: u32, opaque: bool) -> RgbaImage {
    let mut state = 0x9e37_79b9_u32;
    RgbaImage::from_fn(side, side, |_, _| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let [r, g, b, a] = state.to_le_bytes();
        Rgba([r, g, b, if opaque { 255 } else { a.clamp(1, 254) }])
    })
}

fn seen(picture: &Picture) -> RgbaImage {
    let format = ImageFormat::from_mime_type(picture.content_type).unwrap();
    image::load_from_memory_with_format(&picture.body, format).unwrap().into_rgba8()
}

fn is_near(pixel: Rgba<u8>, wanted: [u8; 4]) -> bool {
    pixel.0.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 24)
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&name[..], data].concat();
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length[..], &named, &crc(&named).to_be_bytes()].concat()
}

/// A PNG header that claims a size, with a little data.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    let signature = b"\x89PNG\r\n\x1a\n".to_vec();
    let data = [0x78, 0x9c, 0x63, 0x60, 0x18, 0x05, 0x00];
    [signature, chunk(*b"IHDR", &header), chunk(*b"IDAT", &data), chunk(*b"IEND", &[])].concat()
}

#[test]
fn every_format_becomes_a_square_of_one_size() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        for (width, height) in [(1, 1), (3, 900), (900, 700), (400, 400), (2_500, 1_000)] {
            let bytes = file(halves(width, height), format);
            let picture = avatar(&bytes).unwrap();
            assert_eq!(seen(&picture).dimensions(), (400, 400), "{format:?} {width}x{height}");
            assert_eq!(seen(&thumbnail(&bytes).unwrap()).dimensions(), (160, 160));
        }
        let picture = seen(&avatar(&file(halves(1_000, 500), format)).unwrap());
        assert!(is_near(*picture.get_pixel(20, 200), [220, 0, 0, 255]), "{format:?}");
        assert!(is_near(*picture.get_pixel(380, 200), [0, 0, 220, 255]), "{format:?}");
    }
}

#[test]
fn what_shines_through_stays_so_and_leaves_no_rim() {
    // White on a black that nobody sees.
    let image = RgbaImage::from_fn(1_000, 1_000, |x, _| {
        if x < 500 { Rgba([255, 255, 255, 255]) } else { Rgba([0, 0, 0, 0]) }
    });
    let picture = seen(&avatar(&file(image, ImageFormat::Png)).unwrap());
    assert_eq!(picture.get_pixel(350, 200).0[3], 0);
    for x in 0..400 {
        let pixel = picture.get_pixel(x, 200).0;
        assert!(pixel[3] == 0 || pixel[0] > 240, "{x}: {pixel:?}");
    }
}

#[test]
fn the_largest_files_fit_their_tables() {
    for opaque in [true, false] {
        let bytes = file(noise(400, opaque), ImageFormat::Png);
        let picture = avatar(&bytes).unwrap();
        assert!(picture.body.len() <= AVATAR_BYTES, "{}", picture.body.len());
        let bytes = file(noise(160, opaque), ImageFormat::Png);
        assert!(thumbnail(&bytes).unwrap().body.len() <= THUMBNAIL_BYTES);
    }
}

#[test]
fn an_animation_shows_its_first_frame() {
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        for colour in [[0, 200, 0, 255], [200, 0, 0, 255]] {
            encoder.encode_frame(Frame::new(RgbaImage::from_pixel(50, 50, Rgba(colour)))).unwrap();
        }
    }
    let picture = seen(&avatar(&bytes).unwrap());
    assert!(is_near(*picture.get_pixel(200, 200), [0, 200, 0, 255]));
}

/// A JPEG with the orientation of a telephone held upright, where it was taken, and a comment.
fn with_exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x02\0".to_vec();
    tiff.extend_from_slice(&[0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    tiff.extend_from_slice(&[0x0e, 0x01, 2, 0, 22, 0, 0, 0, 38, 0, 0, 0]);
    tiff.extend_from_slice(&[0, 0, 0, 0]);
    tiff.extend_from_slice(b"GPS 52.5200N 13.4050E\0");
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new(&mut bytes);
    encoder.set_exif_metadata(tiff).unwrap();
    encoder.write_image(&halves(600, 400), 600, 400, ExtendedColorType::Rgb8).unwrap();
    bytes
}

#[test]
fn v1_metadata_turns_the_picture_and_is_gone() {
    let bytes = with_exif(6);
    assert!(bytes.windows(3).any(|part| part == b"GPS"));
    let picture = avatar(&bytes).unwrap();
    for trace in [&b"GPS"[..], b"Exif", b"EXIF", b"eXIf", b"tEXt"] {
        assert!(!picture.body.windows(trace.len()).any(|part| part == trace));
    }
    // What was left is above now.
    let turned = seen(&picture);
    assert!(is_near(*turned.get_pixel(200, 20), [220, 0, 0, 255]));
    assert!(is_near(*turned.get_pixel(200, 380), [0, 0, 220, 255]));
    let plain = seen(&avatar(&with_exif(1)).unwrap());
    assert!(is_near(*plain.get_pixel(20, 200), [220, 0, 0, 255]));
}

#[test]
fn h1_few_bytes_that_unpack_to_many_are_refused_at_once() {
    let begun = Instant::now();
    for (width, height) in [(65_535, 65_535), (100_000, 1), (1, 100_000), (8_192, 8_192), (u32::MAX >> 1, 2)]
    {
        assert_eq!(avatar(&claiming(width, height)), Err(PictureError::TooManyPixels), "{width}x{height}");
    }
    // GIF and WebP that claim the largest size that they can.
    let gif = b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;";
    assert_eq!(avatar(gif), Err(PictureError::TooManyPixels));
    let webp = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f\x07\x10\x11\x11\x88\x88\xfe\x07\0";
    assert!(avatar(webp).is_err());
    // A comment of two hundred MiB in two hundred KiB.
    let mut zlib = Vec::new();
    PngEncoder::new(&mut zlib)
        .write_image(&vec![0; 4_000 * 4_000], 4_000, 4_000, ExtendedColorType::L8)
        .unwrap();
    let start = zlib.windows(4).position(|part| part == b"IDAT").unwrap() + 4;
    let packed = zlib[start..].to_vec();
    let good = file(halves(10, 10), ImageFormat::Png);
    let comment = chunk(*b"zTXt", &[b"Comment\0\0", &packed[..]].concat());
    let bomb = [&good[..33], &comment, &good[33..]].concat();
    // Refused, or read without the comment; either way quickly, and within the bound of memory.
    let _ = avatar(&bomb);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(avatar(&vec![0; LARGEST_FILE + 1]), Err(PictureError::TooLarge));
}

#[test]
fn the_most_pixels_allowed_are_done_in_time() {
    let bytes = file(halves(4_096, 4_096), ImageFormat::Jpeg);
    let begun = Instant::now();
    assert_eq!(seen(&avatar(&bytes).unwrap()).dimensions(), (400, 400));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_file_that_broke_off_is_damaged_wherever_it_did() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let bytes = file(noise(60, true), format);
        for length in (0..bytes.len() - 12).step_by(bytes.len() / 40) {
            let refused = avatar(&bytes[..length]).expect_err(&format!("{format:?} cut at {length}"));
            assert!(matches!(refused, PictureError::Damaged | PictureError::Unsupported), "{refused:?}");
        }
    }
}

/// Bytes that are changed one by one never bring the process down.
#[test]
fn damaged_files_are_refused_or_read_but_never_panic() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let bytes = file(halves(20, 20), format);
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            let _ = thumbnail(&broken);
        }
    }
}

#[test]
fn h7_other_files_are_not_pictures_whatever_they_pretend() {
    for bytes in [
        &b""[..],
        b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
        b"<?xml version=\"1.0\"?><svg/>",
        b"<!doctype html><script>alert(1)</script>",
        b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0",
        b"II*\0\x08\0\0\0",
        b"\0\0\x01\0\x01\0\x10\x10",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"GIF89a/*<script>*/=1;alert(1)",
    ] {
        assert!(avatar(bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn h7_what_hides_in_or_behind_a_picture_is_not_stored() {
    let script = b"<script>alert(document.cookie)</script>";
    let archive = b"PK\x03\x04 an archive with a program in it";
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let bytes = [&file(halves(64, 64), format)[..], script, archive].concat();
        let picture = avatar(&bytes).unwrap();
        for hidden in [&script[..], b"PK\x03\x04"] {
            assert!(!picture.body.windows(hidden.len()).any(|part| part == hidden), "{format:?}");
        }
        let format = image::guess_format(&picture.body).unwrap();
        assert_eq!(format.to_mime_type(), picture.content_type);
    }
    // A comment within the file.
    let good = file(halves(64, 64), ImageFormat::Png);
    let commented =
        [&good[..33], &chunk(*b"tEXt", &[b"Comment\0", &script[..]].concat()), &good[33..]].concat();
    let picture = avatar(&commented).unwrap();
    assert!(!picture.body.windows(script.len()).any(|part| part == script));
    assert_eq!(seen(&picture).dimensions(), seen(&picture).view(0, 0, 400, 400).dimensions());
}
