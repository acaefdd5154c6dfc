//! What a user agent says of itself: a person's browser or a robot, and which device, browser and operating system.
//!
//! A table of our own, read in one pass, because no crate fits: `woothee` had its last release in 2021 and `isbot` is as
//! old, so neither knows the robots of today; the parsers of uap-core take half a millisecond a request, which is many times
//! what a redirect costs. What is not here is "other"; the table wants an entry now and then and no more than that. Names
//! are forever, in the figures and in the stream: add, never rename or reorder.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

/// The longest part of a user agent that is looked at, in bytes.
pub(super) const LOOKED_AT: usize = 512;

/// What nothing else fits.
pub(super) const OTHER: &str = "other";

/// Kinds of devices.
pub(super) const DEVICES: [&str; 5] = [OTHER, "desktop", "phone", "tablet", "tv"];

/// Families of browsers. Apps with a browser of their own count as one.
pub(super) const BROWSERS: [&str; 19] = [
    OTHER,
    "Chrome",
    "Safari",
    "Firefox",
    "Edge",
    "Opera",
    "Samsung Internet",
    "Internet Explorer",
    "Yandex",
    "Vivaldi",
    "DuckDuckGo",
    "UC Browser",
    "Instagram",
    "Facebook",
    "TikTok",
    "Snapchat",
    "Pinterest",
    "LinkedIn",
    "WeChat",
];

/// Families of operating systems.
pub(super) const SYSTEMS: [&str; 8] =
    [OTHER, "Windows", "macOS", "iOS", "Android", "Linux", "ChromeOS", "KaiOS"];

const BOT: u64 = 1;
const CUBOT: u64 = 1 << 1;
const ROBOT: u64 = 1 << 2;
const EDGE: u64 = 1 << 3;
const OPERA: u64 = 1 << 4;
const SAMSUNG: u64 = 1 << 5;
const YANDEX: u64 = 1 << 6;
const VIVALDI: u64 = 1 << 7;
const DUCK: u64 = 1 << 8;
const UC: u64 = 1 << 9;
const INSTAGRAM: u64 = 1 << 10;
const FACEBOOK: u64 = 1 << 11;
const TIKTOK: u64 = 1 << 12;
const SNAPCHAT: u64 = 1 << 13;
const PINTEREST: u64 = 1 << 14;
const LINKEDIN: u64 = 1 << 15;
const WECHAT: u64 = 1 << 16;
const FIREFOX: u64 = 1 << 17;
const CHROME: u64 = 1 << 18;
const SAFARI: u64 = 1 << 19;
const EXPLORER: u64 = 1 << 20;
const WINDOWS: u64 = 1 << 21;
const IPHONE: u64 = 1 << 22;
const IPAD: u64 = 1 << 23;
const ANDROID: u64 = 1 << 24;
const MAC: u64 = 1 << 25;
const CROS: u64 = 1 << 26;
const LINUX: u64 = 1 << 27;
const KAIOS: u64 = 1 << 28;
const TV: u64 = 1 << 29;
const TABLET: u64 = 1 << 30;
const MOBILE: u64 = 1 << 31;

