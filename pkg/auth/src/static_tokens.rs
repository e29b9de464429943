// SPDX-License-Identifier: Apache-2.0
//! A file of tokens: lines of `token,user,uid`, and a fourth field with the user's groups, `"a,b"`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file>

use std::collections::HashMap;

use crate::UserInfo;
use crate::user::AUTHENTICATED;

/// The users of a token file.
#[derive(Default)]
pub struct StaticTokens(HashMap<String, UserInfo>);

/// What is wrong with a token file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the token file: {why}; a line is TOKEN,USER,UID or TOKEN,USER,UID,\"GROUP,GROUP\"")]
pub struct BadTokenFile {
    line: usize,
    why: &'static str,
}

impl StaticTokens {
    /// Reads the text of a file. Of two lines with one token the last counts.
    ///
    /// # Errors
    /// [`BadTokenFile`] names the first line that is none.
    pub fn parse(text: &str) -> Result<Self, BadTokenFile> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (token, user) = entry(line).map_err(|why| BadTokenFile { line: at + 1, why })?;
            users.insert(token, user);
        }
        Ok(Self(users))
    }

    /// Whose token it is.
    #[must_use]
    pub fn user(&self, token: &str) -> Option<&UserInfo> {
        self.0.get(token)
    }
}

fn entry(line: &str) -> Result<(String, UserInfo), &'static str> {
    let mut fields = fields(line)?.into_iter();
    let (Some(token), Some(name), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("there are fewer than three fields");
    };
    if token.is_empty() || name.is_empty() {
        return Err("token and user must not be empty");
    }
    let listed = fields.next().unwrap_or_default();
    let groups = listed.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned);
    let groups = groups.chain([AUTHENTICATED.to_owned()]).collect();
    Ok((token, UserInfo { name, uid, groups, ..UserInfo::default() }))
}

/// The fields of a line of comma-separated values; a field in quotes may hold commas, and `""` for a quote.
fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            other => field.push(other),
        }
    }
    fields.push(field.trim().to_owned());
    if quoted { Err("a quote is not closed") } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_a_token_its_user_and_their_groups() {
        let file = "t1,jane,1\n\nt2, \"bob, jr\" ,2,\"devs,ops\"\n";
        let tokens = StaticTokens::parse(file).unwrap();
        assert_eq!(tokens.user("t1").unwrap().groups, [AUTHENTICATED]);
        let bob = tokens.user("t2").unwrap();
        assert_eq!((bob.name.as_str(), bob.uid.as_str()), ("bob, jr", "2"));
        assert_eq!(bob.groups, ["devs", "ops", AUTHENTICATED]);
        assert!(tokens.user("t3").is_none());
    }

    #[test]
    fn a_bad_line_is_named() {
        for (file, line) in [("t,jane\n", 1), ("t,jane,1\n,x,y\n", 2), ("t,jane,1,\"a\n", 1)] {
            assert_eq!(StaticTokens::parse(file).err().map(|e| e.line), Some(line), "{file:?}");
        }
    }
}
