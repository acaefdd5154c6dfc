//! The server-rendered pages over HTTP: what every one of them must carry, and what none may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, test};
use api::pages::{PagesConfig, ProblemHelp, configure, resources};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every HTML page that needs no mail.
const PAGES: [&str; 11] = [
    "/",
    "/register",
    "/register?referral=k3v9x2m7qa",
    "/login",
    "/forgot-password",
    "/reset-password",
    "/reset-password?token=SECRET-TOKEN",
    "/verify-email?token=SECRET-TOKEN",
    "/dashboard",
    "/problems",
    "/problems/rate_limited",
];

/// A folder for mail that is gone again after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("pages-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(path.join("mail")).unwrap();
        Self(path)
    }

    fn mail(&self) -> PathBuf {
        self.0.join("mail")
    }

    fn write(&self, name: &str, subject: &str, body: &str) {
        let mail = format!(
            "From: Trellis <no-reply@example.test>\r\nTo: ada@example.test\r\nSubject: {subject}\r\n{body}"
        );
        fs::write(self.mail().join(name), mail).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn config(development: bool, mail_dir: PathBuf) -> PagesConfig {
    let rate_limited = ProblemHelp {
        code: "rate_limited",
        title: "Too many <requests>",
        status: 429,
        help: "Wait & try again.",
    };
    PagesConfig {
        public_url: "https://trellis.example".to_owned(),
        development,
        mail_dir,
        password_min_length: 12,
        problems: vec![rate_limited],
    }
}

/// The pages as a service. Its type cannot be named, hence macros in place of functions.
macro_rules! site {
    ($config:expr) => {{
        let config = $config;
        test::init_service(App::new().configure(|cfg| configure(cfg, &config))).await
    }};
}

macro_rules! ask {
    ($site:expr, $method:expr, $path:expr) => {
        test::call_service(&$site, test::TestRequest::with_uri($path).method($method).to_request()).await
    };
}

macro_rules! get {
    ($site:expr, $path:expr) => {
        ask!($site, Method::GET, $path)
    };
}

macro_rules! page {
    ($site:expr, $path:expr) => {{
        let answer = get!($site, $path);
        assert_eq!(answer.status(), StatusCode::OK, "{}", $path);
        String::from_utf8(test::read_body(answer).await.to_vec()).unwrap()
    }};
}

fn head<'a>(answer: &'a ServiceResponse, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn production() -> PagesConfig {
    config(false, "/nonexistent".into())
}

#[actix_web::test]
async fn h7_every_page_answers_with_its_strict_headers_in_both_slash_forms() {
    let site = site!(production());
    for path in PAGES {
        let (before, query) = path.split_once('?').unwrap_or((path, ""));
        let slashed = format!("{}/?{query}", before.trim_end_matches('/'));
        for path in [path, &slashed] {
            let answer = get!(site, path);
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(head(&answer, "content-type"), "text/html; charset=utf-8", "{path}");
            assert_eq!(head(&answer, "content-security-policy"), POLICY, "{path}");
            assert_eq!(head(&answer, "referrer-policy"), "no-referrer", "{path}");
            assert_eq!(head(&answer, "x-content-type-options"), "nosniff", "{path}");
        }
    }
    for path in ["/reset-password?token=t", "/verify-email?token=t", "/dashboard"] {
        assert_eq!(head(&get!(site, path), "cache-control"), "no-store", "{path}");
    }
}

#[actix_web::test]
async fn h9_pages_are_for_get_and_head_only() {
    let site = site!(production());
    for (path, _) in resources(false) {
        let path =
            path.replace("{code}", "rate_limited").replace("{version}", "x").replace("{name}", "app.js");
        assert!(!ask!(site, Method::HEAD, &path).status().is_client_error(), "{path}");
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let answer = ask!(site, method.clone(), &path);
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(head(&answer, "allow"), "GET, HEAD", "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn a_token_in_the_url_is_nowhere_on_the_page() {
    let site = site!(production());
    for path in ["/reset-password?token=SECRET-TOKEN", "/verify-email?token=SECRET-TOKEN"] {
        let body = page!(site, path);
        assert!(!body.contains("SECRET-TOKEN"), "{path}");
        assert!(!body.contains("href=\"http"), "{path}: a link to elsewhere");
    }
}

#[actix_web::test]
async fn h7_a_hostile_referral_is_not_repeated() {
    let site = site!(production());
    for hostile in [
        "%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "%27%20onfocus=alert(1)%20x=",
        "You+won+a+prize",
        "%FF",
        "%00",
    ] {
        let body = page!(site, &format!("/register?referral={hostile}"));
        assert!(!body.contains("alert(1)") && !body.contains("prize"), "{hostile}");
        assert!(
            body.contains(r#"name="referral_code" type="text" autocomplete="off" value="""#),
            "{hostile}"
        );
    }
    let body = page!(site, "/register?referral=k3v9x2m7qa");
    assert!(body.contains(r#"value="k3v9x2m7qa""#));
}

#[actix_web::test]
async fn forms_never_put_a_password_into_a_url_and_name_what_managers_fill() {
    let site = site!(production());
    for (path, wanted) in [
        (
            "/register",
            vec!["autocomplete=\"email\"", "autocomplete=\"username\"", "autocomplete=\"new-password\""],
        ),
        ("/login", vec!["autocomplete=\"username\"", "autocomplete=\"current-password\""]),
        ("/forgot-password", vec!["autocomplete=\"email\""]),
        ("/reset-password?token=t", vec!["autocomplete=\"new-password\"", "At least 12 characters"]),
        ("/dashboard", vec!["autocomplete=\"new-password\"", "autocomplete=\"current-password\""]),
    ] {
        let body = page!(site, path);
        for form in body.split("<form").skip(1) {
            assert!(form.starts_with(" method=\"post\""), "{path}: {form:.80}");
        }
        for part in wanted {
            assert!(body.contains(part), "{path} lacks {part}");
        }
        assert!(
            body.contains("<noscript>")
                && body.contains("href=\"#main\"")
                && body.contains("<html lang=\"en\">"),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn assets_are_kept_for_good_under_their_version_only() {
    let site = site!(production());
    let body = page!(site, "/login");
    let script =
        body.split('"').find(|part| part.starts_with("/assets/") && part.ends_with("/app.js")).unwrap();

    let answer = get!(site, script);
    assert_eq!(head(&answer, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(head(&answer, "cache-control"), "public, max-age=31536000, immutable");
    let tag = head(&answer, "etag").to_owned();

    let other = get!(site, "/assets/0000000000000000/app.js");
    assert_eq!((other.status(), head(&other, "cache-control")), (StatusCode::OK, "no-cache"));

    let again = test::TestRequest::with_uri("/assets/app.js")
        .insert_header((header::IF_NONE_MATCH, tag))
        .to_request();
    let answer = test::call_service(&site, again).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert!(test::read_body(answer).await.is_empty());

    for missing in [
        "/assets/",
        "/assets/none.js",
        "/assets/x/none.js",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e/Cargo.toml",
    ] {
        assert_eq!(get!(site, missing).status(), StatusCode::NOT_FOUND, "{missing}");
    }
}

#[actix_web::test]
async fn every_asset_a_page_names_exists() {
    let folder = Folder::new();
    let site = site!(config(true, folder.mail()));
    for path in PAGES.into_iter().chain(["/dev/mail"]) {
        let body = page!(site, path);
        for asset in body.split('"').filter(|part| part.starts_with("/assets/")) {
            assert_eq!(get!(site, asset).status(), StatusCode::OK, "{path}: {asset}");
        }
    }
}

#[actix_web::test]
async fn small_files_and_redirects_are_in_their_places() {
    let site = site!(production());
    let answer = get!(site, "/.well-known/change-password");
    assert_eq!(
        (answer.status(), head(&answer, "location")),
        (StatusCode::SEE_OTHER, "/dashboard#change-password")
    );
    assert!(page!(site, "/dashboard").contains("id=\"change-password\""));
    assert!(page!(site, "/robots.txt").starts_with("User-agent: *\n"));
    assert!(page!(site, "/favicon.svg").starts_with("<svg"));
}

#[actix_web::test]
async fn a_problem_code_has_its_page_and_an_unknown_one_has_none() {
    let site = site!(production());
    let body = page!(site, "/problems/rate_limited");
    assert!(body.contains("Too many &#60;requests&#62;") && body.contains("Wait &#38; try again."));
    assert!(body.contains("https://trellis.example/problems/rate_limited"));
    assert!(page!(site, "/problems").contains("href=\"/problems/rate_limited\""));
    for unknown in ["none", "RATE_LIMITED", "..", "%00", "%3Cscript%3E"] {
        assert_eq!(get!(site, &format!("/problems/{unknown}")).status(), StatusCode::NOT_FOUND, "{unknown}");
    }
}

#[actix_web::test]
async fn the_mailbox_does_not_exist_in_production() {
    let folder = Folder::new();
    folder.write("a.eml", "Hello", "\r\nText");
    let site = site!(config(false, folder.mail()));
    for path in ["/dev/mail", "/dev/mail/", "/dev/mail/a.eml", "/dev/mail/a.eml/html", "/dev", "/dev/"] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            assert_eq!(ask!(site, method, path).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert!(!page!(site, "/login").contains("/dev/mail"));
}

#[actix_web::test]
async fn the_mailbox_lists_the_newest_first_and_opens_each() {
    let folder = Folder::new();
    let site = site!(config(true, folder.mail()));
    assert!(page!(site, "/dev/mail").contains("No mail yet"));

    for (name, subject, age) in [("b.eml", "Older", 60), ("a.eml", "Newest", 0), ("c.eml", "Oldest", 120)] {
        folder.write(
            name,
            subject,
            "Content-Type: text/plain\r\n\r\nGo to https://trellis.example/verify-email?token=abc_-1.",
        );
        let file = fs::File::options().append(true).open(folder.mail().join(name)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - std::time::Duration::from_secs(age)).unwrap();
    }
    let list = page!(site, "/dev/mail");
    let places: Vec<usize> =
        ["Newest", "Older", "Oldest"].iter().map(|subject| list.find(subject).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(list.contains("href=\"/dev/mail/a.eml\"") && list.contains("ada@example.test"));

    let mail = page!(site, "/dev/mail/a.eml");
    assert!(
        mail.contains("<a href=\"https://trellis.example/verify-email?token=abc_-1\" rel=\"noreferrer\">"),
        "{mail}"
    );
    assert!(!mail.contains("<iframe"));
    assert_eq!(get!(site, "/dev/mail/a.eml/html").status(), StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn h7_a_hostile_mail_is_shown_and_runs_nothing() {
    let folder = Folder::new();
    folder.write(
        "h.eml",
        "<script>alert(1)</script>",
        "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\"><img src=x onerror=alert(2)> javascript:alert(3)\r\n\
         --b\r\nContent-Type: text/html\r\n\r\n<script>alert(4)</script><a href=\"https://trellis.example/\">x</a>\r\n--b--\r\n",
    );
    let site = site!(config(true, folder.mail()));
    for path in ["/dev/mail", "/dev/mail/h.eml"] {
        let body = page!(site, path);
        assert!(body.contains("&#60;script&#62;alert(1)"), "{path}");
        assert!(
            !body.contains("<script>") && !body.contains("<img src=x") && !body.contains("href=\"javascript"),
            "{path}"
        );
    }
    let answer = get!(site, "/dev/mail/h.eml");
    assert_eq!(head(&answer, "content-security-policy"), format!("{POLICY}; frame-src 'self'"));
    let body = page!(site, "/dev/mail/h.eml");
    let frame = body.split("<iframe").nth(1).unwrap().split('>').next().unwrap();
    assert!(
        frame.contains("sandbox=")
            && !frame.contains("allow-scripts")
            && !frame.contains("allow-same-origin"),
        "{frame}"
    );

    let answer = get!(site, "/dev/mail/h.eml/html");
    let policy = head(&answer, "content-security-policy").to_owned();
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'self'"),
        "{policy}"
    );
    assert!(
        policy.contains("sandbox ") && !policy.contains("allow-scripts") && !policy.contains("script-src"),
        "{policy}"
    );
    assert_eq!(head(&answer, "referrer-policy"), "no-referrer");
    assert_eq!(head(&answer, "cache-control"), "no-store");
    assert!(page!(site, "/dev/mail/h.eml/html").starts_with("<!doctype html><base target=\"_top\">"));
}

#[cfg(unix)]
#[actix_web::test]
async fn no_name_leads_out_of_the_mail_folder() {
    let folder = Folder::new();
    let secret = "Subject: SECRET\r\n\r\nSECRET";
    fs::write(folder.0.join("outside.eml"), secret).unwrap();
    fs::write(folder.mail().join("notes.txt"), secret).unwrap();
    fs::write(folder.mail().join(".hidden.eml"), secret).unwrap();
    fs::create_dir(folder.mail().join("folder.eml")).unwrap();
    std::os::unix::fs::symlink(folder.0.join("outside.eml"), folder.mail().join("link.eml")).unwrap();
    let site = site!(config(true, folder.mail()));
    let outside = folder.0.join("outside.eml").display().to_string();
    for name in [
        "..%2foutside.eml",
        "%2e%2e%2foutside.eml",
        "..%252foutside.eml",
        "..%5coutside.eml",
        "../outside.eml",
        "%2e%2e/outside.eml",
        "notes.txt",
        ".hidden.eml",
        "folder.eml",
        "link.eml",
        "a.eml%00",
        "..",
        "%2e%2e",
        ".",
        "none.eml",
        &outside.replace('/', "%2f"),
        &outside,
    ] {
        for path in [format!("/dev/mail/{name}"), format!("/dev/mail/{name}/html")] {
            let answer = get!(site, &path);
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            let body = test::read_body(answer).await;
            assert!(!String::from_utf8_lossy(&body).contains("SECRET"), "{path}");
        }
    }
    assert!(!page!(site, "/dev/mail").contains("SECRET"));
}

/// Every template and script, as source.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        found.push((path.clone(), fs::read_to_string(path).unwrap()));
    }
    assert!(found.len() > 5);
    found
}

#[actix_web::test]
async fn h7_no_template_holds_anything_inline() {
    for (path, source) in sources("templates") {
        let path = path.display();
        assert!(
            !source.contains("<style") && !source.contains("javascript:") && !source.contains("|safe"),
            "{path}"
        );
        for script in source.split("<script").skip(1) {
            assert!(
                script.starts_with(" type=\"module\" src=\"") && script.contains("\"></script>"),
                "{path}: {script:.60}"
            );
        }
        for tag in source.split('<').skip(1).map(|tag| tag.split('>').next().unwrap()) {
            let mut attributes =
                tag.split_whitespace().skip(1).filter_map(|part| part.split_once('=')).map(|(name, _)| name);
            assert!(!attributes.any(|name| name == "style" || name.starts_with("on")), "{path}: <{tag}>");
        }
    }
}

#[actix_web::test]
async fn h7_no_script_makes_markup_from_text() {
    for (path, source) in sources("assets") {
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http://",
            "https://",
        ] {
            let allowed = forbidden == "http://" && path.extension().is_some_and(|end| end == "svg");
            assert!(allowed || !source.contains(forbidden), "{}: {forbidden}", path.display());
        }
    }
}
