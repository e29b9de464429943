// SPDX-License-Identifier: Apache-2.0

//! Who runs in a container: names of the image's `USER` looked up in the image's own files.

use crate::config::User;

/// User, group and supplementary groups as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups, the group itself included.
    pub groups: Vec<u32>,
}

/// Resolves `user` with the texts of the image's `/etc/passwd` and `/etc/group`.
pub fn resolve(user: &User, passwd: &str, group: &str) -> Result<Ids, String> {
    let (image_user, image_group) = match user.image_user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user.image_user.as_str(), None),
    };
    let account = match user.uid {
        Some(uid) => account_by_uid(passwd, uid),
        None => account(passwd, image_user)?,
    };
    let gid = match (user.gid, user.uid, image_group) {
        (Some(gid), ..) => gid,
        (None, None, Some(name)) if !name.is_empty() => group_id(group, name)?,
        _ => account.gid,
    };
    let mut groups = vec![gid];
    groups.extend(&user.supplemental_groups);
    if !user.strict_groups
        && let Some(name) = account.name
    {
        groups.extend(memberships(group, name));
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    Ok(Ids { uid: account.uid, gid, groups })
}

struct Account<'a> {
    name: Option<&'a str>,
    uid: u32,
    gid: u32,
}

fn account<'a>(passwd: &'a str, name: &'a str) -> Result<Account<'a>, String> {
    if name.is_empty() {
        return Ok(account_by_uid(passwd, 0));
    }
    if let Some(found) = accounts(passwd).find(|a| a.name == Some(name)) {
        return Ok(found);
    }
    name.parse()
        .map(|uid| account_by_uid(passwd, uid))
        .map_err(|_| format!("unable to find user {name}: no matching entries in passwd file"))
}

fn account_by_uid(passwd: &str, uid: u32) -> Account<'_> {
    accounts(passwd).find(|a| a.uid == uid).unwrap_or(Account { name: None, uid, gid: 0 })
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name: Some(name), uid, gid })
    })
}

fn group_id(group: &str, name: &str) -> Result<u32, String> {
    groups(group)
        .find(|(known, ..)| *known == name)
        .map(|(_, gid, _)| gid)
        .or_else(|| name.parse().ok())
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn memberships<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups(group).filter(move |(_, _, members)| members.split(',').any(|member| member == user)).map(|(_, gid, _)| gid)
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:82::/srv:\nodd\n";
    const GROUP: &str = "root:x:0:\nwww:x:82:\nlogs:x:4:web,other\nextra:x:77:web\n";

    fn ids(user: User) -> Result<(u32, u32, Vec<u32>), String> {
        resolve(&user, PASSWD, GROUP).map(|ids| (ids.uid, ids.gid, ids.groups))
    }

    fn image(user: &str) -> User {
        User { image_user: user.to_owned(), ..User::default() }
    }

    #[test]
    fn users_of_images_are_looked_up() {
        let table = [
            ("", (0, 0, vec![0])),
            ("web", (101, 82, vec![82, 4, 77])),
            ("101", (101, 82, vec![82, 4, 77])),
            ("web:root", (101, 0, vec![0, 4, 77])),
            ("web:5", (101, 5, vec![5, 4, 77])),
            ("4000", (4000, 0, vec![0])),
            ("4000:4001", (4000, 4001, vec![4001])),
        ];
        for (user, want) in table {
            assert_eq!(ids(image(user)), Ok(want), "{user:?}");
        }
        assert!(ids(image("nobody")).is_err());
        assert!(ids(image("web:nogroup")).is_err());
    }

    #[test]
    fn the_pod_wins_over_the_image() {
        let user = User { uid: Some(7), image_user: "web:logs".to_owned(), ..User::default() };
        assert_eq!(ids(user), Ok((7, 0, vec![0])));
        let user = User {
            uid: Some(101),
            gid: Some(9),
            supplemental_groups: vec![9, 2000],
            strict_groups: true,
            ..User::default()
        };
        assert_eq!(ids(user), Ok((101, 9, vec![9, 2000])));
    }
}
