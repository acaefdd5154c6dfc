//! Text on a card: shaped, broken into lines, set as large as fits.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use cosmic_text::fontdb::{Database, Source};
use cosmic_text::{
    Align, Attrs, Buffer, Color, Ellipsize, EllipsizeHeightLimit, Family, FontSystem, Metrics, Shaping,
    SwashCache, Weight, Wrap,
};
use image::RgbImage;

use super::WIDTH;
use super::paint::blend;
use super::palette::Colour;

/// The sizes that a name is tried in, the largest first.
pub(super) const NAME_SIZES: &[f32] = &[92.0, 80.0, 70.0, 60.0, 52.0];

/// Likewise of a username.
pub(super) const HANDLE_SIZES: &[f32] = &[44.0, 38.0];

/// Likewise of our host.
pub(super) const HOST_SIZES: &[f32] = &[32.0, 26.0];

/// How far from the edges text stays.
const MARGIN: i32 = 80;

/// Lines that a text has at most.
const LINES: usize = 2;

/// From the baseline of a line to the next, in sizes.
const LEADING: f32 = 1.25;

/// The first one is for what every script has in common; emoji come before symbols, which have some of them in black.
const FONTS: [&[u8]; 22] = [
    include_bytes!("../../fonts/NotoSans-Bold.ttf"),
    include_bytes!("../../fonts/Twemoji.ttf"),
    include_bytes!("../../fonts/NotoSansArabic-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansArmenian-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansBengali-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansCJK-Bold-common.otf"),
    include_bytes!("../../fonts/NotoSansDevanagari-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansEthiopic-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansGeorgian-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansGujarati-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansGurmukhi-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansHebrew-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansKannada-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansKhmer-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansLao-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansMalayalam-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansMyanmar-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansSinhala-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansSymbols2-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansTamil-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansTelugu-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansThai-Bold.ttf"),
];

static FONT_SYSTEM: LazyLock<Mutex<FontSystem>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    for font in FONTS {
        fonts.load_font_source(Source::Binary(Arc::new(font)));
    }
    Mutex::new(FontSystem::new_with_locale_and_db("en".to_owned(), fonts))
});

/// Writes on cards. There is one: fonts are parsed once, and one card at a time has its text set.
pub(super) struct Writer(MutexGuard<'static, FontSystem>);

impl Writer {
    /// Waits for it.
    pub(super) fn lock() -> Self {
        // What a panic may leave behind is a cache.
        Self(FONT_SYSTEM.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The text without what no font has.
    pub(super) fn known(&mut self, text: &str) -> String {
        let mut unknown = BTreeSet::new();
        for run in self.set(text, 32.0, Wrap::None).layout_runs() {
            unknown.extend(run.glyphs.iter().filter(|glyph| glyph.glyph_id == 0).map(|glyph| glyph.start));
        }
        let known = text.char_indices().filter(|(at, _)| !unknown.contains(at));
        known.map(|(_, letter)| letter).collect()
    }

    /// Writes in the middle of the canvas, from `top` down and at most `room` high, in the largest of `sizes` that fits on
    /// one line, else on two, else cut off. Returns where it ends.
    pub(super) fn write(
        &mut self,
        canvas: &mut RgbImage,
        text: &str,
        top: i32,
        room: i32,
        sizes: &[f32],
        colour: Colour,
    ) -> i32 {
        let mut tries = (1..=LINES).flat_map(|lines| sizes.iter().map(move |size| (lines, *size)));
        let fitting = tries.find_map(|(lines, size)| {
            let buffer = self.set(text, size, Wrap::Word);
            fits(&buffer, lines, room).then_some(buffer)
        });
        let smallest = sizes.last().copied().unwrap_or(32.0);
        let mut buffer = fitting.unwrap_or_else(|| self.set(text, smallest, Wrap::WordOrGlyph));
        let [red, green, blue] = colour;
        let height: f32 = buffer.layout_runs().map(|run| run.line_height).sum();
        buffer.draw(
            &mut self.0,
            &mut SwashCache::new(),
            Color::rgb(red, green, blue),
            |x, y, width, height, colour| {
                for (row, column) in grid(width, height) {
                    let (x, y) = (x + column + MARGIN, y + row + top);
                    blend(canvas, x, y, [colour.r(), colour.g(), colour.b()], colour.a());
                }
            },
        );
        #[allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "at most a few hundred")]
        let height = height.ceil() as i32;
        top + height
    }

    /// Sets a text: on as many lines as it wants, or where it may break anywhere on two at most.
    fn set(&mut self, text: &str, size: f32, wrap: Wrap) -> Buffer {
        let mut buffer = Buffer::new(&mut self.0, Metrics::new(size, size * LEADING));
        buffer.set_size(Some(width()), None);
        buffer.set_wrap(wrap);
        if wrap == Wrap::WordOrGlyph {
            buffer.set_ellipsize(Ellipsize::End(EllipsizeHeightLimit::Lines(LINES)));
        }
        let attributes = Attrs::new().family(Family::Name("Noto Sans")).weight(Weight::BOLD);
        buffer.set_text(text, &attributes, Shaping::Advanced, Some(Align::Center));
        buffer.shape_until_scroll(&mut self.0, false);
        buffer
    }
}

fn fits(buffer: &Buffer, lines: usize, room: i32) -> bool {
    let runs: Vec<_> = buffer.layout_runs().collect();
    let high: f32 = runs.iter().map(|run| run.line_height).sum();
    runs.len() <= lines && high <= pixels(room) && runs.iter().all(|run| run.line_w <= width())
}

/// How wide text may be.
fn width() -> f32 {
    pixels(i32::try_from(WIDTH).unwrap_or(0) - 2 * MARGIN)
}

fn pixels(number: i32) -> f32 {
    f32::from(i16::try_from(number).unwrap_or(i16::MAX))
}

/// The rows and columns of a rectangle.
fn grid(width: u32, height: u32) -> impl Iterator<Item = (i32, i32)> {
    let (width, height) = (i32::try_from(width).unwrap_or(0), i32::try_from(height).unwrap_or(0));
    (0..height).flat_map(move |row| (0..width).map(move |column| (row, column)))
}
