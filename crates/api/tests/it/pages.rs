//! The server-rendered pages over HTTP: what every one of them must carry, and what none may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use api::config::Config;
use api::problem::Code;
use api::routes;
use domain::config::Settings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every HTML page that needs no mail.
const PAGES: [&str; 13] = [
    "/",
    "/register",
    "/register?referral=k3v9x2m7qa",
    "/register/confirm?token=SECRET-TOKEN",
    "/login",
    "/forgot-password",
    "/reset-password",
    "/reset-password?token=SECRET-TOKEN",
    "/verify-email?token=SECRET-TOKEN",
    "/report?page=ada",
    "/dashboard",
    "/problems",
    "/problems/rate_limited",
];

/// A folder with one for mail in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::create_dir(folder.mail()).unwrap();
        folder
    }

    fn mail(&self) -> PathBuf {
        self.0.path().join("mail")
    }

    fn outside(&self) -> PathBuf {
        self.0.path().join("outside.eml")
    }

    fn write(&self, name: &str, subject: &str, body: &str) {
        let mail = format!(
            "From: Trellis <no-reply@example.test>\r\nTo: ada@example.test\r\nSubject: {subject}\r\n{body}"
        );
        fs::write(self.mail().join(name), mail).unwrap();
    }
}

/// An api that serves pages. It has no database and no Redis, so a page that wanted one would fail here.
struct Site(SocketAddr);

impl Site {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let common = [
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("METRICS_ADDR", "127.0.0.1:0"),
            ("HTTP_WORKERS", "1"),
            ("HASH_THREADS", "1"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1/"),
            ("SECRET_KEY", "k3Zq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf1A-testing"),
        ];
        let config = Config::read(Settings::from_map([&common[..], settings].concat())).unwrap();
        let server = api::build(config, domain::clock::Clock::system()).await.unwrap();
        let addr = server.addr();
        actix_web::rt::spawn(server.run());
        Self(addr)
    }

    async fn production() -> Self {
        let mail = std::env::temp_dir().join("no-such-folder");
        Self::in_production(&mail).await
    }

    async fn in_production(mail: &Path) -> Self {
        Self::new(&[
            ("APP_ENV", "production"),
            ("PUBLIC_URL", "https://trellis.example"),
            ("MAIL_DIR", mail.to_str().unwrap()),
            ("PASSWORD_MIN_LENGTH", "12"),
        ])
        .await
    }

    async fn development(folder: &Folder) -> Self {
        Self::new(&[
            ("APP_ENV", "development"),
            ("PUBLIC_URL", "http://localhost"),
            ("MAIL_DIR", folder.mail().to_str().unwrap()),
        ])
        .await
    }

    /// One request, with the path as it is: a client library would tidy up what the tests about paths are after.
    async fn ask(&self, method: &str, path: &str, header: &str) -> Answer {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        let text = String::from_utf8(raw).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
            .unwrap_or_default()
    }

    fn is_problem(&self, status: u16) -> bool {
        self.status == status && self.header("content-type") == "application/problem+json"
    }
}

