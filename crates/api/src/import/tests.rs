use std::time::{Duration, Instant};

use super::*;

fn urls(items: &[Item]) -> Vec<&str> {
    items.iter().filter_map(|item| item.url.as_deref()).collect()
}

fn titles(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.title.as_str()).collect()
}

/// As `UserController::exportLinks` of LinkStack 4 writes it.
const LINKSTACK: &str = r#"{"links":[
 {"id":2,"link":"https://example.org/shop","title":"My  shop","type":null,"type_params":null,"order":1,"click_number":7,
  "up_link":"yes","user_id":1,"button_id":1,"created_at":"2024-01-02T03:04:05.000000Z","updated_at":null,"custom_css":"","custom_icon":"fa-external-link"},
 {"id":1,"link":"","title":"Hello","type":"heading","order":0,"up_link":"no","button_id":"42"},
 {"id":3,"link":"+49 89 123","title":"Call","order":2,"up_link":"no","button_id":"44"},
 {"id":4,"link":"ada@example.org","title":"Write","order":3,"up_link":"no","button_id":6},
 {"id":5,"link":null,"title":"","order":4,"up_link":"no","button_id":43},
 {"id":6,"link":null,"title":"<p>words</p>","order":5,"up_link":"no","button_id":93},
 {"id":7,"link":"{\"first_name\":\"Ada\"}","title":"Card","order":6,"up_link":"no","button_id":96},
 {"id":8,"link":"https://mastodon.example/@ada","title":"mastodon","order":7,"up_link":"no","button_id":94},
 {"id":9,"link":"javascript:alert(1)","title":"x","order":8,"up_link":"no","button_id":1},
 7
]}"#;

#[test]
fn an_export_of_linkstack_is_read_with_its_blocks() {
    let items = read(Format::LinkStack, LINKSTACK).unwrap();
    let malformed = items.iter().find(|item| item.line == 10).unwrap();
    assert_eq!(malformed.refused, Some(Refusal::Malformed));
    let items: Vec<_> = items.into_iter().filter(|item| item.line != 10).collect();
    assert_eq!(
        titles(&items),
        ["Hello", "My shop", "Call", "Write", "<p>words</p>", "Card", "Mastodon", "x"]
    );
    assert_eq!(items[0].url, None);
    assert_eq!(
        (items[1].line, items[1].pinned, items[1].url.as_deref()),
        (1, true, Some("https://example.org/shop"))
    );
    assert_eq!(items[2].url.as_deref(), Some("tel:+49 89 123"));
    assert_eq!(items[3].url.as_deref(), Some("mailto:ada@example.org"));
    assert_eq!(
        (items[4].refused, items[5].refused),
        (Some(Refusal::Unsupported), Some(Refusal::Unsupported))
    );
    // Whether an address will do is for who takes it to say.
    assert_eq!((items[7].url.as_deref(), items[7].refused), (Some("javascript:alert(1)"), None));
    let everything =
        LINKSTACK.replacen('{', r#"{"name":"Ada","email":"ada@example.org","image_data":"aGk=","#, 1);
    assert_eq!(read(Format::LinkStack, &everything).unwrap().len(), 9);
    for other in ["", "[]", "{}", r#"{"links":7}"#, "<html>", r#"{"links":[}"#] {
        assert_eq!(read(Format::LinkStack, other), Err(SourceError::WrongFormat), "{other}");
    }
}

#[test]
fn our_own_list_is_read_as_it_was_written_and_what_is_wrong_in_it_is_told() {
    let source = r#"\u{feff}{"links":[
     {"kind":"header","title":"Top","url":null,"enabled":true,"visible_from":null,"visible_until":null,"pinned":true,"highlighted":false},
     {"kind":"link","title":"Shop","url":"https://example.org/","enabled":false,"visible_from":"2026-01-01T00:00:00Z",
      "visible_until":"2027-01-01T01:00:00.5+01:00","pinned":false,"highlighted":true},
     {"title":"=1","url":"tel:1","id":7},
     {"title":"x"},{"kind":"header","title":"x","url":"https://example.org/"},{"kind":"block","title":"x","url":"https://example.org/"},
     {"title":7,"url":"https://example.org/"},{"title":"x","url":"https://example.org/","pinned":null},
     {"title":"x","url":"https://example.org/","visible_from":"soon"},{"title":"x","url":"https://example.org/","visible_from":7},7]}"#;
    let items = read(Format::Json, &source.replace(r"\u{feff}", "\u{feff}")).unwrap();
    assert_eq!(items[0], Item { line: 1, title: "Top".to_owned(), pinned: true, ..Item::default() });
    let time = |text: &str| Some(text.parse().unwrap());
    let shop = Item {
        line: 2,
        title: "Shop".to_owned(),
        url: Some("https://example.org/".to_owned()),
        hidden: true,
        highlighted: true,
        visible_from: time("2026-01-01T00:00:00Z"),
        visible_until: time("2027-01-01T00:00:00.5Z"),
        ..Item::default()
    };
    assert_eq!(items[1], shop);
    assert_eq!(
        (items[2].title.as_str(), items[2].url.as_deref(), items[2].refused),
        ("=1", Some("tel:1"), None)
    );
    assert_eq!(items.len(), 11);
    for item in &items[3..] {
        assert_eq!(item.refused, Some(Refusal::Malformed), "{item:?}");
    }
    for other in ["", "[]", "{}", r#"{"links":{}}"#, "title,url", r#"{"links":[}"#] {
        assert_eq!(read(Format::Json, other), Err(SourceError::WrongFormat), "{other}");
    }
    let rows = |count| format!(r#"{{"links":[{}]}}"#, vec!["7"; count].join(","));
    assert_eq!(read(Format::Json, &rows(MOST_ITEMS)).unwrap().len(), MOST_ITEMS);
    assert_eq!(read(Format::Json, &rows(MOST_ITEMS + 1)), Err(SourceError::TooMany));
}

