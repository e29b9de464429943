// SPDX-License-Identifier: Apache-2.0
//! Links in what a proxied server answers: those to its own root would miss the proxy, so they get its path in front.
//!
//! Redirects and HTML are changed, as kube-apiserver's proxies do: which attributes of which elements are links is the
//! HTML standard's. Whatever else an answer has stays byte for byte.

/// Where the proxied server is seen from outside, and what it calls itself.
#[derive(Debug, Clone)]
pub struct Links {
    /// The path of the proxy, without a slash at its end.
    pub prefix: String,
    /// `host:port` of the server itself.
    pub server: String,
    /// The host that the client asked for.
    pub asked: String,
}

impl Links {
    /// The link as it is followed through the proxy; `None` where it stays as it is: it is relative, or leads elsewhere.
    #[must_use]
    pub fn through(&self, link: &str) -> Option<String> {
        let (origin, rest) = split_origin(link)?;
        let is_own = origin.is_empty() || [&self.server, &self.asked].contains(&&authority(origin).to_owned());
        if !is_own || !rest.starts_with('/') {
            return None;
        }
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(end);
        // What names the asked host stays absolute.
        let origin = if authority(origin) == self.asked { origin } else { "" };
        let path = if path.starts_with(&self.prefix) { path.to_owned() } else { joined(&self.prefix, path) };
        Some(format!("{origin}{path}{tail}"))
    }

    /// The document with its links [`through`](Self::through) the proxy.
    #[must_use]
    pub fn rewrite(&self, html: &str) -> String {
        let mut out = String::with_capacity(html.len() + html.len() / 8);
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            let (before, tag) = rest.split_at(start);
            out.push_str(before);
            let length = self.tag(tag, &mut out);
            rest = &tag[length..];
        }
        out.push_str(rest);
        out
    }

    /// Copies what begins with `<`, and the text of elements whose text is no markup; gives its length.
    fn tag(&self, text: &str, out: &mut String) -> usize {
        let copy = |out: &mut String, length: usize| {
            out.push_str(&text[..length]);
            length
        };
        if text.starts_with("<!--") {
            return copy(out, text.find("-->").map_or(text.len(), |end| end + 3));
        }
        if !text[1..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            return copy(out, 1);
        }
        let name_end = text[1..].find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').map(|end| end + 1);
        let Some(name_end) = name_end else { return copy(out, text.len()) };
        let name = text[1..name_end].to_ascii_lowercase();
        out.push_str(&text[..name_end]);
        let length = name_end + self.attributes(&name, &text[name_end..], out);
        if !RAW.contains(&name.as_str()) {
            return length;
        }
        let raw = raw_text(&name, &text[length..]);
        out.push_str(&text[length..length + raw]);
        length + raw
    }

    /// Copies the attributes of an element up to its `>`, with links changed; gives their length.
    fn attributes(&self, element: &str, text: &str, out: &mut String) -> usize {
        let links = LINKS.iter().find(|(name, _)| *name == element).map_or(&[][..], |(_, links)| links);
        let mut at = 0;
        while at < text.len() {
            let attribute = Attribute::read(&text[at..]);
            let (before, value) = (&text[at..at + attribute.value.start], &text[at..][attribute.value.clone()]);
            out.push_str(before);
            let is_link = links.iter().any(|link| attribute.name.eq_ignore_ascii_case(link));
            match self.through(&value.replace("&amp;", "&")).filter(|_| is_link) {
                Some(link) => out.push_str(&link.replace('&', "&amp;").replace('"', "&#34;")),
                None => out.push_str(value),
            }
            out.push_str(&text[at + attribute.value.end..at + attribute.length]);
            at += attribute.length;
            if attribute.ends_tag {
                break;
            }
        }
        at
    }
}

/// Elements whose text is no markup.
const RAW: [&str; 8] = ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"];

/// The attributes that are links, by element.
/// <https://html.spec.whatwg.org/multipage/indices.html#attributes-3>
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// One attribute with the space before it, or what ends the tag.
struct Attribute<'a> {
    name: &'a str,
    /// Where its value is, without quotes; empty where it has none.
    value: std::ops::Range<usize>,
    length: usize,
    ends_tag: bool,
}

