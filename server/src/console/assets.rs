//! Style sheet and script. Their names have a digest of the content, so that browsers keep them for good.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::digest::sha256;

/// Path of the assets.
pub const PREFIX: &str = "/console/assets/";
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Digits of a digest in a name.
const DIGEST_DIGITS: usize = 12;

struct Asset {
    /// Name with the digest.
    name: String,
    etag: String,
    kind: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, content: &'static str) -> Self {
        let digest = &sha256(content)[..DIGEST_DIGITS];
        Self { name: format!("{stem}-{digest}.{extension}"), etag: format!("\"{digest}\""), kind, content }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "css", "text/css; charset=utf-8", include_str!("static/console.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "js", "text/javascript; charset=utf-8", include_str!("static/console.js"))
});
static COMPOSER_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("composer", "js", "text/javascript; charset=utf-8", include_str!("static/composer.js"))
});
static PALETTE_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("palette", "js", "text/javascript; charset=utf-8", include_str!("static/palette.js"))
});
static REVIEW_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("review", "js", "text/javascript; charset=utf-8", include_str!("static/review.js"))
});
static COPY_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("copy", "js", "text/javascript; charset=utf-8", include_str!("static/copy.js"))
});

static FILTER: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("filter", "js", "text/javascript; charset=utf-8", include_str!("static/filter.js"))
});
static LIVE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("static/live.js"))
});

/// Returns the path of the style sheet.
pub fn style() -> String {
    format!("{PREFIX}{}", STYLE.name)
}

/// Returns the path of the script.
pub fn script() -> String {
    format!("{PREFIX}{}", SCRIPT.name)
}

/// Returns the path of the script of the form for tasks.
pub fn composer_script() -> String {
    format!("{PREFIX}{}", COMPOSER_SCRIPT.name)
}

/// Returns the path of the script of the command palette.
pub fn palette_script() -> String {
    format!("{PREFIX}{}", PALETTE_SCRIPT.name)
}

/// Returns the path of the script that shows the changes of a payload.
pub fn review_script() -> String {
    format!("{PREFIX}{}", REVIEW_SCRIPT.name)
}

/// Returns the path of the script that copies texts.
pub fn copy_script() -> String {
    format!("{PREFIX}{}", COPY_SCRIPT.name)
}

/// Returns the path of the script that completes filter lines.
pub fn filter_script() -> String {
    format!("{PREFIX}{}", FILTER.name)
}

/// Returns the path of the script that keeps pages up to date.
pub fn live_script() -> String {
    format!("{PREFIX}{}", LIVE.name)
}

/// Returns the answer with the asset of this name. `None`: no asset of this release has the name.
pub fn answer(name: &str, request: &HeaderMap) -> Option<Response> {
    let asset: &Asset = [
        &*STYLE,
        &*SCRIPT,
        &*COPY_SCRIPT,
        &*REVIEW_SCRIPT,
        &*COMPOSER_SCRIPT,
        &*PALETTE_SCRIPT,
        &*FILTER,
        &*LIVE,
    ]
    .into_iter()
    .find(|asset| asset.name == name)?;
    let etag = HeaderValue::from_str(&asset.etag).unwrap_or(HeaderValue::from_static(""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, KEPT),
        (header::ETAG, etag.clone()),
    ];
    if request.get(header::IF_NONE_MATCH) == Some(&etag) {
        return Some((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Some((headers, asset.content).into_response())
}