/// As the `index.html` of LittleLink has it.
const LITTLELINK: &str = r##"<!DOCTYPE html>
<html class="theme-auto" lang="en">
<head><title>Ada <a class="button" href="https://example.org/in-title">x</a></title>
<script>document.write('<a class="button" href="https://example.org/in-script">x</a>')</script></head>
<body>
<!-- <a class="button button-default" href="https://example.org/in-comment">x</a> -->
<div class="button-stack" role="navigation">
  <a class="button button-default" href="#" target="_blank" rel="noopener" role="button"><img class="icon" aria-hidden="true" src="images/icons/littlelink.svg" alt="LittleLink Logo">LittleLink</a>
  <a class="button button-github" href="https://github.example/ada?a=1&amp;b=2" role="button"><img alt="GitHub Logo" src="x">GitHub &amp;
     friends</a><br>
  <a class='button' href=tel:+491234><img alt="Phone" src="x"></a>
</div>
<a href="privacy.html">Privacy</a> <a href="https://littlelink.example">Build your own</a>
</body></html>"##;

#[test]
fn a_page_of_littlelink_is_read_by_its_buttons() {
    let items = read(Format::LittleLink, LITTLELINK).unwrap();
    assert_eq!(titles(&items), ["LittleLink", "GitHub & friends", "Phone"]);
    assert_eq!(urls(&items), ["#", "https://github.example/ada?a=1&b=2", "tel:+491234"]);
    assert_eq!(items[0].refused, Some(Refusal::Placeholder));
    assert_eq!([items[0].line, items[1].line, items[2].line], [8, 9, 11]);
    let all = read(Format::Html, LITTLELINK).unwrap();
    assert_eq!(titles(&all), ["LittleLink", "GitHub & friends", "Phone", "Privacy", "Build your own"]);
}

