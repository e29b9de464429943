// SPDX-License-Identifier: Apache-2.0
//! `knarr ctl` beside kubectl: the same typed to both, and how what they print differs.

use std::path::{Path, PathBuf};

use knarr_tests::clients;
use knarr_tests::hosts::Host;
use knarr_tests::knarr::binary;
use knarr_tests::kubectl::{Kubectl, Outcome};

/// Whose words are the measure.
const RELEASE: &str = "1.36";

/// Both programs on one host.
pub struct Both<'a> {
    kubectl: Kubectl,
    host: &'a Host,
    manifests: PathBuf,
}

impl<'a> Both<'a> {
    /// `manifests` is the folder that FOLDER stands for, and FILE for its `objects.yaml`; `~` is a blank in a word.
    /// kubectl is that of this release of Kubernetes, where it is installed.
    pub fn new(kubectl: Kubectl, host: &'a Host, manifests: &Path) -> Self {
        let versions = clients::versions("kubectl");
        let newest = versions.iter().find(|(version, _)| version == RELEASE);
        let kubectl = newest.map_or_else(|| kubectl.clone(), |(_, program)| kubectl.with_program(program));
        Self { kubectl, host, manifests: manifests.to_owned() }
    }

    fn arguments(&self, words: &str) -> Vec<String> {
        let manifests = self.manifests.display().to_string();
        let file = format!("{manifests}/objects.yaml");
        let words = words.split_whitespace().map(|word| word.replace("FILE", &file).replace("FOLDER", &manifests));
        words.map(|word| word.replace("range.", "range .").replace('~', " ")).collect()
    }

    /// Runs `knarr ctl`.
    pub fn ctl(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = self.host.command(binary());
        command.arg("ctl").args(arguments).env("KUBECONFIG", self.kubectl.kubeconfig());
        Outcome::of(command, input)
    }

    /// How the two differ with `input` on standard input; between them kubectl undoes what the first has changed, by
    /// `back`.
    pub fn difference(&self, words: &str, input: &str, back: &str) -> Option<String> {
        let arguments = self.arguments(words);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let theirs = self.kubectl.try_run(&arguments, input);
        self.undo(back);
        let ours = self.ctl(&arguments, input);
        self.undo(back);
        let all = |outcome: &Outcome| (outcome.code, steady(&outcome.out), steady(&outcome.err));
        (all(&theirs) != all(&ours)).then(|| {
            let differing = first_difference(&steady(&theirs.out), &steady(&ours.out));
            format!(
                "`{words}`: {differing}\nkubectl: {}, {}\n{}\nctl: {}, {}\n{}",
                theirs.code, theirs.err, theirs.out, ours.code, ours.err, ours.out
            )
        })
    }

    fn undo(&self, back: &str) {
        for words in back.split(" && ").filter(|words| !words.is_empty()) {
            let arguments = self.arguments(words);
            self.kubectl.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

fn first_difference(theirs: &str, ours: &str) -> String {
    let mut lines = theirs.lines().zip(ours.lines());
    let differing = lines.find(|(theirs, ours)| theirs != ours);
    differing.map_or_else(String::new, |(theirs, ours)| format!("{theirs:?} is {ours:?}"))
}

/// The text without what changes by itself: how old things are, and when a heart last beat; the two look one after the
/// other.
fn steady(text: &str) -> String {
    let is_age = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h', 'd'])
            && word.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c))
    };
    let line = |line: &str| {
        let mut kept = String::new();
        let mut after_age = false;
        for word in line.split(' ') {
            if after_age && word.is_empty() {
                continue;
            }
            // The age of an Event may be `3s (x2 over 14s)`.
            after_age = is_age(word.trim_end_matches(')'));
            kept.push_str(if after_age { "AGE" } else { word });
            kept.push(' ');
        }
        kept
    };
    // Older ones do not say it.
    let text = text.replace(" from default namespace", "");
    text.split('\n')
        .filter(|line| !line.trim_start().starts_with("RenewTime:"))
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}
