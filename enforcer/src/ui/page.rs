//! The page's text: one document with its style and its script, which loads nothing.

use anyhow::Result;
use http::HeaderValue;

use super::Token;

const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// One after the other they are one module.
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/model.js"),
    include_str!("page/list.js"),
    include_str!("page/flows.js"),
    include_str!("page/entry.js"),
    include_str!("page/refusals.js"),
    include_str!("page/details.js"),
    include_str!("page/health.js"),
    include_str!("page/main.js"),
);

/// The page, and the policy under which a browser shows it: nothing runs or is loaded but what carries this answer's
/// own number, and no text becomes elements (`require-trusted-types-for`).
pub(super) fn page() -> Result<(String, HeaderValue)> {
    let nonce = Token::random()?;
    let nonce = nonce.as_str();
    let text = DOCUMENT
        .replace("$NONCE", nonce)
        .replace("$STYLE", STYLE)
        .replace("$SCRIPT", SCRIPT);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    Ok((text, HeaderValue::try_from(policy)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_whole_and_names_no_other_server() {
        let (text, policy) = page().unwrap();
        assert!(!text.contains("$NONCE") && !text.contains("$STYLE") && !text.contains("$SCRIPT"));
        for loads in ["src=", "@import", "url(", "http://", "https://", "import "] {
            assert!(!text.contains(loads), "the page has {loads:?}");
        }
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(sink), "the page has {sink:?}");
        }
        assert!(text.len() < 100_000, "{} bytes", text.len());
        assert_ne!(page().unwrap().1, policy, "each answer has a number of its own");
    }
}
