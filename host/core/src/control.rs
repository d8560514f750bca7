//! What a command asks a running supervisor, and what it hears back.
//!
//! The codec is that of the children's [`Channel`](crate::channel::Channel). A command connects, asks one thing, and
//! reads answers until the supervisor closes the connection: one for most requests, several for those that take time.

use core::fmt;
use core::net::SocketAddr;
use core::num::NonZeroU16;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::User;
use crate::cluster::time::millis;
use crate::cluster::{Abort, Generation, SlotId, Status};
use crate::history::Entry;
use crate::limit::Reached;
use crate::message::Confinement;
use crate::record::Stamped;

/// Command to supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToSupervisor {
    /// How is the app?
    Status,
    /// Stop the app.
    Stop {
        /// Without waiting for the requests in flight.
        fast: bool,
    },
    /// Serve the component whose descriptor comes with this.
    Push {
        /// What to call it.
        name: String,
    },
    /// Serve what the app's own component is now.
    Reload,
    /// Serve an older generation once more.
    Rollback {
        /// Which one. None is the one before.
        to: Option<Generation>,
    },
    /// Have more slots, or fewer.
    Scale(Change),
    /// Have another worker in a slot.
    Restart {
        /// Which one.
        slot: SlotId,
    },
    /// Let the program that is where yours was go on in your place.
    Upgrade,
    /// Which generations were there?
    History,
    /// What happened?
    Logs {
        /// How many of the last records are wanted, of those that are kept.
        last: usize,
        /// Whether those that are yet to come are wanted, too.
        follow: bool,
    },
}

impl ToSupervisor {
    /// Whether it is answered more than once, over a time that nobody knows.
    #[must_use]
    pub fn takes_time(&self) -> bool {
        match self {
            Self::Status | Self::History | Self::Logs { follow: false, .. } => false,
            Self::Stop { .. } | Self::Push { .. } | Self::Reload | Self::Rollback { .. } => true,
            Self::Scale(_) | Self::Restart { .. } | Self::Upgrade => true,
            Self::Logs { follow: true, .. } => true,
        }
    }
}

/// How many slots there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// So many.
    To(u16),
    /// So many more than now, or fewer.
    By(i16),
}

impl Change {
    /// How many that is, where there are so many now. None where it is none, or too many to count.
    #[must_use]
    pub fn from(self, now: u16) -> Option<NonZeroU16> {
        let slots = match self {
            Self::To(slots) => Some(slots),
            Self::By(by) => now.checked_add_signed(by),
        };
        slots.and_then(NonZeroU16::new)
    }
}

/// Supervisor to command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromSupervisor {
    /// To [`ToSupervisor::Status`].
    Status(Box<AppStatus>),
    /// To [`ToSupervisor::Stop`]: it has begun. The connection stays open until the supervisor has given everything
    /// back, so its end is the end of the app.
    Stopping,
    /// To what begins with a build: it was heard. What it becomes is said when that is known.
    Heard,
    /// What was asked for has begun. How it ends is the last answer.
    Begun(Begun),
    /// Something happened that whoever waits should see.
    Record(Box<Stamped>),
    /// So many records were left out, because they were not read fast enough.
    Missed(u64),
    /// The last answer to what was [`Heard`](Self::Heard) or has [`Begun`](Self::Begun), or the only one.
    Ended(Ended),
    /// To [`ToSupervisor::History`], oldest first.
    History(Vec<Entry>),
    /// To [`ToSupervisor::Logs`], oldest first. Those that follow come as [`Record`](Self::Record).
    Logs(Vec<Stamped>),
}

/// What is under way because somebody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Begun {
    /// A generation is rolled out.
    Rolling {
        /// Its number.
        generation: Generation,
        /// What it takes the place of.
        from: Generation,
    },
    /// Slots come or go.
    Scaling {
        /// How many there were to be.
        from: usize,
        /// How many there are to be.
        to: usize,
    },
    /// A slot gets another worker.
    Restarting {
        /// Which one.
        slot: SlotId,
    },
}