impl<'a> Attribute<'a> {
    fn read(text: &'a str) -> Self {
        let end_of = |from: usize, ends: fn(char) -> bool| text[from..].find(ends).map_or(text.len(), |end| from + end);
        let start = end_of(0, |c| !c.is_ascii_whitespace() && c != '/');
        if text[start..].starts_with('>') {
            return Self { name: "", value: start..start, length: start + 1, ends_tag: true };
        }
        // A name may begin with an equals sign.
        let first = text[start..].chars().next().map_or(0, char::len_utf8);
        let name_end = end_of(start + first, |c| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '='));
        let name = &text[start..name_end];
        let equals = end_of(name_end, |c| !c.is_ascii_whitespace());
        if !text[equals..].starts_with('=') {
            return Self { name, value: name_end..name_end, length: name_end, ends_tag: false };
        }
        let value = end_of(equals + 1, |c| !c.is_ascii_whitespace());
        let (value, length) = match text[value..].chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = text[value + 1..].find(quote).map_or(text.len(), |end| value + 1 + end);
                (value + 1..end, (end + 1).min(text.len()))
            }
            _ => {
                let end = end_of(value, |c| c.is_ascii_whitespace() || c == '>');
                (value..end, end)
            }
        };
        Self { name, value, length, ends_tag: false }
    }
}

/// How much of `text` belongs to an element whose text is no markup: all before its end.
fn raw_text(name: &str, text: &str) -> usize {
    let ends = |at: &usize| text.get(at + 2..at + 2 + name.len()).is_some_and(|end| end.eq_ignore_ascii_case(name));
    text.match_indices("</").map(|(at, _)| at).find(ends).unwrap_or(text.len())
}

/// Scheme and authority of a link, and what follows them; `None` where it has another scheme than those of the web.
fn split_origin(link: &str) -> Option<(&str, &str)> {
    let scheme = match link.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => scheme,
        _ => "",
    };
    let start = if scheme.is_empty() { 0 } else { scheme.len() + 1 };
    if !scheme.is_empty() && !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    match link[start..].strip_prefix("//") {
        Some(rest) => {
            let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            Some(link.split_at(start + 2 + host))
        }
        None if scheme.is_empty() => Some(("", link)),
        None => None,
    }
}

fn authority(origin: &str) -> &str {
    origin.split_once("//").map_or("", |(_, host)| host)
}

/// Two absolute paths as one, without empty, `.` and `..` parts; it ends in a slash where the second does.
fn joined(prefix: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}{}", parts.join("/"), if path.ends_with('/') && !parts.is_empty() { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links { prefix: "/api/p/proxy".into(), server: "10.0.0.1:80".into(), asked: "host:6443".into() }
    }

    #[test]
    fn only_links_to_the_servers_own_root_change() {
        for (link, want) in [
            ("/x", Some("/api/p/proxy/x")),
            ("/", Some("/api/p/proxy/")),
            ("/a/../b//c/?q=/x#f", Some("/api/p/proxy/b/c/?q=/x#f")),
            ("/api/p/proxy/x", Some("/api/p/proxy/x")),
            ("http://10.0.0.1:80/x", Some("/api/p/proxy/x")),
            ("//10.0.0.1:80/x", Some("/api/p/proxy/x")),
            ("https://host:6443/x", Some("https://host:6443/api/p/proxy/x")),
            ("x", None),
            ("", None),
            ("#f", None),
            ("?q=a:b", None),
            ("../x", None),
            ("http://elsewhere/x", None),
            ("http://10.0.0.1:80", None),
            ("mailto:a@b", None),
            ("data:/x", None),
        ] {
            assert_eq!(links().through(link).as_deref(), want, "{link}");
        }
    }

    #[test]
    fn links_change_wherever_html_has_them_and_nothing_else_does() {
        for (html, want) in [
            (r#"<a href="/r">t</a>"#, r#"<a href="/api/p/proxy/r">t</a>"#),
            ("<A\n class=x HREF = '/r?a&amp;b' >", "<A\n class=x HREF = '/api/p/proxy/r?a&amp;b' >"),
            (
                "<img src=/r/><input formaction=/f checked>",
                "<img src=/api/p/proxy/r/><input formaction=/api/p/proxy/f checked>",
            ),
            ("<link href=\"/r\"/>", "<link href=\"/api/p/proxy/r\"/>"),
            ("<a data-href='/r' title='/r'>", "<a data-href='/r' title='/r'>"),
            ("<!-- <a href='/r'> --><p>1 < 2 </p>", "<!-- <a href='/r'> --><p>1 < 2 </p>"),
            (
                "<script>'<a href=\"/r\">'</script><a href=/r>",
                "<script>'<a href=\"/r\">'</script><a href=/api/p/proxy/r>",
            ),
            ("<!doctype html><title><a href=/r></TITLE>", "<!doctype html><title><a href=/r></TITLE>"),
        ] {
            assert_eq!(links().rewrite(html), want, "{html}");
        }
    }

    proptest::proptest! {
        #[test]
        fn without_links_a_document_stays_as_it_is(html in "([<>/='\" \\-!a-zä]|script|href|</|<a )*") {
            let elsewhere = html.replace("/", "");
            proptest::prop_assert_eq!(links().rewrite(&elsewhere), elsewhere);
            let _ = links().rewrite(&html);
        }
    }
}
