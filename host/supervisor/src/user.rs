//! Whom workers are to become.
//!
//! Names are looked up here, once for each look at the configuration: a worker gets numbers. What it takes is looked at here
//! as well, because a supervisor that cannot do without it would find that out when it has to kill a worker.

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User as Entry, getegid, geteuid, getgrouplist, getgroups};
use rustix::thread::{CapabilitySet, capabilities};
use wasmcluster_core::app::User;

/// To become another user is two of them. The third is for what comes after: the kernel would not let us end what is
/// somebody else's.
const NEEDED: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);

/// Why workers cannot become somebody.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// It names nobody.
    #[error("expected `USER` or `USER:GROUP`, each a name or a number")]
    Shape,
    /// There is no such user.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group `{0}`")]
    NoGroup(String),
    /// A user that is only a number has no group of its own.
    #[error("user {0} is not known here, so it takes a group: `{0}:GROUP`")]
    NoGroupOf(u32),
    /// It cannot be found out.
    #[error("failed to look up `{name}`: {source}")]
    Lookup {
        /// What was looked for.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Only root may.
    #[error("only root may have workers become another user, with the capabilities SETUID, SETGID and KILL")]
    NotPermitted,
}

/// The user that `USER` or `USER:GROUP` stands for, if workers of this process may become it.
///
/// Root is allowed: who says it has what is there without saying it, as with other servers.
///
/// # Errors
/// Says which of the two there is not, or that it may not be.
pub fn find_user(text: &str) -> Result<User, UserError> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    if name.is_empty() || group.is_some_and(str::is_empty) {
        return Err(UserError::Shape);
    }
    // A name that consists of digits is one all the same.
    let (uid, entry) = match (known(name, Entry::from_name(name))?, number(name)) {
        (Some(entry), _) => (entry.uid.as_raw(), Some(entry)),
        (None, Some(uid)) => (uid, known(name, Entry::from_uid(Uid::from_raw(uid)))?),
        (None, None) => return Err(UserError::NoUser(name.to_owned())),
    };
    let gid = match (group, &entry) {
        (Some(group), _) => match (known(group, Group::from_name(group))?, number(group)) {
            (Some(group), _) => group.gid,
            (None, Some(gid)) => Gid::from_raw(gid),
            (None, None) => return Err(UserError::NoGroup(group.to_owned())),
        },
        (None, Some(entry)) => entry.gid,
        (None, None) => return Err(UserError::NoGroupOf(uid)),
    };
    let failed = |errno: Errno| UserError::Lookup { name: name.to_owned(), source: errno.into() };
    let own = (geteuid().as_raw(), getegid()) == (uid, gid);
    let groups = if is_permitted() {
        match &entry {
            Some(Entry { name, .. }) => {
                let name = CString::new(name.as_str()).map_err(|_| UserError::Shape)?;
                getgrouplist(&name, gid).map_err(failed)?
            }
            None => vec![gid],
        }
    } else if own {
        // Nothing changes, and nothing could.
        getgroups().map_err(failed)?
    } else {
        return Err(UserError::NotPermitted);
    };
    let mut groups: Vec<_> = groups.into_iter().map(Gid::as_raw).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(User { name: entry.map(|entry| entry.name), uid, gid: gid.as_raw(), groups })
}

fn is_permitted() -> bool {
    capabilities(None).is_ok_and(|own| own.effective.contains(NEEDED))
}

/// The largest one stands for no change where it is set.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number != u32::MAX)
}

/// What a look-up found. Where there is nothing to look in, as in a container without `/etc/passwd`, it finds nothing.
fn known<T>(name: &str, looked: nix::Result<Option<T>>) -> Result<Option<T>, UserError> {
    match looked {
        Ok(found) => Ok(found),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        Err(errno) => Err(UserError::Lookup { name: name.to_owned(), source: errno.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_nobody_is_told_from_who_is_not_there() {
        for text in ["", ":", ":root", "root:"] {
            assert!(matches!(find_user(text), Err(UserError::Shape)), "{text:?}");
        }
        for text in ["no such user", "-1", "+0", "4294967295", "4294967296", "no\0body", "no-such-user:root"]
        {
            assert!(matches!(find_user(text), Err(UserError::NoUser(_))), "{text:?}");
        }
        for text in ["root:no such group", "root:-1", "0:4294967295"] {
            assert!(matches!(find_user(text), Err(UserError::NoGroup(_))), "{text:?}");
        }
        assert!(matches!(find_user("4294967294"), Err(UserError::NoGroupOf(4_294_967_294))));
    }

    #[test]
    fn everybody_may_be_who_they_are() {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let own = find_user(&format!("{uid}:{gid}")).expect("nothing changes");
        assert_eq!((own.uid, own.gid), (uid, gid));
    }

    #[test]
    fn somebody_else_is_for_root_alone() {
        let other = find_user("4294967294:4294967293");
        match is_permitted() {
            true => assert_eq!(
                other.expect("anybody"),
                User { name: None, uid: 4_294_967_294, gid: 4_294_967_293, groups: vec![4_294_967_293] }
            ),
            false => assert!(matches!(other, Err(UserError::NotPermitted))),
        }
    }
}
