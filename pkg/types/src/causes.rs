// SPDX-License-Identifier: Apache-2.0
//! Errors with what caused them, for people.

use std::error::Error;

/// What an error says, and after colons what each of its causes adds: libraries often hide the reason behind a general
/// word. A cause whose words stand there already adds nothing.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn each_cause_is_told_once() {
        let because = |text, cause| Told(text, Some(Box::new(cause)));
        assert_eq!(with_causes(&Told("a", None)), "a");
        let error = because("cannot connect", because("io: refused", because("refused", Told("by the peer", None))));
        assert_eq!(with_causes(&error), "cannot connect: io: refused: by the peer");
    }
}
