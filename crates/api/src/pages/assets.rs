//! The stylesheet, scripts and images, compiled into the binary.
//!
//! Pages ask for `/assets/{version}/{name}`, where the version is a hash over all assets: such an answer may be kept
//! for good. Modules import each other by relative path and so stay within one version. During a rolling deploy a
//! page of one release may ask a replica of another; that replica answers with what it has, to be checked again.

use actix_web::error::ErrorNotFound;
use actix_web::http::header::{self, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};

use super::Page;
use super::site::Site;

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

const ASSETS: [Asset; 7] = [
    Asset { name: "app.css", content_type: STYLE, body: include_bytes!("../../assets/app.css") },
    Asset { name: "app.js", content_type: SCRIPT, body: include_bytes!("../../assets/app.js") },
    Asset { name: "dashboard.js", content_type: SCRIPT, body: include_bytes!("../../assets/dashboard.js") },
    Asset { name: "hero.svg", content_type: SVG, body: include_bytes!("../../assets/hero.svg") },
    Asset { name: "lattice.svg", content_type: SVG, body: include_bytes!("../../assets/lattice.svg") },
    Asset { name: "vine.svg", content_type: SVG, body: include_bytes!("../../assets/vine.svg") },
    ICON,
];

/// A hash over every asset, for the addresses of all of them.
pub(super) fn version() -> String {
    let mut hash = Sha256::new();
    for asset in &ASSETS {
        hash.update(asset.name);
        hash.update(asset.body);
    }
    short(&hash.finalize())
}

fn short(digest: &[u8]) -> String {
    digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// An asset under its plain name.
pub(super) fn current(_: &Site, request: &HttpRequest) -> Page {
    serve(request, named(request)?, false)
}

/// An asset under its versioned name.
pub(super) fn versioned(site: &Site, request: &HttpRequest) -> Page {
    let ours = request.match_info().get("version") == Some(site.version());
    serve(request, named(request)?, ours)
}

/// The icon, where browsers look for it unasked.
pub(super) fn favicon(_: &Site, request: &HttpRequest) -> Page {
    serve(request, &ICON, false)
}

fn named(request: &HttpRequest) -> actix_web::Result<&'static Asset> {
    let name = request.match_info().get("name");
    ASSETS.iter().find(|asset| Some(asset.name) == name).ok_or_else(|| ErrorNotFound("no such asset"))
}

fn serve(request: &HttpRequest, asset: &Asset, for_good: bool) -> Page {
    let tag = EntityTag::new_strong(short(&Sha256::digest(asset.body)));
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header(header::ETag(tag))
        .insert_header((
            header::CACHE_CONTROL,
            if for_good { "public, max-age=31536000, immutable" } else { "no-cache" },
        ))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"));
    Ok(if known { answer.finish() } else { answer.content_type(asset.content_type).body(asset.body) })
}
