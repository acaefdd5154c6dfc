//! Requests that two servers could read differently: each is one request or none, in an api alone and behind the proxy.

use testkit::balancer::Balancer;
use testkit::stack::Stack;

use super::{say, stage};

/// What is hidden behind each of them, for a server that sees their end elsewhere.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A request, and the status it is answered with by an api alone and through the proxy.
struct Case {
    head: String,
    body: &'static str,
    direct: u16,
    proxied: u16,
}

fn case(lines: &str, body: &'static str, direct: u16, proxied: u16) -> Case {
    let head = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
    Case { head, body, direct, proxied }
}

fn cases() -> Vec<Case> {
    let json = "POST /api/login/ HTTP/1.1\nHost: x\nContent-Type: application/json\n";
    let with = |lines: &str| format!("{json}{lines}");
    let live = "GET /health/live HTTP/1.1\nHost: x\n";
    vec![
        case(&with("Content-Length: 60\nTransfer-Encoding: chunked"), "0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: chunked\nContent-Length: 60"), "0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: chunked\nTransfer-Encoding: chunked"), "0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: identity\nContent-Length: 2"), "{}", 400, 400),
        case(&with("Transfer-Encoding: xchunked"), "0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: chunked, identity"), "0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding : chunked"), "0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding:\u{b}chunked"), "0\r\n\r\n", 400, 400),
        case(&with("Content-Length: 2\nContent-Length: 3"), "{}", 400, 400),
        case(&with("Content-Length: 2, 3"), "{}", 400, 400),
        case(&with("Content-Length: +2"), "{}", 400, 400),
        case(&with("Content-Length: -2"), "{}", 400, 400),
        case(&with("Content-Length: 0x2"), "{}", 400, 400),
        case(&with("Content-Length: 18446744073709551618"), "{}", 400, 400),
        case(&with("Transfer-Encoding: chunked"), "zz\r\n{}\r\n0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: chunked"), "-1\r\n{}\r\n0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: chunked"), "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n", 400, 400),
        case(&with("Transfer-Encoding: chunked"), "2\r\n{}x\r\n0\r\n\r\n", 400, 400),
        case("POST /api/login/ HTTP/1.0\nTransfer-Encoding: chunked", "0\r\n\r\n", 400, 400),
        case("GET /health/live HTTP/1.1\nHost: x\nHost: y", "", 400, 400),
        // Alike, they are one on the other side of the proxy.
        case("GET /health/live HTTP/1.1\nHost: x\nHost: x", "", 400, 200),
        case("GET /health/live HTTP/1.1", "", 400, 400),
        case(&format!("{live}X-Nul: a\0b"), "", 400, 400),
        case(&format!("{live}X Space: a"), "", 400, 400),
        case(&format!("{live}{}", "X-H: 1\n".repeat(150).trim_end()), "", 431, 431),
        // The proxy writes the request line anew.
        case("GET /health/live HTTP/3.7\nHost: x", "", 400, 200),
        case("GET  /health/live  HTTP/1.1\nHost: x", "", 400, 200),
    ]
}

fn statuses(answer: &str) -> Vec<u16> {
    let starts = answer.split("HTTP/1.1 ").skip(1);
    starts.map(|text| text[..3].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn h3_ambiguous_requests_are_one_request_or_none_directly_and_behind_the_proxy() {
    let (stack, proxy): (Stack, Balancer) = stage(&[("RUST_LOG", "debug")]).await;
    let mut wrong = Vec::new();
    for case in cases() {
        for (base, expected) in [(stack.apis[0].base(), case.direct), (proxy.base(), case.proxied)] {
            let request = format!("{}{}{HIDDEN}", case.head, case.body);
            let answer = say(&base, request.as_bytes()).await;
            let statuses = statuses(&answer);
            // A request without doubt is followed by the next one; after doubt there is none.
            let followed = statuses[1..] == [404];
            let fine = statuses.first() == Some(&expected)
                && (statuses.len() == 1
                    || followed && !case.head.contains("Transfer") && !case.head.contains("Length"));
            if !fine {
                wrong.push(format!("{:?} at {base}: {statuses:?}, not {expected}: {answer:.300}", case.head));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
