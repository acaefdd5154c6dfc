//! Bad input in the query and in the path.

use serde_json::json;

use super::Stage;

/// Where the query says how long a page is and where it starts.
const LISTS: [&str; 2] = ["/api/referrals/", "/api/rewards/"];

/// Values as they stand in a URL, and the code of the error each gives.
const LIMITS: [(&str, &str); 19] = [
    ("", "empty"),
    ("0", "invalid_value"),
    ("-1", "invalid_value"),
    ("101", "invalid_value"),
    ("256", "invalid_value"),
    ("99999999999999999999", "invalid_value"),
    ("1.5", "invalid_value"),
    ("1e1", "invalid_value"),
    ("0x10", "invalid_value"),
    ("%2B5", "invalid_value"),
    ("+5", "invalid_value"),
    ("abc", "invalid_value"),
    ("null", "invalid_value"),
    ("%D9%A3", "invalid_value"),
    ("%EF%BC%95", "invalid_value"),
    ("5%00", "invalid_character"),
    ("5%0D%0A", "invalid_character"),
    ("%ff", "invalid_value"),
    ("5&limit=5", "duplicate_field"),
];

const STATUSES: [(&str, &str); 9] = [
    ("", "empty"),
    ("Pending", "invalid_value"),
    ("PENDING", "invalid_value"),
    ("pending,review", "invalid_value"),
    ("pend%D1%96ng", "invalid_value"),
    ("all", "invalid_value"),
    ("pending%00", "invalid_character"),
    ("pending%0d%0aX:y", "invalid_character"),
    ("pending&status=review", "duplicate_field"),
];

const CURSORS: [(&str, &str); 3] =
    [("", "empty"), ("%00", "invalid_character"), ("abc&cursor=abc", "duplicate_field")];

#[tokio::test(flavor = "multi_thread")]
async fn a14_every_wrong_parameter_is_named() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    for path in LISTS {
        let mut tables = vec![("limit", &LIMITS[..]), ("cursor", &CURSORS)];
        if path == "/api/referrals/" {
            tables.push(("status", &STATUSES));
        }
        for (name, table) in tables {
            for (value, code) in table {
                let url = format!("{path}?{name}={value}");
                let reply = stage.ada.get(&url).await;
                assert_eq!(reply.status, 422, "{url}: {}", reply.text());
                assert_eq!(reply.errors(), [format!("?{name} {code}")], "{url}");
            }
        }
        let reply = stage.ada.get(&format!("{path}?limit=0&cursor=&x=1")).await.expect(422);
        assert_eq!(reply.errors(), ["?cursor empty", "?limit invalid_value"]);
        let long = "A".repeat(1_025);
        let reply = stage.ada.get(&format!("{path}?cursor={long}")).await.expect(422);
        assert_eq!(reply.errors(), ["?cursor too_long"]);
        for cursor in [
            "x",
            "A",
            "%20",
            "null",
            "0",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "%F0%9F%A6%80",
        ] {
            let reply = stage.ada.get(&format!("{path}?cursor={cursor}")).await.expect(400);
            assert_eq!(reply.code(), "invalid_cursor", "{cursor}");
        }
        // Links gather parameters that nobody asked for, and names have a case.
        for ignored in
            ["utm_source=x&utm_source=y", "LIMIT=0", "limi%74s=0", "%00=1", "&&==&", "%zz", "status%5B%5D=x"]
        {
            stage.ada.get(&format!("{path}?{ignored}")).await.expect(200);
        }
        // A percent sign in a name is the letter it stands for.
        stage.ada.get(&format!("{path}?limi%74=0")).await.expect(422);
    }
    assert_eq!(stage.state().await, before);
}

/// What is no code is no code: nothing is said, counted or remembered about it, and no redirect leads away.
#[tokio::test(flavor = "multi_thread")]
async fn a14_any_text_in_a_path_is_a_code_that_does_not_exist() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    let long = "0".repeat(4_000);
    for text in [
        "0000000000",
        "x",
        "%20",
        "%00",
        "0000000000%00",
        "%0d%0aSet-Cookie:x=1",
        "%ff%fe",
        "%F0%9F%A6%80",
        "%D0%BE%D0%BE%D0%BE%D0%BE%D0%BE%D0%BE%D0%BE%D0%BE%D0%BE%D0%BE",
        "'%20OR%201=1--",
        "%22%3E%3Cscript%3E",
        "019a0000-0000-7000-8000-000000000001",
        "..%5c..",
        "%252e%252e",
        &long,
    ] {
        let reply = stage.nobody.get(&format!("/api/referral-codes/{text}/")).await;
        assert!([200, 404].contains(&reply.status), "{text}: {}", reply.text());
        if reply.status == 200 {
            assert_eq!(reply.json(), json!({ "valid": false }), "{text}");
        }
        let reply = stage.nobody.get(&format!("/r/{text}")).await;
        assert!([302, 404].contains(&reply.status), "{text}: {}", reply.text());
        if reply.status == 302 {
            let location = reply.header("location").unwrap();
            assert!(
                location == "/register" || location == "/register?referral=0000000000",
                "{text}: {location}"
            );
        }
        assert!(!reply.headers.contains_key("set-cookie"), "{text}");
    }
    for path in
        ["/r/", "/r//", "/r/a/b", "/api/referral-codes/", "/api/referral-codes//", "/api/referral-codes/a/b/"]
    {
        assert_eq!(stage.nobody.get(path).await.status, 404, "{path}");
    }
    assert_eq!(stage.state().await, before);
}
