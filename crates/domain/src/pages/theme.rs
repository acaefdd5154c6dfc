//! How a page looks: a closed set, add and never rename. What each looks like is in the api's style sheet.

/// A theme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Theme {
    /// Warm white and black.
    #[default]
    Paper,
    /// Cool and sober.
    Slate,
    /// Green.
    Meadow,
    /// Violet.
    Dusk,
    /// Red and rose.
    Coral,
    /// Blue.
    Harbour,
    /// A sky of colours, for premium.
    Aurora,
}

impl Theme {
    /// Every theme, in the order they are offered.
    pub const ALL: [Self; 7] =
        [Self::Paper, Self::Slate, Self::Meadow, Self::Dusk, Self::Coral, Self::Harbour, Self::Aurora];

    /// The word for it, in the database and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Slate => "slate",
            Self::Meadow => "meadow",
            Self::Dusk => "dusk",
            Self::Coral => "coral",
            Self::Harbour => "harbour",
            Self::Aurora => "aurora",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == word)
    }

    /// Whether it wants premium. Once that lapses the page shows the default, and the choice is kept.
    pub const fn is_premium(self) -> bool {
        matches!(self, Self::Aurora)
    }
}
