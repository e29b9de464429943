// SPDX-License-Identifier: Apache-2.0
//! What the server warns of besides its answers (`Warning` headers, RFC 7234 section 5.5): said once each.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::Response;
use http::header::WARNING;

/// Prints the warnings of every answer that it is given, and passes it on.
pub(crate) fn printer<B>() -> impl Fn(Response<B>) -> Response<B> + Clone + Send + 'static {
    let said = Arc::<Mutex<HashSet<String>>>::default();
    move |response| {
        for header in response.headers().get_all(WARNING) {
            let Some(text) = header.to_str().ok().and_then(text) else { continue };
            if said.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
                eprintln!("Warning: {text}");
            }
        }
        response
    }
}

/// The text of `299 - "TEXT"`, without its escapes.
fn text(header: &str) -> Option<String> {
    let quoted = header.strip_prefix("299 ")?.split_once('"')?.1;
    let mut text = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(letters.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_without_its_escapes() {
        assert_eq!(text("299 - \"a \\\"b\\\" \\\\ c\"").as_deref(), Some("a \"b\" \\ c"));
        for other in ["199 - \"a\"", "299 - a", "299 - \"a", ""] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
