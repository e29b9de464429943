// SPDX-License-Identifier: Apache-2.0
//! An answer over HTTP before it is read, and what Go's client of Kubernetes says of those that are none.

use bytes::Bytes;
use http::Uri;
use knarr_types::tree::Value;

/// How much of an answer that is no review is told.
const TOLD_BYTES: usize = 2048;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// `Content-Type`; empty for none.
    pub media: String,
    /// `Location`; empty for none.
    pub location: String,
    pub body: Bytes,
}

impl Answer {
    /// Where it sends who asked at `from`; only elsewhere on the same host.
    pub(super) fn leads_to(&self, from: &Uri) -> Option<Uri> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) || self.location.is_empty() {
            return None;
        }
        let to: Uri = self.location.parse().ok()?;
        match to.authority() {
            Some(other) if Some(other) != from.authority() => None,
            Some(_) => Some(to),
            None => {
                let path = to.path_and_query()?.clone();
                let builder = Uri::builder().scheme(from.scheme()?.clone()).authority(from.authority()?.clone());
                builder.path_and_query(path).build().ok()
            }
        }
    }

    /// What is to be read.
    ///
    /// # Errors
    /// Where it is no success, or empty.
    pub(super) fn body(&self) -> Result<Bytes, String> {
        if !(200..=206).contains(&self.status) {
            return Err(self.failure());
        }
        if self.body.is_empty() {
            let (code, media) = (self.status, &self.media);
            return Err(format!("0-length response with status code: {code} and content type: {media}"));
        }
        Ok(self.body.clone())
    }

    /// What a failure says.
    fn failure(&self) -> String {
        if let Some(said) = self.said() {
            return said;
        }
        let is_text = self.media.is_empty() || self.media.starts_with("text/");
        let told = &self.body[..self.body.len().min(TOLD_BYTES)];
        let text = if is_text { String::from_utf8_lossy(told).trim().to_owned() } else { "unknown".to_owned() };
        let fixed = match self.status {
            400 => "the server rejected our request for an unknown reason",
            401 => "the server has asked for the client to provide credentials",
            403 | 415 | 503 => return text,
            404 => "the server could not find the requested resource",
            405 => "the server does not allow this method on the requested resource",
            406 if text.is_empty() || text == "unknown" => {
                "the server was unable to respond with a content type that the client supports"
            }
            406 => return text,
            409 => "the server reported a conflict",
            422 => "the server rejected our request due to an error in our request",
            429 => "the server has received too many requests and has asked us to try again later",
            504 => {
                "the server was unable to return a response in the time allotted, but may still be processing the request"
            }
            500.. => return format!("an error on the server ({text:?}) has prevented the request from succeeding"),
            code => {
                return format!("the server responded with the status code {code} but did not return more information");
            }
        };
        fixed.to_owned()
    }

    /// The message of a Status that tells of a failure.
    fn said(&self) -> Option<String> {
        let status: Value = serde_json::from_slice(&self.body).ok()?;
        let is_failure = status["kind"] == "Status" && status["apiVersion"] == "v1" && status["status"] == "Failure";
        is_failure.then(|| status["message"].as_str().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media: &str, body: &'static str) -> Answer {
        Answer { status, media: media.to_owned(), location: String::new(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn failures_are_told_as_the_client_of_kubernetes_does() {
        let server =
            |said: &str| format!("an error on the server ({said:?}) has prevented the request from succeeding");
        for (status, media, body, want) in [
            (500, "application/json", "{}", server("unknown")),
            (500, "text/plain; charset=utf-8", " no\n", server("no")),
            (599, "", "no", server("no")),
            (403, "application/json", "no", "unknown".to_owned()),
            (409, "", "", "the server reported a conflict".to_owned()),
            (
                299,
                "",
                "",
                "the server responded with the status code 299 but did not return more information".to_owned(),
            ),
            (
                500,
                "",
                r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no"}"#,
                "no".to_owned(),
            ),
            (200, "a/b", "", "0-length response with status code: 200 and content type: a/b".to_owned()),
        ] {
            assert_eq!(answer(status, media, body).body(), Err(want), "{status} {media} {body}");
        }
        assert!(answer(206, "", "x").body().is_ok());
    }

    #[test]
    fn redirections_stay_on_their_host() {
        let from: Uri = "https://h:1/a".parse().unwrap();
        for (status, location, want) in [
            (302, "/b?c", Some("https://h:1/b?c")),
            (307, "https://h:1/b", Some("https://h:1/b")),
            (302, "https://other/b", None),
            (300, "/b", None),
            (302, "", None),
        ] {
            let answer = Answer { location: location.to_owned(), ..answer(status, "", "") };
            assert_eq!(answer.leads_to(&from).map(|uri| uri.to_string()).as_deref(), want, "{status} {location}");
        }
    }
}
