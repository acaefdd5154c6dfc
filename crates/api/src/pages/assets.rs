//! The stylesheet, scripts and images, compiled into the binary.
//!
//! Pages ask for `/assets/{version}/{name}`, where the version is a hash over all assets: such an answer may be kept
//! for good. Modules import each other by relative path and so stay within one version. During a rolling deploy a
//! page of one release may ask a replica of another; that replica answers with what it has, to be checked again.

use std::sync::LazyLock;

use actix_web::http::header::{self, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};

use super::Page;
use super::html::Keep;
use crate::problem::{Code, Problem};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const ICON: Asset =
    Asset { name: "icon.svg", content_type: SVG, body: include_bytes!("../../assets/icon.svg") };

const ASSETS: [Asset; 11] = [
    Asset { name: "app.css", content_type: STYLE, body: include_bytes!("../../assets/app.css") },
    Asset { name: "app.js", content_type: SCRIPT, body: include_bytes!("../../assets/app.js") },
    Asset { name: "dashboard.js", content_type: SCRIPT, body: include_bytes!("../../assets/dashboard.js") },
    Asset { name: "editor.js", content_type: SCRIPT, body: include_bytes!("../../assets/editor.js") },
    Asset { name: "factor.js", content_type: SCRIPT, body: include_bytes!("../../assets/factor.js") },
    Asset { name: "hero.svg", content_type: SVG, body: include_bytes!("../../assets/hero.svg") },
    Asset { name: "lattice.svg", content_type: SVG, body: include_bytes!("../../assets/lattice.svg") },
    Asset { name: "public.css", content_type: STYLE, body: include_bytes!("../../assets/public.css") },
    Asset { name: "session.js", content_type: SCRIPT, body: include_bytes!("../../assets/session.js") },
    Asset { name: "vine.svg", content_type: SVG, body: include_bytes!("../../assets/vine.svg") },
    ICON,
];

/// A hash over every asset, for the addresses of all of them.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for asset in &ASSETS {
        hash.update(asset.name);
        hash.update(asset.body);
    }
    short(&hash.finalize())
});

/// The version in the addresses of all assets.
pub(super) fn version() -> &'static str {
    &VERSION
}

fn short(digest: &[u8]) -> String {
    digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// An asset under its plain name.
pub(super) fn current(request: &HttpRequest) -> Page {
    Ok(serve(request, named(request)?, Keep::Checked))
}

/// An asset under its versioned name.
pub(super) fn versioned(request: &HttpRequest) -> Page {
    let ours = request.match_info().get("version") == Some(version());
    Ok(serve(request, named(request)?, if ours { Keep::ForGood } else { Keep::Checked }))
}

/// The icon, where browsers look for it unasked.
pub(super) fn favicon(request: &HttpRequest) -> HttpResponse {
    serve(request, &ICON, Keep::Checked)
}

fn named(request: &HttpRequest) -> Result<&'static Asset, Problem> {
    let name = request.match_info().get("name");
    ASSETS.iter().find(|asset| Some(asset.name) == name).ok_or_else(|| Problem::new(Code::NotFound))
}

fn serve(request: &HttpRequest, asset: &Asset, keep: Keep) -> HttpResponse {
    let tag = EntityTag::new_strong(short(&Sha256::digest(asset.body)));
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header(header::ETag(tag)).insert_header(keep.header());
    if known { answer.finish() } else { answer.content_type(asset.content_type).body(asset.body) }
}
