//! The colours of a card, by theme: those of the style sheets of the pages, in their light form.

use domain::pages::Theme;

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// What a card is painted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// The background at the top.
    pub(super) top: Colour,
    /// The background at the bottom.
    pub(super) bottom: Colour,
    /// The name.
    pub(super) text: Colour,
    /// The username.
    pub(super) muted: Colour,
    /// The bar, the ring and our host.
    pub(super) accent: Colour,
}

impl Palette {
    /// The colours of a theme.
    pub const fn of(theme: Theme) -> Self {
        let (top, bottom, text, muted, accent) = match theme {
            Theme::Slate => (0x00f1_f4f8, 0x00dd_e4ee, 0x0018_202c, 0x004a_5668, 0x0030_517d),
            Theme::Meadow => (0x00f2_f8ef, 0x00d9_eccf, 0x0016_2612, 0x0046_5f3d, 0x002b_6a1e),
            Theme::Dusk => (0x002b_2140, 0x0017_1127, 0x00f4_effc, 0x00c9_bce0, 0x00f0_a6ca),
            Theme::Coral => (0x00ff_f3ef, 0x00ff_d9cc, 0x0036_120a, 0x0078_4033, 0x00a8_321a),
            Theme::Harbour => (0x00ee_f7fa, 0x00cf_e6ef, 0x000b_2530, 0x003a_5b69, 0x0010_5d7a),
            Theme::Aurora => (0x0012_1b3f, 0x003a_1d5c, 0x00ff_ffff, 0x00cd_d6f6, 0x007d_f0d0),
            Theme::Paper => (0x00fb_faf7, 0x00f0_ede4, 0x001c_1b18, 0x005c_5950, 0x009a_3b1a),
        };
        Self {
            top: channels(top),
            bottom: channels(bottom),
            text: channels(text),
            muted: channels(muted),
            accent: channels(accent),
        }
    }

    /// All of it, in order.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.top, self.bottom, self.text, self.muted, self.accent].concat()
    }
}

const fn channels(colour: u32) -> Colour {
    let [_, red, green, blue] = colour.to_be_bytes();
    [red, green, blue]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: Colour) -> f64 {
        let [red, green, blue] = colour.map(|channel| {
            let part = f64::from(channel) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(a: Colour, b: Colour) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_text_can_be_read_on_every_background() {
        for theme in Theme::ALL {
            let palette = Palette::of(theme);
            for ground in [palette.top, palette.bottom] {
                assert!(contrast(palette.text, ground) >= 7.0, "{theme:?} text");
                assert!(contrast(palette.muted, ground) >= 4.5, "{theme:?} muted");
                assert!(contrast(palette.accent, ground) >= 4.5, "{theme:?} accent");
            }
        }
    }
}