#[actix_web::test]
async fn h7_every_page_answers_with_its_strict_headers_in_both_slash_forms() {
    let site = Site::production().await;
    for path in PAGES {
        let (before, query) = path.split_once('?').unwrap_or((path, ""));
        let slashed = format!("{}/?{query}", before.trim_end_matches('/'));
        for path in [path, &slashed] {
            let answer = site.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
            assert_eq!(answer.header("content-security-policy"), POLICY, "{path}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        }
    }
    for path in ["/reset-password?token=t", "/verify-email?token=t", "/dashboard"] {
        assert_eq!(site.get(path).await.header("cache-control"), "no-store", "{path}");
    }
}

#[actix_web::test]
async fn h9_pages_are_for_get_and_head_only() {
    let site = Site::new(&[
        ("APP_ENV", "production"),
        ("PUBLIC_URL", "https://trellis.example"),
        ("SECURITY_CONTACT", "mailto:security@trellis.example"),
    ])
    .await;
    let rows = routes::table().into_iter().filter(|row| !row.documented && !row.development);
    let paths: HashSet<&str> = rows.map(|row| row.path).filter(|path| !path.starts_with("/api/")).collect();
    assert!(paths.len() > 10);
    for path in paths {
        let path = path
            .replace("{code}", "rate_limited")
            .replace("{version}", "x")
            .replace("{name}", "app.js")
            .replace("{file}", "swagger-ui.css");
        // What comes from the database has tests of its own.
        if !path.contains('{') {
            let answer = site.ask("HEAD", &path, "").await;
            assert!(answer.status < 400 && answer.body.is_empty(), "{path}");
        }
        let path = path.replace('{', "%7B").replace('}', "%7D");
        for method in ["POST", "PUT", "DELETE"] {
            let answer = site.ask(method, &path, "").await;
            assert!(answer.is_problem(405), "{method} {path}");
            assert_eq!(answer.header("allow"), "GET, HEAD", "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn a_token_in_the_url_is_nowhere_on_the_page() {
    let site = Site::production().await;
    for path in ["/reset-password?token=SECRET-TOKEN", "/verify-email?token=SECRET-TOKEN"] {
        let body = site.page(path).await;
        assert!(!body.contains("SECRET-TOKEN"), "{path}");
        assert!(!body.contains("href=\"http"), "{path}: a link to elsewhere");
    }
}

#[actix_web::test]
async fn h7_a_hostile_referral_is_not_repeated() {
    let site = Site::production().await;
    for hostile in [
        "%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "%27%20onfocus=alert(1)%20x=",
        "You+won+a+prize",
        "%FF",
        "%00",
    ] {
        let body = site.page(&format!("/register?referral={hostile}")).await;
        assert!(!body.contains("alert(1)") && !body.contains("prize"), "{hostile}");
        assert!(
            body.contains(r#"name="referral_code" type="text" autocomplete="off" value="""#),
            "{hostile}"
        );
    }
    let body = site.page("/register?referral=k3v9x2m7qa").await;
    assert!(body.contains(r#"value="k3v9x2m7qa""#));
}

#[actix_web::test]
async fn forms_never_put_a_password_into_a_url_and_name_what_managers_fill() {
    let site = Site::production().await;
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
        let body = site.page(path).await;
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
    let site = Site::production().await;
    let body = site.page("/login").await;
    let script =
        body.split('"').find(|part| part.starts_with("/assets/") && part.ends_with("/app.js")).unwrap();

    let answer = site.get(script).await;
    assert_eq!(answer.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    let tag = answer.header("etag");

    let other = site.get("/assets/0000000000000000/app.js").await;
    assert_eq!((other.status, other.header("cache-control")), (200, "no-cache"));

    let answer = site.ask("GET", "/assets/app.js", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((answer.status, answer.body.as_str()), (304, ""));

    for missing in [
        "/assets/",
        "/assets/none.js",
        "/assets/x/none.js",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e/Cargo.toml",
    ] {
        assert!(site.get(missing).await.is_problem(404), "{missing}");
    }
}

#[actix_web::test]
async fn every_asset_a_page_names_exists() {
    let folder = Folder::new();
    let site = Site::development(&folder).await;
    for path in PAGES.into_iter().chain(["/dev/mail"]) {
        let body = site.page(path).await;
        for asset in body.split('"').filter(|part| part.starts_with("/assets/")) {
            assert_eq!(site.get(asset).await.status, 200, "{path}: {asset}");
        }
    }
}

#[actix_web::test]
async fn small_files_and_redirects_are_in_their_places() {
    let site = Site::production().await;
    let answer = site.get("/.well-known/change-password").await;
    assert_eq!((answer.status, answer.header("location")), (302, "/dashboard#change-password"));
    assert!(site.page("/dashboard").await.contains("id=\"change-password\""));
    assert!(site.page("/robots.txt").await.starts_with("User-agent: *\n"));
    assert!(site.page("/favicon.svg").await.starts_with("<svg"));
    let llms = site.page("/llms.txt").await;
    assert!(
        llms.starts_with("# Trellis\n") && llms.contains("https://trellis.example/api/openapi.json"),
        "{llms}"
    );
}

#[actix_web::test]
async fn security_txt_says_whom_to_tell_and_until_when_that_holds() {
    assert_eq!(Site::production().await.get("/.well-known/security.txt").await.status, 404);
    let site = Site::new(&[
        ("APP_ENV", "production"),
        ("PUBLIC_URL", "https://trellis.example"),
        ("SECURITY_CONTACT", "mailto:security@trellis.example, https://trellis.example/report"),
    ])
    .await;
    let answer = site.get("/.well-known/security.txt").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    let lines: Vec<&str> = answer.body.lines().collect();
    assert_eq!(
        lines[..2],
        ["Contact: mailto:security@trellis.example", "Contact: https://trellis.example/report"]
    );
    let expires = lines[2].strip_prefix("Expires: ").unwrap();
    let left = chrono::DateTime::parse_from_rfc3339(expires).unwrap().to_utc()
        - domain::clock::Clock::system().now();
    assert!((179..=180).contains(&left.num_days()), "{expires}");
    assert_eq!(
        lines[3..],
        ["Preferred-Languages: en", "Canonical: https://trellis.example/.well-known/security.txt"]
    );
}

#[actix_web::test]
async fn every_problem_code_has_its_page_and_an_unknown_one_has_none() {
    let site = Site::production().await;
    let index = site.page("/problems").await;
    for code in Code::ALL {
        let path = format!("/problems/{}", code.slug());
        let body = site.page(&path).await;
        assert!(
            body.contains(code.title()) && body.contains(&format!("https://trellis.example{path}")),
            "{path}"
        );
        assert!(!body.contains('`') && index.contains(&format!("href=\"{path}\"")), "{path}");
    }
    for unknown in ["none", "RATE_LIMITED", "..", "%00", "%3Cscript%3E"] {
        assert!(site.get(&format!("/problems/{unknown}")).await.is_problem(404), "{unknown}");
    }
}

#[actix_web::test]
async fn the_mailbox_does_not_exist_in_production() {
    let folder = Folder::new();
    folder.write("a.eml", "Hello", "\r\nText");
    let site = Site::in_production(&folder.mail()).await;
    for path in ["/dev/mail", "/dev/mail/", "/dev/mail/a.eml", "/dev/mail/a.eml/html", "/dev", "/dev/"] {
        assert!(site.get(path).await.is_problem(404), "{path}");
        for method in ["HEAD", "POST"] {
            assert_eq!(site.ask(method, path, "").await.status, 404, "{method} {path}");
        }
    }
    assert!(!site.page("/login").await.contains("/dev/mail"));
}

#[actix_web::test]
async fn the_mailbox_lists_the_newest_first_and_opens_each() {
    let folder = Folder::new();
    let site = Site::development(&folder).await;
    assert!(site.page("/dev/mail").await.contains("No mail yet"));

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
    let list = site.page("/dev/mail").await;
    let places: Vec<usize> =
        ["Newest", "Older", "Oldest"].iter().map(|subject| list.find(subject).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(list.contains("href=\"/dev/mail/a.eml\"") && list.contains("ada@example.test"));

    let mail = site.page("/dev/mail/a.eml").await;
    assert!(
        mail.contains("<a href=\"https://trellis.example/verify-email?token=abc_-1\" rel=\"noreferrer\">"),
        "{mail}"
    );
    assert!(!mail.contains("<iframe"));
    assert_eq!(site.get("/dev/mail/a.eml/html").await.status, 404);
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
    let site = Site::development(&folder).await;
    for path in ["/dev/mail", "/dev/mail/h.eml"] {
        let body = site.page(path).await;
        assert!(body.contains("&#60;script&#62;alert(1)"), "{path}");
        assert!(
            !body.contains("<script>") && !body.contains("<img src=x") && !body.contains("href=\"javascript"),
            "{path}"
        );
    }
    let answer = site.get("/dev/mail/h.eml").await;
    assert_eq!(answer.header("content-security-policy"), format!("{POLICY}; frame-src 'self'"));
    let body = site.page("/dev/mail/h.eml").await;
    let frame = body.split("<iframe").nth(1).unwrap().split('>').next().unwrap();
    assert!(
        frame.contains("sandbox=")
            && !frame.contains("allow-scripts")
            && !frame.contains("allow-same-origin"),
        "{frame}"
    );

    let answer = site.get("/dev/mail/h.eml/html").await;
    let policy = answer.header("content-security-policy").to_owned();
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'self'"),
        "{policy}"
    );
    assert!(
        policy.contains("sandbox ") && !policy.contains("allow-scripts") && !policy.contains("script-src"),
        "{policy}"
    );
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(site.page("/dev/mail/h.eml/html").await.starts_with("<!doctype html><base target=\"_top\">"));
}

#[cfg(unix)]
#[actix_web::test]
async fn no_name_leads_out_of_the_mail_folder() {
    let folder = Folder::new();
    let secret = "Subject: SECRET\r\n\r\nSECRET";
    fs::write(folder.outside(), secret).unwrap();
    fs::write(folder.mail().join("notes.txt"), secret).unwrap();
    fs::write(folder.mail().join(".hidden.eml"), secret).unwrap();
    fs::create_dir(folder.mail().join("folder.eml")).unwrap();
    std::os::unix::fs::symlink(folder.outside(), folder.mail().join("link.eml")).unwrap();
    let site = Site::development(&folder).await;
    let outside = folder.outside().display().to_string();
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
            let answer = site.get(&path).await;
            assert!(answer.is_problem(404), "{path}");
            assert!(!answer.body.contains("SECRET"), "{path}");
        }
    }
    assert!(!site.page("/dev/mail").await.contains("SECRET"));
}

/// Every template and script, as source.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        // Fonts are in a folder of their own.
        if path.is_dir() {
            continue;
        }
        found.push((path.clone(), fs::read_to_string(path).unwrap()));
    }
    assert!(found.len() > 5);
    found
}

#[actix_web::test]
async fn h7_no_template_holds_anything_inline() {
    for (path, source) in sources("templates") {
        let path = path.display();
        // JSON-LD is data: no browser runs it, and the one place that makes it escapes what would end the element.
        let source = source.replace("<script type=\"application/ld+json\">{{ json_ld|safe }}</script>", "");
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
