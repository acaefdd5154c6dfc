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
            Theme::Slate => (0x00ee_f1f5, 0x00e3_e8ef, 0x0018_202b, 0x004d_5a6b, 0x002f_4a6d),
            Theme::Meadow => (0x00ee_f6ee, 0x00df_f0df, 0x0014_251a, 0x0044_604c, 0x001b_6b48),
            Theme::Dusk => (0x00f4_effb, 0x00e7_dcf7, 0x0024_1737, 0x005f_4d7a, 0x005b_35a0),
            Theme::Coral => (0x00ff_f1ee, 0x00ff_e0da, 0x0034_130e, 0x0082_453b, 0x00ad_2e1f),
            Theme::Harbour => (0x00eb_f4fb, 0x00d5_e8f7, 0x000e_2233, 0x003d_5a73, 0x000d_5c95),
            Theme::Aurora => (0x00e2_f5f0, 0x00ee_e0fb, 0x0016_1438, 0x004a_4770, 0x004a_2fb0),
            Theme::Paper => (0x00fa_f8f4, 0x00fa_f8f4, 0x001f_1b16, 0x0062_5a4f, 0x001f_1b16),
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

    /// The style sheet, whose own test computes the contrasts.
    #[test]
    fn the_colours_are_those_of_the_pages() {
        let sheet = include_str!("../../assets/public.css");
        for theme in Theme::ALL {
            let start = format!("[data-theme={}]", theme.as_str());
            let line = sheet.lines().find(|line| line.starts_with(&start)).unwrap();
            let colour = |name: &str| {
                let (_, rest) = line.split_once(&format!("--{name}: #")).unwrap();
                channels(u32::from_str_radix(&rest[..6], 16).unwrap())
            };
            let palette = Palette::of(theme);
            let painted = [palette.top, palette.bottom, palette.text, palette.muted, palette.accent];
            assert_eq!(painted, ["ground", "glow", "ink", "soft", "accent"].map(colour), "{theme:?}");
        }
    }
}
