use domain::pages::Theme;

use super::*;

fn card(name: &str, theme: &str) -> Card {
    Card {
        name: name.to_owned(),
        username: "ada".to_owned(),
        host: "links.example".to_owned(),
        palette: Palette::of(Theme::parse(theme).unwrap()),
        avatar: None,
    }
}

fn drawn(name: &str) -> RgbImage {
    let png = card(name, "paper").draw(None).unwrap();
    assert_eq!(image::guess_format(&png).unwrap(), image::ImageFormat::Png);
    let image = image::load_from_memory(&png).unwrap().into_rgb8();
    assert_eq!(image.dimensions(), (1_200, 630));
    image
}

/// The rows of the picture in which something is written.
fn written(image: &RgbImage) -> Vec<u32> {
    let is_written = |row: u32| {
        let ground = image.get_pixel(10, row);
        (0..image.width()).any(|column| {
            let pixel = image.get_pixel(column, row);
            pixel.0.iter().zip(ground.0).any(|(a, b)| a.abs_diff(b) > 60)
        })
    };
    (0..HEIGHT).filter(|row| is_written(*row)).collect()
}

#[test]
fn every_script_is_written_and_nothing_leaves_the_canvas() {
    let nobody = drawn("");
    let names = [
        "Ada Lovelace",
        "\u{5d0}\u{5d3}\u{5d4} \u{5dc}\u{5d1}\u{5dc}\u{5d9}\u{5d9}\u{5e1}",
        "آدا لوفلايس",
        "😀👩‍👩‍👧‍👦🇺🇳❤️",
        "山田太郎",
        "김하늘",
        "आदा लवलेस",
        "எய்டா",
        "เอดา",
        "Άντα",
        "Ада",
        "ადა",
        "አዳ",
        "អាដា",
        "ទ",
        "★ ada ♪",
    ];
    for name in names {
        let image = drawn(name);
        assert_ne!(image, nobody, "{name}");
        // The margins stay free.
        for row in 0..HEIGHT {
            assert_eq!(image.get_pixel(20, row), image.get_pixel(0, row), "{name} {row}");
            assert_eq!(image.get_pixel(1_179, row), image.get_pixel(0, row), "{name} {row}");
        }
    }
}

#[test]
fn emoji_are_in_colour_and_sequences_are_one_picture() {
    let is_coloured = |pixel: &image::Rgb<u8>| {
        let [r, g, b] = pixel.0;
        r.max(g).max(b) - r.min(g).min(b) > 120
    };
    let heart = drawn("\u{2764}\u{fe0f}");
    assert!(heart.pixels().filter(|pixel| is_coloured(pixel)).count() > 1_000);
    let width = |name: &str| {
        let image = drawn(name);
        let is_written = |column: &u32| {
            (160..320).any(|row| {
                image
                    .get_pixel(*column, row)
                    .0
                    .iter()
                    .zip(image.get_pixel(5, row).0)
                    .any(|(a, b)| a.abs_diff(b) > 60)
            })
        };
        (0..WIDTH).filter(is_written).count()
    };
    assert!(width("👩‍👩‍👧‍👦") < width("👩👩👧👦") / 2);
    assert!(width("🇺🇳") < width("🇺🇳🇺🇳"));
}

/// The first letter of a right-to-left name is at the right.
#[test]
fn a_name_from_right_to_left_is_written_so() {
    let left = |name: &str| {
        let image = drawn(name);
        let ink = |columns: std::ops::Range<u32>| {
            columns
                .flat_map(|x| (160..340).map(move |y| (x, y)))
                .filter(|(x, y)| image.get_pixel(*x, *y).0[0] < 100)
                .count()
        };
        (ink(0..600), ink(600..1_200))
    };
    // Many dots in the first letters, none in the last.
    let (first, second) = left("ﺍﺍﺍﺍ \u{5e9}\u{5e9}\u{5e9}\u{5e9}\u{5e9}\u{5e9}");
    assert!(first > second, "{first} {second}");
    let (first, second) = left("\u{5e9}\u{5e9}\u{5e9}\u{5e9}\u{5e9}\u{5e9} \u{5d5}\u{5d5}\u{5d5}\u{5d5}");
    assert!(second > first, "{first} {second}");
}

