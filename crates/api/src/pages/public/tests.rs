use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::pages::{Network, Theme};

use super::*;
use crate::config::tests::config;

const CSS: &str = include_str!("../../../assets/public.css");

fn page() -> PublicPage {
    PublicPage {
        owner: Uuid::nil(),
        username: "ada".to_owned(),
        display_name: String::new(),
        bio: String::new(),
        theme: Theme::Paper,
        listed: true,
        social: Vec::new(),
        avatar: None,
        referral_code: "0123456789".to_owned(),
        updated_at: DateTime::<Utc>::UNIX_EPOCH,
        links: Vec::new(),
    }
}

fn link(title: &str) -> PublicLink {
    PublicLink {
        id: Uuid::nil(),
        is_header: false,
        title: title.to_owned(),
        thumbnail: None,
        pinned: false,
        highlighted: false,
    }
}

fn html(page: &PublicPage) -> String {
    let state =
        State::new(config(&[("HASH_THREADS", "1")]).unwrap(), domain::clock::Clock::system()).unwrap();
    render(&state, page).unwrap().0
}

#[tokio::test]
async fn h7_whatever_people_write_is_text() {
    let hostile = "</script><svg onload=alert(1)>\"'--><!--";
    let mut page = page();
    page.display_name = hostile.to_owned();
    page.bio = hostile.to_owned();
    let header = PublicLink { is_header: true, ..link(hostile) };
    page.links = vec![link(hostile), header, link("x")];
    page.social =
        vec![Social::parse(Network::Website, "https://example.org/'\"><script>alert(1)</script>").unwrap()];
    let html = html(&page);
    assert!(!html.contains("<svg onload") && !html.contains("<!--"), "{html}");
    assert_eq!(html.matches("<script").count(), 1, "{html}");
    assert_eq!(html.matches("</script").count(), 1, "{html}");
    let (_, data) = html.split_once("<script type=\"application/ld+json\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["mainEntity"]["name"], hostile);
    for attribute in ["onload=\"", "onclick", "style=", "javascript:"] {
        assert!(!html.contains(attribute), "{attribute}");
    }
}

#[tokio::test]
async fn links_stand_under_their_headers() {
    let mut page = page();
    page.links = vec![link("one"), PublicLink { is_header: true, ..link("Shops") }, link("two")];
    let html = html(&page);
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    assert!(at(">one<") < at(">Shops</h2>") && at(">Shops</h2>") < at(">two<"));
    assert!(!html.contains("noindex"));
    page.listed = false;
    assert!(self::html(&page).contains("content=\"noindex, nofollow\""));
}

#[test]
fn descriptions_are_one_line_of_whole_characters() {
    let mut page = page();
    assert_eq!(describe(&page), "All links of ada in one place.");
    page.bio = "one\n\n two".to_owned();
    assert_eq!(describe(&page), "one two");
    page.bio = "é".repeat(300);
    assert_eq!(describe(&page), format!("{}…", "é".repeat(200)));
    page.display_name = "👩‍🚀 Ada".to_owned();
    assert_eq!(initial(&page), 'A');
    page.display_name = "ßen".to_owned();
    assert_eq!(initial(&page), 'S');
}

/// The colours of a theme: `[data-theme=x] { --name: #rrggbb; .. }`, first in light, then in dark.
fn colours(theme: Theme) -> Vec<HashMap<String, [u8; 3]>> {
    let start = format!("[data-theme={}] {{", theme.as_str());
    let blocks = CSS.match_indices(&start).map(|(at, _)| CSS[at + start.len()..].split_once('}').unwrap().0);
    let read = |block: &str| {
        let pairs = block.split(';').filter_map(|pair| pair.trim().strip_prefix("--")?.split_once(": #"));
        let channel = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        pairs.map(|(name, hex)| (name.to_owned(), [0, 2, 4].map(|at| channel(hex, at)))).collect()
    };
    blocks.map(read).collect()
}

/// WCAG 2.2, relative luminance.
fn luminance(colour: [u8; 3]) -> f64 {
    let linear = |channel: u8| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = colour.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn every_theme_can_be_read_in_light_and_in_dark() {
    for theme in Theme::ALL {
        let modes = colours(theme);
        assert_eq!(modes.len(), 2, "{theme:?} has a light and a dark mode");
        for (mode, colours) in ["light", "dark"].iter().zip(modes) {
            let texts = [
                ("ink", "ground"),
                ("ink", "glow"),
                ("soft", "ground"),
                ("soft", "glow"),
                ("card-ink", "card"),
                ("on-accent", "accent"),
            ];
            let shapes = [("accent", "ground"), ("accent", "glow"), ("accent", "card")];
            for (pairs, least) in [(&texts[..], 4.5), (&shapes[..], 3.0)] {
                for (front, back) in pairs {
                    let found = contrast(colours[*front], colours[*back]);
                    assert!(found >= least, "{theme:?} {mode}: {front} on {back} has {found:.2}");
                }
            }
        }
    }
}
