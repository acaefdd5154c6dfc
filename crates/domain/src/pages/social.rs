//! Where else somebody is: a closed list of networks, each with the hosts that an address of it may have, so that no icon
//! lends its trust to another site.

use super::url::{LinkUrl, LinkUrlError, Scheme};

macro_rules! networks {
    ($($name:ident = $slug:literal, $title:literal, [$($host:literal),*];)*) => {
        /// A network. A closed set: add, never rename.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Network {
            $(#[doc = concat!("`", $title, "`")] $name,)*
        }

        impl Network {
            /// Every network, in the order they are offered.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for it, in the database and in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// What people call it.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The hosts of its addresses, and of those below them; none for any host.
            const fn hosts(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($host),*],)* }
            }
        }
    };
}

networks! {
    Website = "website", "Website", [];
    Email = "email", "E-mail", [];
    Mastodon = "mastodon", "Mastodon", [];
    Bluesky = "bluesky", "Bluesky", ["bsky.app"];
    X = "x", "X", ["x.com", "twitter.com"];
    Instagram = "instagram", "Instagram", ["instagram.com"];
    Threads = "threads", "Threads", ["threads.net", "threads.com"];
    Facebook = "facebook", "Facebook", ["facebook.com", "fb.com", "fb.me"];
    LinkedIn = "linkedin", "LinkedIn", ["linkedin.com", "lnkd.in"];
    TikTok = "tiktok", "TikTok", ["tiktok.com"];
    YouTube = "youtube", "YouTube", ["youtube.com", "youtu.be"];
    Twitch = "twitch", "Twitch", ["twitch.tv"];
    Spotify = "spotify", "Spotify", ["spotify.com"];
    SoundCloud = "soundcloud", "SoundCloud", ["soundcloud.com"];
    Bandcamp = "bandcamp", "Bandcamp", [];
    GitHub = "github", "GitHub", ["github.com"];
    GitLab = "gitlab", "GitLab", ["gitlab.com"];
    Codeberg = "codeberg", "Codeberg", ["codeberg.org"];
    Reddit = "reddit", "Reddit", ["reddit.com"];
    Discord = "discord", "Discord", ["discord.gg", "discord.com"];
    Telegram = "telegram", "Telegram", ["t.me", "telegram.me"];
    WhatsApp = "whatsapp", "WhatsApp", ["wa.me", "whatsapp.com"];
    Pinterest = "pinterest", "Pinterest", ["pinterest.com", "pin.it"];
    Medium = "medium", "Medium", ["medium.com"];
    Substack = "substack", "Substack", ["substack.com"];
    Patreon = "patreon", "Patreon", ["patreon.com"];
    KoFi = "kofi", "Ko-fi", ["ko-fi.com"];
}

impl Network {
    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|network| network.as_str() == word)
    }
}

/// A place elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Social {
    /// The network.
    pub network: Network,
    /// The address there.
    pub url: LinkUrl,
}

/// Why a place is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocialError {
    /// It is no address.
    #[error(transparent)]
    Url(#[from] LinkUrlError),
    /// It leads somewhere else than the icon says.
    #[error("this is not an address of that network")]
    OtherHost,
}

impl Social {
    /// The most on a page.
    pub const MOST: usize = 12;

    /// Reads an address in a network.
    pub fn parse(network: Network, url: &str) -> Result<Self, SocialError> {
        let url = LinkUrl::parse(url)?;
        let is_of_it = match (network, url.scheme(), url.host()) {
            (Network::Email, Scheme::Mail, _) => true,
            (Network::Email, ..) | (_, Scheme::Mail | Scheme::Telephone, _) | (_, _, None) => false,
            (_, _, Some(host)) => {
                let hosts = network.hosts();
                let is_below = |known: &str| host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
                hosts.is_empty() || hosts.iter().any(|known| host == *known || is_below(known))
            }
        };
        if is_of_it { Ok(Self { network, url }) } else { Err(SocialError::OtherHost) }
    }

    /// As the database has them.
    pub(super) fn to_json(list: &[Self]) -> serde_json::Value {
        let of = |social: &Self| serde_json::json!({ "network": social.network.as_str(), "url": social.url.as_str() });
        list.iter().map(of).collect()
    }

    /// What of the database may be shown.
    pub(super) fn from_json(list: &serde_json::Value) -> Vec<Self> {
        let of = |item: &serde_json::Value| {
            let network = Network::parse(item.get("network")?.as_str()?)?;
            Self::parse(network, item.get("url")?.as_str()?).ok()
        };
        list.as_array().into_iter().flatten().filter_map(of).take(Self::MOST).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icon_leads_to_its_own_network() {
        let is_of = |network, url| Social::parse(network, url).is_ok();
        assert!(is_of(Network::GitHub, "https://github.com/ada"));
        assert!(is_of(Network::GitHub, "https://gist.GitHub.com/ada"));
        assert!(is_of(Network::Mastodon, "https://social.example/@ada"));
        assert!(is_of(Network::Email, "mailto:ada@example.org"));
        for (network, url) in [
            (Network::GitHub, "https://github.com.evil.example/"),
            (Network::GitHub, "https://evilgithub.com/"),
            (Network::GitHub, "https://github.com@evil.example/"),
            (Network::GitHub, "mailto:ada@github.com"),
            (Network::Email, "https://example.org/"),
            (Network::Website, "tel:+4912345"),
            (Network::Website, "javascript:alert(1)"),
        ] {
            assert!(!is_of(network, url), "{url}");
        }
    }

    #[test]
    fn h7_what_comes_from_the_database_is_checked_again() {
        let social = Social::parse(Network::Website, "https://example.org/").unwrap();
        assert_eq!(Social::from_json(&Social::to_json(std::slice::from_ref(&social))), [social]);
        let bad = serde_json::json!([{ "network": "website", "url": "javascript:alert(1)" }, { "network": "nowhere", "url": "https://example.org" }, 7, {}]);
        assert_eq!(Social::from_json(&bad), []);
        assert_eq!(Social::from_json(&serde_json::json!("x")), []);
    }
}