#[test]
fn long_names_shrink_then_break_then_end_in_an_ellipsis() {
    let bottom = |name: &str| {
        let rows = written(&drawn(name));
        // Down to our host and the bar.
        rows.into_iter().filter(|row| *row < 520).max().unwrap()
    };
    let (short, two_lines) =
        (bottom("Ada"), bottom("Augusta Ada King-Noel, Countess of Lovelace, née Byron"));
    assert!(two_lines > short, "{two_lines} {short}");
    for long in [
        "w".repeat(60),
        "W ".repeat(30),
        "漢".repeat(60),
        "😀".repeat(60),
        "\u{5e9}".repeat(60),
        "e\u{301}".repeat(30),
    ] {
        assert!(bottom(&long) < 480, "{long}");
    }
}

#[test]
fn what_no_font_has_is_left_out_and_the_username_stands_for_a_name_of_nothing_else() {
    let cuneiform = "\u{12000}\u{12001}";
    assert_eq!(drawn(cuneiform), drawn(""));
    assert_eq!(drawn(&format!("Ada{cuneiform}")), drawn("Ada"));
}

#[test]
fn the_avatar_is_on_it_and_a_broken_one_is_left_out() {
    let mut avatar = Vec::new();
    let green = image::RgbaImage::from_pixel(400, 400, image::Rgba([0, 200, 0, 255]));
    green.write_to(&mut std::io::Cursor::new(&mut avatar), image::ImageFormat::Png).unwrap();
    let png = card("Ada", "slate").draw(Some(&avatar)).unwrap();
    let image = image::load_from_memory(&png).unwrap().into_rgb8();
    assert_eq!(image.get_pixel(600, 64 + 110).0, [0, 200, 0]);
    assert_ne!(image.get_pixel(600 - 108, 66).0, [0, 200, 0], "it is round");
    assert_eq!(card("Ada", "slate").draw(Some(b"broken")).unwrap(), card("Ada", "slate").draw(None).unwrap());
}

#[test]
fn cards_that_differ_have_digests_that_differ() {
    let mut digests =
        vec![card("Ada", "paper").digest(), card("Ada", "slate").digest(), card("Adaa", "paper").digest()];
    digests.push(Card { avatar: Some(vec![1; 32]), ..card("Ada", "paper") }.digest());
    digests.push(Card { username: "aada".to_owned(), name: "A".to_owned(), ..card("", "paper") }.digest());
    digests.push(Card { host: "other.example".to_owned(), ..card("Ada", "paper") }.digest());
    assert_eq!(card("Ada", "paper").digest(), digests[0]);
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

/// For eyes: `CARDS=folder` writes some.
#[test]
fn cards_for_the_eye() {
    let Some(folder) = option_env!("CARDS") else { return };
    let mut avatar = Vec::new();
    let sky = image::RgbImage::from_fn(400, 400, |x, y| {
        image::Rgb([90, u8::try_from(x / 2).unwrap(), u8::try_from(y / 2).unwrap()])
    });
    sky.write_to(&mut std::io::Cursor::new(&mut avatar), image::ImageFormat::Png).unwrap();
    for (index, (name, theme, has_avatar)) in [
        ("Ada Lovelace", "paper", true),
        ("אדה לבלייס 🎉", "slate", true),
        ("آدا لوفلايس", "meadow", false),
        ("👩‍👩‍👧‍👦 🇺🇳 ❤️ Zoë Müller", "dusk", true),
        ("山田太郎 김하늘 आदा ★", "coral", false),
        ("Augusta Ada King-Noel, Countess of Lovelace, née Byron", "harbour", true),
        ("wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", "aurora", true),
        ("", "paper", false),
    ]
    .into_iter()
    .enumerate()
    {
        let png = card(name, theme).draw(has_avatar.then_some(&avatar[..])).unwrap();
        std::fs::write(format!("{folder}/{index}.png"), png).unwrap();
    }
}