/// Words, whatever their case, and what they tell.
const WORDS: &[(&str, u64)] = &[
    // `robot` and the name of nearly every crawler; but CUBOT makes telephones.
    ("bot", BOT),
    ("cubot", CUBOT),
    // Those that claim to be browsers; whatever does not is a robot without being on any list.
    ("crawl", ROBOT),
    ("spider", ROBOT),
    ("slurp", ROBOT),
    ("scrap", ROBOT),
    ("fetcher", ROBOT),
    ("archiver", ROBOT),
    ("preview", ROBOT),
    ("monitor", ROBOT),
    ("validator", ROBOT),
    ("scanner", ROBOT),
    // A link to whoever runs it, as robots carry and browsers do not.
    ("://", ROBOT),
    ("headless", ROBOT),
    ("phantomjs", ROBOT),
    ("selenium", ROBOT),
    ("puppeteer", ROBOT),
    ("playwright", ROBOT),
    ("jsdom", ROBOT),
    ("lighthouse", ROBOT),
    ("page speed", ROBOT),
    ("pagespeed", ROBOT),
    ("gtmetrix", ROBOT),
    ("pingdom", ROBOT),
    ("statuscake", ROBOT),
    ("site24x7", ROBOT),
    ("catchpoint", ROBOT),
    ("datadog", ROBOT),
    ("newrelic", ROBOT),
    ("facebookexternalhit", ROBOT),
    ("meta-external", ROBOT),
    ("mediapartners-google", ROBOT),
    ("google-read-aloud", ROBOT),
    ("google-inspectiontool", ROBOT),
    ("google favicon", ROBOT),
    ("google web", ROBOT),
    ("googleother", ROBOT),
    ("google-safety", ROBOT),
    ("chatgpt-user", ROBOT),
    ("claude-user", ROBOT),
    ("claude-web", ROBOT),
    ("perplexity", ROBOT),
    ("cohere-ai", ROBOT),
    ("duckassist", ROBOT),
    ("mistralai", ROBOT),
    ("amazon-kendra", ROBOT),
    ("embedly", ROBOT),
    ("iframely", ROBOT),
    ("snap url", ROBOT),
    ("vkshare", ROBOT),
    ("skypeuri", ROBOT),
    ("censys", ROBOT),
    ("zgrab", ROBOT),
    ("nikto", ROBOT),
    ("wappalyzer", ROBOT),
    ("proofpoint", ROBOT),
    ("barracuda", ROBOT),
    ("mimecast", ROBOT),
    // Browsers.
    ("edg/", EDGE),
    ("edga/", EDGE),
    ("edgios/", EDGE),
    ("edge/", EDGE),
    ("opr/", OPERA),
    ("opt/", OPERA),
    ("opios/", OPERA),
    ("opera", OPERA),
    ("samsungbrowser/", SAMSUNG),
    ("yabrowser/", YANDEX),
    ("vivaldi/", VIVALDI),
    ("duckduckgo/", DUCK),
    ("ddg/", DUCK),
    ("ucbrowser/", UC),
    ("instagram", INSTAGRAM),
    ("fban/", FACEBOOK),
    ("fbav/", FACEBOOK),
    ("fb_iab", FACEBOOK),
    ("musical_ly", TIKTOK),
    ("bytedancewebview", TIKTOK),
    ("tiktok", TIKTOK),
    ("snapchat", SNAPCHAT),
    ("pinterest/", PINTEREST),
    ("linkedinapp", LINKEDIN),
    ("micromessenger/", WECHAT),
    ("firefox/", FIREFOX),
    ("fxios/", FIREFOX),
    ("chrome/", CHROME),
    ("crios/", CHROME),
    ("chromium/", CHROME),
    ("safari/", SAFARI),
    ("msie ", EXPLORER),
    ("trident/", EXPLORER),
    // Systems and devices.
    ("windows", WINDOWS),
    ("iphone", IPHONE),
    ("ipod", IPHONE),
    ("ipad", IPAD),
    ("android", ANDROID),
    ("macintosh", MAC),
    ("cros ", CROS),
    ("linux", LINUX),
    ("x11", LINUX),
    ("kaios/", KAIOS),
    ("smart-tv", TV),
    ("smarttv", TV),
    ("smart tv", TV),
    ("appletv", TV),
    ("apple tv", TV),
    ("googletv", TV),
    ("google tv", TV),
    ("android tv", TV),
    ("hbbtv", TV),
    ("bravia", TV),
    ("web0s", TV),
    ("crkey", TV),
    ("tablet", TABLET),
    ("kindle", TABLET),
    ("silk/", TABLET),
    ("playbook", TABLET),
    ("mobile", MOBILE),
];

static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(word, _)| *word);
    AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(words).ok()
});

/// The first that is there decides: what claims to be another one too comes before it.
const BROWSER_OF: [(u64, &str); 18] = [
    (INSTAGRAM, "Instagram"),
    (TIKTOK, "TikTok"),
    (SNAPCHAT, "Snapchat"),
    (PINTEREST, "Pinterest"),
    (LINKEDIN, "LinkedIn"),
    (WECHAT, "WeChat"),
    (FACEBOOK, "Facebook"),
    (EDGE, "Edge"),
    (OPERA, "Opera"),
    (SAMSUNG, "Samsung Internet"),
    (YANDEX, "Yandex"),
    (VIVALDI, "Vivaldi"),
    (DUCK, "DuckDuckGo"),
    (UC, "UC Browser"),
    (FIREFOX, "Firefox"),
    (CHROME, "Chrome"),
    (SAFARI, "Safari"),
    (EXPLORER, "Internet Explorer"),
];