/// What became of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Ended {
    /// Every slot serves it.
    Serving {
        /// Its number.
        generation: Generation,
        /// How many slots there are.
        slots: usize,
        /// The time since it was asked for.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// It is what is served already.
    Unchanged {
        /// By this number.
        generation: Generation,
    },
    /// It failed, and slots have returned to what they served before.
    GivenUp {
        /// Its number.
        generation: Generation,
        /// What serves.
        serving: Generation,
        /// Why.
        #[serde(flatten)]
        abort: Abort,
    },
    /// Somebody wanted another generation before this one had come to its end.
    Superseded {
        /// Its number, if it had come that far.
        generation: Option<Generation>,
    },
    /// There are as many slots as were asked for, each of them serves, and the others are gone.
    Scaled {
        /// How many.
        slots: usize,
        /// The time since it was asked for.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// Somebody wanted another number of slots before there were as many.
    ScaledOtherwise {
        /// How many there are to be now.
        slots: usize,
    },
    /// A slot has another worker, and the one before is gone.
    Restarted {
        /// Which slot.
        slot: SlotId,
        /// The time since it was asked for.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// A slot that was waited for was given up: its workers do not stay up.
    Errored {
        /// Which one.
        slot: SlotId,
        /// How many slots serve.
        serving: usize,
        /// How many there are to be.
        slots: usize,
    },
    /// A slot that was waited for is no longer wanted.
    Retired {
        /// Which one.
        slot: SlotId,
    },
    /// It did not begin at all. Nothing has changed.
    Refused {
        /// Whose fault it is.
        fault: Fault,
        /// Why, lower case, without a full stop.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// What serves, where it was asked to serve something else.
        serving: Option<Generation>,
    },
}

/// Where to look for the reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The component is not one that can be served, or is not there.
    Component,
    /// The cache of compiled code cannot be used.
    Cache,
    /// The machine does not allow that much.
    Resources,
    /// It makes no sense as it was asked for.
    Usage,
    /// Something else.
    Other,
}

/// An app at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// What it is called.
    pub name: AppName,
    /// Its supervisor.
    pub pid: u32,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What its component is called, e.g. the path that somebody typed.
    pub component: String,
    /// SHA-256 of the component's bytes, in lower-case hexadecimal.
    pub digest: String,
    /// The time since its supervisor had something to serve.
    #[serde(rename = "uptime_ms", with = "millis")]
    pub uptime: Duration,
    /// How far the kernel confines its workers, once one has said so.
    pub confinement: Option<Confinement>,
    /// Who they run as, once one has said so.
    pub user: Option<User>,
    /// How often limits were reached in its workers, since it began.
    #[serde(rename = "limits_reached")]
    pub reached: Reached,
    /// Its slots and workers.
    pub cluster: Status,
}

/// The name of an app: 1 to 64 letters, digits, `.`, `_` and `-` of ASCII, and no dot or dash at the start.
///
/// It names a directory, so it must be nothing else to a file system, and nothing but a word to a shell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

const LONGEST_NAME: usize = 64;

/// Why a text is not the name of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {LONGEST_NAME} letters, digits, `.`, `_` or `-`, with no `.` or `-` at the start")]
pub struct InvalidName;

impl AppName {
    /// The name most like `text`; none if nothing of it is left.
    #[must_use]
    pub fn like(text: &str) -> Option<Self> {
        let kept = text.chars().map(|character| if is_of_name(character) { character } else { '-' });
        let name: String = kept.skip_while(|first| !may_begin(*first)).take(LONGEST_NAME).collect();
        (!name.is_empty()).then_some(Self(name))
    }

    /// Another name, for when this one is taken: `demo-2`.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let kept = self.0.len().min(LONGEST_NAME - suffix.len());
        Self(format!("{}{suffix}", &self.0[..kept]))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For what has nothing to be named after.
impl Default for AppName {
    fn default() -> Self {
        Self("app".into())
    }
}

impl FromStr for AppName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=LONGEST_NAME).contains(&text.len());
        (fits && text.starts_with(may_begin) && text.chars().all(is_of_name))
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidName)
    }
}

impl TryFrom<String> for AppName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> Self {
        name.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

fn may_begin(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::laws::cases;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn whatever_is_made_a_name_is_one(text: String, number: u32) {
            for name in AppName::like(&text).into_iter().chain(text.parse()) {
                for name in [name.numbered(number), name] {
                    assert_eq!(name.as_str().parse(), Ok(name.clone()));
                }
            }
        }
    }

    #[test]
    fn a_name_is_one_harmless_word() {
        for good in ["demo", "a", "_", "my.app-2_x", "0", &"x".repeat(64)] {
            assert_eq!(good.parse::<AppName>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", ".hidden", "-x", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(bad.parse::<AppName>(), Err(InvalidName), "{bad:?}");
        }
        assert!(serde_json::from_str::<AppName>(r#""../up""#).is_err());
    }

    #[test]
    fn any_file_gives_a_name_if_it_can() {
        let like = |text: &str| AppName::like(text).map(String::from);
        assert_eq!(like("shop").as_deref(), Some("shop"));
        assert_eq!(like("my shop (2)").as_deref(), Some("my-shop--2-"));
        assert_eq!(like(".-.hidden").as_deref(), Some("hidden"));
        assert_eq!(like("Läden").as_deref(), Some("L-den"));
        assert_eq!(like("日本"), None);
        assert_eq!(like(""), None);
        let long = AppName::like(&"x".repeat(100)).expect("a name");
        assert_eq!(long.as_str().parse(), Ok(long.clone()));
        assert_eq!(long.numbered(17).as_str().len(), 64);
        assert!(long.numbered(17).as_str().ends_with("x-17"));
    }

    #[test]
    fn requests_are_what_they_look_like() {
        let json = |request| serde_json::to_string(&request).expect("plain data");
        assert_eq!(json(ToSupervisor::Status), r#""status""#);
        assert_eq!(json(ToSupervisor::Stop { fast: true }), r#"{"stop":{"fast":true}}"#);
        assert_eq!(json(ToSupervisor::Rollback { to: None }), r#"{"rollback":{"to":null}}"#);
    }
}