#[test]
fn h7_html_that_tries_something_gives_links_and_nothing_else() {
    let source = r#"<a href="https://a.example">one<a href="https://b.example">two</a></b>
        <svg><a xlink:href="https://no.example">no</a></svg><a name="x">no</a>
        <textarea><a href="https://no.example">no</a></textarea><style><a href="https://no.example"></style>
        <a href="https://c.example" aria-label="three"><svg onload=alert(1)></svg></a>
        <a href="java&#x0A;script:alert(1)">four<script>alert(1)</script> and</a>
        <a HREF = 'https://d.example/<>"'>fi<b>ve</b>"#;
    let items = read(Format::Html, source).unwrap();
    assert_eq!(
        urls(&items),
        [
            "https://a.example",
            "https://b.example",
            "https://c.example",
            "java\nscript:alert(1)",
            "https://d.example/<>\""
        ]
    );
    assert_eq!(titles(&items)[..3], ["one", "two", "three"]);
    assert!(titles(&items)[3].starts_with("four"));
}

/// What makes parsers that build a tree slow, or fall.
#[test]
fn h1_hostile_sources_take_time_by_their_length_only() {
    let begun = Instant::now();
    for part in [
        "<div>",
        "<a>",
        "<table><td>",
        "<a href=x ",
        "&",
        "<!--",
        "</p>",
        "<b><i></b>",
        "\0",
        "\"",
        "<svg>",
        "<a b=c ",
        "<![CDATA[",
        "&#x",
    ] {
        let source = part.repeat((512 << 10) / part.len());
        for (_, format) in Format::ALL {
            let _ = read(format, &source);
        }
    }
    assert_eq!(read(Format::Html, &"<a href=x>".repeat(1_002)), Err(SourceError::TooMany));
    assert_eq!(read(Format::Csv, &"a,b\n".repeat(1_002)), Err(SourceError::TooMany));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn csv_is_read_with_and_without_names_of_columns() {
    for source in [
        "title,url\nShop,https://example.org/\n",
        "\u{feff}URL;Title\r\nhttps://example.org/;Shop\r\n",
        "Shop,https://example.org/",
        "https://example.org/\tShop\n\n",
        "notes,title,url\n\"some\nthing, else\",\"Shop\",https://example.org/",
    ] {
        let items = read(Format::Csv, source).unwrap();
        assert_eq!((titles(&items), urls(&items)), (vec!["Shop"], vec!["https://example.org/"]), "{source}");
        assert_eq!(items[0].refused, None, "{source}");
    }
    let source = "kind,title,url,enabled,visible_from\nheader,Top,,,\nlink,A,,true,\nlink,B,https://b.example,maybe,\n\
                  link,C,https://c.example,no,2026-01-01T00:00:00Z\nlink,D,https://d.example,,tomorrow\nspacer,E,https://e.example,,\n";
    let items = read(Format::Csv, source).unwrap();
    let refused: Vec<_> = items.iter().map(|item| item.refused.is_some()).collect();
    assert_eq!(refused, [false, true, true, false, true, true]);
    assert!(items[3].hidden && items[3].visible_from.is_some());
    assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    assert_eq!(read(Format::Csv, "").unwrap(), []);
}

#[test]
fn h7_what_is_written_is_no_formula_and_comes_in_as_it_was() {
    let items: Vec<_> = ["=1+1", "+49", "-x", "@SUM(A1)", "'=1", "'", "''", "a,b \"c\"", "shalom שלום", "😀"]
        .into_iter()
        .enumerate()
        .map(|(index, title)| Item {
            line: index + 2,
            title: title.to_owned(),
            url: Some(format!("https://example.org/{index}")),
            hidden: index % 2 == 0,
            pinned: index % 3 == 0,
            visible_from: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ..Item::default()
        })
        .chain([Item { line: 12, title: "A header".to_owned(), highlighted: true, ..Item::default() }])
        .collect();
    let written = String::from_utf8(csv(&items).unwrap()).unwrap();
    for line in written.lines() {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        for cell in &reader.records().next().unwrap().unwrap() {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
        }
    }
    assert_eq!(read(Format::Csv, &written).unwrap(), items);
}
