// SPDX-License-Identifier: Apache-2.0
//! Columns of one's own: `-o custom-columns=NAME:.metadata.name,...`.

use serde_json::Value;

use crate::error::CtlError;
use crate::go_text;
use crate::jsonpath::JsonPath;

/// Headings, and what stands below them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CustomColumns(Vec<(String, JsonPath)>);

impl CustomColumns {
    /// Reads `HEADING:PATH,HEADING:PATH`.
    ///
    /// # Errors
    /// A column without a heading or a path.
    pub fn parse(spec: &str) -> Result<Self, CtlError> {
        if spec.is_empty() {
            return Err(CtlError::usage("custom-columns format specified but no custom columns given"));
        }
        let columns = spec.split(',').map(|column| {
            let Some((heading, path)) = column.split_once(':') else {
                return Err(CtlError::usage(format!(
                    "unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"
                )));
            };
            Ok((heading.to_owned(), expression(path)?))
        });
        columns.collect::<Result<_, _>>().map(Self)
    }

    /// Reads a file with a line of headings over a line of paths.
    ///
    /// # Errors
    /// Other than two lines, or not as many headings as paths.
    pub fn parse_file(text: &str) -> Result<Self, CtlError> {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let (headings, paths) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if headings.len() != paths.len() || headings.is_empty() {
            let (headings, paths) = (headings.len(), paths.len());
            return Err(CtlError::usage(format!(
                "number of headers ({headings}) and field specifications ({paths}) don't match"
            )));
        }
        let columns =
            headings.into_iter().zip(paths).map(|(heading, path)| Ok((heading.to_owned(), expression(path)?)));
        columns.collect::<Result<_, _>>().map(Self)
    }

    /// The headings.
    pub fn headings(&self) -> Vec<String> {
        self.0.iter().map(|(heading, _)| heading.clone()).collect()
    }

    /// The cells of an object; what it has not is `<none>`.
    ///
    /// # Errors
    /// A path that makes no sense.
    pub fn row(&self, object: &Value) -> Result<Vec<String>, CtlError> {
        let cell = |(_, path): &(String, JsonPath)| {
            let found = path.find(object)?;
            let texts: Vec<_> = found.into_iter().map(go_text::value).collect();
            Ok(if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") })
        };
        self.0.iter().map(cell).collect()
    }
}

/// A path, with or without brackets and the dot in front.
fn expression(path: &str) -> Result<JsonPath, CtlError> {
    let inside = match path.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}'),
        None => Some(path),
    };
    let plain = inside.filter(|inside| !inside.is_empty() && !inside.contains(['{', '}']));
    plain.map(JsonPath::expression).ok_or_else(|| {
        CtlError::usage(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'",
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_what_paths_find() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"containers": [
            {"image": "one", "port": 1}, {"image": "two"}]}});
        let columns =
            CustomColumns::parse("N:.metadata.name,I:.spec.containers[*].image,L:{.metadata.labels},K:kind,X:.no.pe");
        let columns = columns.unwrap();
        assert_eq!(columns.headings(), ["N", "I", "L", "K", "X"]);
        assert_eq!(columns.row(&object).unwrap(), ["a", "one,two", "map[x:y]", "Pod", "<none>"]);
        let same = CustomColumns::parse_file("NAME  PORT\nmetadata.name {.spec.containers[0].port}\n").unwrap();
        assert_eq!(same.headings(), ["NAME", "PORT"]);
        assert_eq!(same.row(&object).unwrap(), ["a", "1"]);
    }

    #[test]
    fn columns_without_a_path_are_refused() {
        for bad in ["", "A", "A:", "A:{.x", "A:.x,B"] {
            assert!(CustomColumns::parse(bad).is_err(), "{bad}");
        }
        assert!(CustomColumns::parse_file("A B\n.a\n").is_err());
    }
}
