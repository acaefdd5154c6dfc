//! Bodies that are wrong as a whole: no JSON, not an object, ambiguous, too deep, too large, or of another type.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use testkit::client::{Client, Reply};

use super::fields::{Endpoint, endpoints};
use super::{AT_ONCE, Stage, with};

const JSON: &str = "application/json";

async fn send(
    client: &Client,
    endpoint: &Endpoint,
    body: (&str, Vec<u8>),
    headers: &[(&str, &str)],
) -> Reply {
    let token = client.cookie("csrf_token").map(|cookie| cookie.value).unwrap_or_default();
    let mut headers = headers.to_vec();
    headers.push(("X-CSRF-Token", &token));
    client.send_raw(endpoint.method.clone(), &endpoint.url(), Some(body), &headers).await
}

/// Sends all of these bodies; each must be refused with one status and one code.
async fn refuse_all(
    stage: &Stage,
    endpoint: &Endpoint,
    bodies: &[Vec<u8>],
    status: u16,
    code: &str,
) -> Vec<Reply> {
    let client = stage.client(endpoint);
    let replies = bodies.iter().map(|body| async move {
        let reply = send(client, endpoint, (JSON, body.clone()), &[]).await;
        let start = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let what = format!("{} {} with {start:?}: {}", endpoint.method, endpoint.path, reply.text());
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{what}");
        reply
    });
    stream::iter(replies).buffered(AT_ONCE).collect().await
}

fn good(endpoint: &Endpoint) -> String {
    Value::from(endpoint.good()).to_string()
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_what_is_no_json_or_no_object_is_refused_everywhere() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    for endpoint in endpoints() {
        let good = good(&endpoint);
        let name = endpoint.fields[0].name;
        let mut broken = bytes(&[
            " ",
            "{",
            "}",
            "{]",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "// x\n{}",
            "undefined",
            "a=b&c=d",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\x00\"}",
            "{\"a\":\"line\nbreak\"}",
        ]);
        broken.push(format!("{good}x").into_bytes());
        broken.push(format!("{good}{good}").into_bytes());
        broken.push(format!("\u{feff}{good}").into_bytes());
        broken.push(good.as_bytes()[..good.len() - 1].to_vec());
        broken.push(good.encode_utf16().flat_map(u16::to_le_bytes).collect());
        // Not UTF-8: a lone byte, an overlong slash, a surrogate, a cut letter.
        for wrong in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xc3"] {
            broken.push([format!("{{\"{name}\":\"").as_bytes(), wrong, b"\"}"].concat());
        }
        // Nested deeper than anybody needs.
        broken.push("[".repeat(30_000).into_bytes());
        broken.push("{\"a\":".repeat(10_000).into_bytes());
        broken.push(format!("{{\"{name}\":{}{}}}", "[".repeat(200), "]".repeat(200)).into_bytes());
        refuse_all(&stage, &endpoint, &broken, 400, "malformed_json").await;

        let others = bytes(&["null", "[]", "[{}]", "1", "-0.5", "true", "\"x\"", "\"\""]);
        let mut others = [others, vec![format!("[{good}]").into_bytes()]].concat();
        others.push(format!("{}{}", "[".repeat(100), "]".repeat(100)).into_bytes());
        for reply in refuse_all(&stage, &endpoint, &others, 422, "validation").await {
            assert_eq!(reply.errors(), [" wrong_type"]);
        }
        // An empty body is no JSON, except where there need be none.
        if ["/api/me/identities/{identity}/", "/api/me/export/"].contains(&endpoint.path) {
            continue;
        }
        let (status, code) = if endpoint.path == "/api/token/refresh/" {
            (401, "unauthenticated")
        } else {
            (400, "malformed_json")
        };
        refuse_all(&stage, &endpoint, &[Vec::new()], status, code).await;
    }
    assert_eq!(stage.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_a_field_that_is_given_twice_is_refused_at_any_depth() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    for endpoint in endpoints() {
        let good = good(&endpoint);
        let inner = &good[1..good.len() - 1];
        for field in &endpoint.fields {
            let name = field.name;
            let other = json!(format!("{}x", field.kind.good()));
            // Whichever of the two a reader would take, also when one is escaped, and when they are equal.
            for body in [
                format!("{{\"{name}\":{other},{inner}}}"),
                format!("{{{inner},\"{name}\":{other}}}"),
                format!("{{{inner},\"{name}\":null}}"),
                format!("{{{inner},\"\\u{:04x}{}\":{other}}}", u32::from(name.as_bytes()[0]), &name[1..]),
                format!("{{{inner},{inner}}}"),
            ] {
                let reply = refuse_all(&stage, &endpoint, &[body.clone().into_bytes()], 422, "validation")
                    .await
                    .remove(0);
                let errors = reply.errors();
                assert!(errors.contains(&format!("/{name} duplicate_field")), "{body}: {errors:?}");
            }
        }
        let nested = format!("{{{inner},\"extra\":[{{\"a/b\":{{\"~\":1,\"~\":2}}}}]}}");
        let reply = refuse_all(&stage, &endpoint, &[nested.into_bytes()], 422, "validation").await.remove(0);
        assert_eq!(reply.errors(), ["/extra unknown_field", "/extra/0/a~1b/~0 duplicate_field"]);
        // Many mistakes do not make a long answer.
        let many: Vec<_> = (0..3_000).map(|index| format!("\"k{index}\":{index},")).collect();
        let body = format!("{{{}{inner}}}", many.concat()).into_bytes();
        let reply = refuse_all(&stage, &endpoint, &[body], 422, "validation").await.remove(0);
        assert_eq!(reply.errors().len(), 50);
    }
    assert_eq!(stage.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_other_media_types_and_encodings_are_not_read() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    for endpoint in endpoints() {
        let client = stage.client(&endpoint);
        let body = with(&endpoint, "x", Value::Null).to_string().into_bytes();
        for media_type in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "application/jsonp",
            "application/problem+json",
            "application/json; charset=utf-16",
            "application/json; charset=iso-8859-1",
            "application/json,application/json",
            "application",
            "*/*",
        ] {
            let reply = send(client, &endpoint, (media_type, body.clone()), &[]).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (415, "unsupported_media_type"),
                "{media_type}"
            );
        }
        for encoding in ["gzip", "br", "deflate", "identity, gzip"] {
            let reply =
                send(client, &endpoint, (JSON, body.clone()), &[("Content-Encoding", encoding)]).await;
            assert_eq!(reply.status, 415, "{encoding}");
        }
        for media_type in
            [JSON, "Application/JSON", "application/json; charset=UTF-8", "application/json;x=y"]
        {
            let reply = send(client, &endpoint, (media_type, body.clone()), &[]).await;
            assert_eq!(
                (reply.status, reply.errors()),
                (422, vec!["/x unknown_field".to_owned()]),
                "{media_type}"
            );
        }
    }
    assert_eq!(stage.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_a_body_has_64_kib_at_most() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    for endpoint in endpoints() {
        let body = with(&endpoint, "x", Value::Null).to_string();
        let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len())).into_bytes();
        refuse_all(&stage, &endpoint, &[padded(65_536)], 422, "validation").await;
        refuse_all(&stage, &endpoint, &[padded(65_537)], 413, "payload_too_large").await;
    }
    assert_eq!(stage.state().await, before);
}
