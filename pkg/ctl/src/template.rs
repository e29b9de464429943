// SPDX-License-Identifier: Apache-2.0
//! Go templates (`-o go-template=...`): the language of Go's text/template over an object's JSON, with the functions
//! that kubectl adds. What it has not (named templates, methods) is refused by name.
//! <https://pkg.go.dev/text/template>

mod functions;
mod lex;
mod parse;
mod run;

use serde_json::Value;

use crate::error::CtlError;

/// A template that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Node>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    /// The value of a pipeline is printed, unless it sets a variable.
    Action(Pipeline),
    If(Branches),
    With(Branches),
    Range(Branches),
    Break,
    Continue,
}

/// What follows the first condition that holds, else the rest.
#[derive(Clone, Debug, PartialEq)]
struct Branches {
    arms: Vec<(Pipeline, Vec<Node>)>,
    otherwise: Vec<Node>,
}

/// Commands, each with the value of the one before as its last argument.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pipeline {
    variables: Vec<String>,
    /// The variables are there already (`=`), not new (`:=`).
    assigns: bool,
    commands: Vec<Vec<Operand>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    /// `.a.b`
    Dot(Vec<String>),
    /// `$x.a.b`; the first variable, `$`, is what the template is run with.
    Variable(String, Vec<String>),
    /// `(pipeline).a.b`
    Group(Box<Pipeline>, Vec<String>),
    Function(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What of it is no template, or is none that is understood here.
    pub fn parse(text: &str) -> Result<Self, CtlError> {
        let nodes = lex::pieces(text).and_then(parse::nodes);
        nodes.map(Self).map_err(|reason| CtlError::usage(format!("error parsing template {text}, {reason}")))
    }

    /// What it makes of an object.
    ///
    /// # Errors
    /// What cannot be done with the values that are there.
    pub fn render(&self, object: &Value) -> Result<String, CtlError> {
        run::render(&self.0, object).map_err(|reason| CtlError::usage(format!("error executing template: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> String {
        let object = json!({
            "metadata": {"name": "web", "labels": {"app": "web", "tier": "1"}},
            "spec": {"replicas": 2, "paused": false, "ratio": 0.5, "many": 1_000_000},
            "items": [{"n": "a"}, {"n": "b", "x": true}],
            "secret": "aGk=",
            "empty": [],
        });
        Template::parse(template)
            .and_then(|template| template.render(&object))
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn templates_give_what_gos_do() {
        for (template, want) in [
            ("{{.metadata.name}}!", "web!"),
            ("{{ .spec.replicas }} {{ .spec.many }} {{.spec.ratio}}", "2 1000000 0.5"),
            ("{{.nothing.here}}", "<no value>"),
            ("{{.metadata.labels}}{{.empty}}", "map[app:web tier:1][]"),
            ("{{range .items}}{{.n}};{{end}}", "a;b;"),
            ("{{range $i, $e := .items}}{{$i}}={{$e.n}} {{end}}", "0=a 1=b "),
            ("{{range $k, $v := .metadata.labels}}{{$k}}={{$v}},{{end}}", "app=web,tier=1,"),
            ("{{range .empty}}x{{else}}none{{end}}", "none"),
            ("{{range .items}}{{if .x}}{{.n}}{{break}}{{end}}{{end}}", "b"),
            ("{{range .items}}{{if .x}}{{continue}}{{end}}{{.n}}{{end}}", "a"),
            ("{{if .spec.paused}}p{{else if .spec.replicas}}r{{else}}n{{end}}", "r"),
            ("{{with .metadata}}{{.name}} {{$.secret}}{{else}}x{{end}}", "web aGk="),
            ("{{with .no}}x{{else}}none{{end}}", "none"),
            ("a {{- \" b \" -}} c", "a b c"),
            ("a\n{{- /* nothing */ -}}\nb", "ab"),
            ("{{$x := .metadata.name}}{{if true}}{{$x = \"other\"}}{{end}}{{$x}}", "other"),
            ("{{.secret | base64decode}}", "hi"),
            ("{{len .items}} {{len .metadata.name}} {{len .metadata.labels}}", "2 3 2"),
            ("{{index .metadata.labels \"app\"}} {{(index .items 1).n}}", "web b"),
            ("{{printf \"%s-%-5v|%3d|%q|%%\" .metadata.name 1 2 \"x\"}}", "web-1    |  2|\"x\"|%"),
            ("{{print \"a\" 1 2 \"b\"}}{{println}}", "a1 2b\n"),
            (
                "{{eq .metadata.name \"x\" \"web\"}} {{ne 1 2}} {{lt 1 2}} {{and true \"\"}}.{{or \"\" \"y\"}} {{not true}}",
                "true true true .y false",
            ),
            ("{{exists .metadata \"labels\" \"app\"}}{{exists . \"no\"}}", "truefalse"),
            ("{{`raw \\n`}}{{'a'}}", "raw \\n97"),
            ("{{slice .metadata.name 1 2}}", "e"),
        ] {
            assert_eq!(render(template), want, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_by_name() {
        for (template, words) in [
            ("{{.a", "unclosed"),
            ("{{if .a}}", "{{end}}"),
            ("{{end}}", "{{end}}"),
            ("{{nosuch .a}}", "function \"nosuch\" not defined"),
            ("{{define \"x\"}}{{end}}", "define"),
            ("{{$y}}", "undefined variable \"$y\""),
            ("{{.metadata.name.first}}", "can't evaluate field first"),
            ("{{range .metadata.name}}{{end}}", "range can't iterate over web"),
            ("{{index .items 7}}", "out of range"),
            ("{{\"x}}", "quote"),
            ("{{}}", "missing value"),
            ("{{break}}", "outside"),
        ] {
            let said = render(template);
            assert!(said.starts_with("error ") && said.contains(words), "{template}: {said}");
        }
    }
}