const SYSTEM_OF: [(u64, &str); 8] = [
    (KAIOS, "KaiOS"),
    (IPHONE, "iOS"),
    (IPAD, "iOS"),
    (ANDROID, "Android"),
    (WINDOWS, "Windows"),
    (CROS, "ChromeOS"),
    (MAC, "macOS"),
    (LINUX, "Linux"),
];

/// What a user agent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Whether no person sits in front of it.
    pub robot: bool,
    /// The kind of device. An iPad that asks for desktop pages says that it is a Mac.
    pub device: &'static str,
    /// The family of the browser.
    pub browser: &'static str,
    /// The family of the operating system.
    pub system: &'static str,
}

impl Agent {
    /// Reads a `User-Agent`; whoever sends none is a robot.
    pub fn read(text: &str) -> Self {
        let text = text.as_bytes().get(..LOOKED_AT).unwrap_or(text.as_bytes());
        let (mut found, mut bots) = (0, 0_i32);
        if let Some(finder) = FINDER.as_ref() {
            for hit in finder.find_overlapping_iter(text) {
                match WORDS.get(hit.pattern().as_usize()) {
                    Some((_, BOT)) => bots += 1,
                    Some((_, CUBOT)) => bots -= 1,
                    Some((_, word)) => found |= word,
                    None => {}
                }
            }
        }
        let has = |words: u64| found & words != 0;
        let first = |table: &[(u64, &'static str)]| {
            table.iter().find(|(words, _)| has(*words)).map_or(OTHER, |(_, name)| *name)
        };
        // Every browser has called itself Mozilla since 1998, but for old Operas.
        let browser_like = starts_with(text, b"mozilla/") || starts_with(text, b"opera/");
        let device = if has(TV) {
            "tv"
        } else if has(IPAD | TABLET) || has(ANDROID) && !has(MOBILE) {
            "tablet"
        } else if has(IPHONE | MOBILE | KAIOS) {
            "phone"
        } else if has(WINDOWS | MAC | LINUX | CROS) {
            "desktop"
        } else {
            OTHER
        };
        Self {
            robot: !browser_like || bots > 0 || has(ROBOT),
            device,
            browser: first(&BROWSER_OF),
            system: first(&SYSTEM_OF),
        }
    }
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEOPLE: &str = include_str!("agent/people.txt");
    const ROBOTS: &str = include_str!("agent/robots.txt");

    #[test]
    fn every_word_is_found() {
        assert!(FINDER.is_some());
        for (word, _) in WORDS {
            assert!(word.is_ascii() && !word.is_empty());
        }
    }

    #[test]
    fn names_are_on_the_lists() {
        for (_, name) in BROWSER_OF {
            assert!(BROWSERS.contains(&name), "{name}");
        }
        for (_, name) in SYSTEM_OF {
            assert!(SYSTEMS.contains(&name), "{name}");
        }
    }

    #[test]
    fn people_are_people_with_their_device_browser_and_system() {
        let mut seen = 0;
        for line in PEOPLE.lines().filter(|line| !line.is_empty()) {
            let (expected, text) = line.split_once('|').unwrap();
            let agent = Agent::read(text);
            let found = format!("{}, {}, {}", agent.device, agent.browser, agent.system);
            assert_eq!((found.as_str(), agent.robot), (expected, false), "{text}");
            seen += 1;
        }
        assert!(seen >= 30, "{seen}");
    }

    #[test]
    fn robots_are_robots() {
        for line in ROBOTS.lines().filter(|line| !line.is_empty()) {
            assert!(Agent::read(line).robot, "{line}");
        }
        for text in ["", " ", "-", "Mozilla", "x", "MyApp/1.0 CFNetwork/1410 Darwin/22.6.0"] {
            assert!(Agent::read(text).robot, "{text}");
        }
    }

    proptest! {
        #[test]
        fn t10_any_user_agent_is_read(text in ".*") {
            let agent = Agent::read(&text);
            prop_assert!(DEVICES.contains(&agent.device));
        }
    }
}
